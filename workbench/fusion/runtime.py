"""The process-wide runtime that every model needs: a process group, megatron's parallel state, seeds, a device.

Life of a runtime: `start()` joins the process group that is there (torchrun, a notebook that made one) or makes one of
a single process that needs no port of its own choosing; on a host without CUDA it installs the CPU platform. `start()` again with the same
sizes returns the same runtime; other sizes rebuild megatron's parallel state. `stop()` undoes what `start` did, and
only that. Models do not outlive a `stop`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.tensor_parallel.random import get_cuda_rng_tracker, model_parallel_cuda_manual_seed
from megatron.core.transformer.experimental_attention_variant.dsa import (
    DSAIndexerLossAutoScaler,
    DSAIndexerLossLoggingHelper,
)
from megatron.core.transformer.moe.moe_logging import destroy_moe_metrics_tracker
from megatron.core.transformer.moe.moe_utils import MoEAuxLossAutoScaler
from megatron.core.transformer.multi_token_prediction import MTPLossAutoScaler, MTPLossLoggingHelper

from workbench.errors import WorkbenchError
from workbench.fusion import cpu_platform
from workbench.fusion.upstream import has_cuda

_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class Runtime:
    """What is running: the device, the parallel sizes, this process's place in them."""

    device: str
    world_size: int
    rank: int
    tensor_parallel: int
    pipeline_parallel: int
    virtual_pipeline_parallel: int | None
    expert_parallel: int
    context_parallel: int

    @property
    def groups(self) -> ProcessGroupCollection:
        """megatron's process groups of this runtime, as models and optimizers take them."""
        return ProcessGroupCollection.use_mpu_process_groups()


_runtime: Runtime | None = None
_owns_process_group = False
_owns_parallel_state = False


def current() -> Runtime | None:
    """The running runtime, or None."""
    return _runtime


def require() -> Runtime:
    """The running runtime; `WorkbenchError` when there is none."""
    if _runtime is None:
        raise WorkbenchError("the runtime is not started: call workbench.fusion.runtime.start() first")
    return _runtime


def ensure() -> Runtime:
    """The running runtime, or one of a single process that is started now."""
    return _runtime or start()


def require_single_process() -> Runtime:
    """Start or return a runtime of one process; `WorkbenchError` under torchrun with several."""
    running = ensure()
    if running.world_size != 1:
        raise WorkbenchError(f"this runs in one process, not in {running.world_size}: start it without torchrun")
    return running


def start(
    *,
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
    virtual_pipeline_parallel: int | None = None,
    expert_parallel: int = 1,
    context_parallel: int = 1,
) -> Runtime:
    """Start the runtime, or return the one that runs with these sizes.

    Sizes count processes. Raises `WorkbenchError` when the world cannot be divided so, or when somebody else has
    initialised megatron's parallel state with other sizes.
    """
    global _runtime, _owns_parallel_state
    _join_or_make_process_group()
    if not has_cuda():
        cpu_platform.install()
    wanted = Runtime(
        device=f"cuda:{torch.cuda.current_device()}" if has_cuda() else "cpu",
        world_size=dist.get_world_size(),
        rank=dist.get_rank(),
        tensor_parallel=tensor_parallel,
        pipeline_parallel=pipeline_parallel,
        virtual_pipeline_parallel=virtual_pipeline_parallel,
        expert_parallel=expert_parallel,
        context_parallel=context_parallel,
    )
    if wanted == _runtime and parallel_state.model_parallel_is_initialized():
        return _runtime
    _check_sizes(wanted)
    if parallel_state.model_parallel_is_initialized() and not _owns_parallel_state:
        _check_foreign_parallel_state(wanted)
    else:
        _initialize_parallel_state(wanted)
        _owns_parallel_state = True
    _runtime = wanted
    if not get_cuda_rng_tracker().states_:
        # So that a model can be built without a word about seeds; torch.manual_seed before it then decides.
        model_parallel_cuda_manual_seed(torch.initial_seed() % 2**31)
    return wanted


def stop() -> None:
    """Undo what `start` did: parallel state, the CPU platform, the process group if it was made here."""
    global _runtime, _owns_process_group, _owns_parallel_state
    if _owns_parallel_state and parallel_state.model_parallel_is_initialized():
        parallel_state.destroy_model_parallel()
    _owns_parallel_state = False
    _runtime = None
    forget_models()
    cpu_platform.uninstall()
    if _owns_process_group and dist.is_initialized():
        dist.destroy_process_group()
    _owns_process_group = False


def seed(value: int) -> None:
    """Seed torch and every random stream of megatron; equal on all ranks, which megatron then tells apart itself.

    Both are needed: the MoE router and the gated-delta-net convolution draw from torch's default generator, everything
    else from megatron's streams.
    """
    require()
    # As Megatron-LM's initialize.py: pipeline stages start from different weights.
    value += 100 * parallel_state.get_pipeline_model_parallel_rank()
    torch.manual_seed(value)
    model_parallel_cuda_manual_seed(value)


def forget_models() -> None:
    """Clear what megatron keeps at module level from one model to the next, and from one step to the next.

    Its per-layer trackers are sized by the first model of a process and reject a larger second
    (`moe_logging.py`, `MTPLossLoggingHelper`,
    `DSAIndexerLossLoggingHelper`). The scales of auxiliary losses are tensors whose shape
    depends on who set them first, a bare backward or a schedule, and the other then fails (`moe/moe_utils.py:334`).
    """
    destroy_moe_metrics_tracker()
    MTPLossLoggingHelper.tracker.clear()
    DSAIndexerLossLoggingHelper.tracker.clear()
    MoEAuxLossAutoScaler.main_loss_backward_scale = None
    DSAIndexerLossAutoScaler.main_loss_backward_scale = None
    MTPLossAutoScaler.main_loss_backward_scale = torch.tensor(1.0)


def _join_or_make_process_group() -> None:
    global _owns_process_group
    if dist.is_initialized():
        return
    backend = "nccl" if has_cuda() else "gloo"
    launched = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    if launched:
        if has_cuda():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group(backend, timeout=_TIMEOUT)
    else:
        # A store in this process: no port has to be agreed on, so any number of notebooks run side by side. (gloo itself
        # listens on free loopback ports.)
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1, timeout=_TIMEOUT)
    _owns_process_group = True


def _check_sizes(wanted: Runtime) -> None:
    ranks = wanted.tensor_parallel * wanted.pipeline_parallel * wanted.context_parallel
    if wanted.world_size % ranks or (wanted.world_size // wanted.pipeline_parallel) % wanted.expert_parallel:
        raise WorkbenchError(
            f"{wanted.world_size} process(es) cannot be divided into tensor {wanted.tensor_parallel} × pipeline "
            f"{wanted.pipeline_parallel} × context {wanted.context_parallel}, expert {wanted.expert_parallel}: start as many with "
            "torchrun --nproc-per-node"
        )


def _initialize_parallel_state(wanted: Runtime) -> None:
    if parallel_state.model_parallel_is_initialized():
        parallel_state.destroy_model_parallel()
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=wanted.tensor_parallel,
        pipeline_model_parallel_size=wanted.pipeline_parallel,
        virtual_pipeline_model_parallel_size=wanted.virtual_pipeline_parallel,
        expert_model_parallel_size=wanted.expert_parallel,
        context_parallel_size=wanted.context_parallel,
    )


def _check_foreign_parallel_state(wanted: Runtime) -> None:
    found = {
        "tensor": parallel_state.get_tensor_model_parallel_world_size(),
        "pipeline": parallel_state.get_pipeline_model_parallel_world_size(),
        "expert": parallel_state.get_expert_model_parallel_world_size(),
        "context": parallel_state.get_context_parallel_world_size(),
    }
    asked = {
        "tensor": wanted.tensor_parallel,
        "pipeline": wanted.pipeline_parallel,
        "expert": wanted.expert_parallel,
        "context": wanted.context_parallel,
    }
    if found != asked:
        raise WorkbenchError(
            f"megatron's parallel state is already initialised with sizes {found}, not {asked}: ask for those, or call "
            "megatron.core.parallel_state.destroy_model_parallel() first"
        )
