"""Checkpoints on disk, canonical, through `megatron.core.dist_checkpointing` (format `torch_dist`), with optimizer state.

What is written does not say how the model was fused: keys, shapes and the pattern on record are those of the unfused model,
so every fusion of the same symbols reads it, and a checkpoint of an unfused Megatron run is read by a fused model.

A checkpoint is written beside its place and renamed into it once it is whole. One is read into memory of its own, and a model
is changed once everything has been read. Nothing of a stranger's is unpickled: megatron and torch unpickle `.metadata`
(`torch/distributed/checkpoint/filesystem.py:938`) and stored objects (`default_planner.py:388`) as they come, so the
first is inspected before they see it (`workbench.checkpoint.reading.dcp_metadata`) and the second are read with `weights_only` forced.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory
from megatron.core.optimizer.optimizer import MegatronOptimizer
from torch import nn

from workbench.checkpoint.converting.placing import move_into_place
from workbench.checkpoint.mismatch import check_names
from workbench.checkpoint.reading.torch_dist import check_folder, open_torch_dist
from workbench.errors import WorkbenchError
from workbench.fusion import optimizer_states, runtime
from workbench.fusion.checkpoint_files import ERRORS, check_plain, check_target, first_line, reading
from workbench.fusion.cpu_platform import cuda_literals_on_cpu
from workbench.fusion.model import pattern_of
from workbench.fusion.names import unwrapped
from workbench.fusion.noise import hushed

type Optimizer = MegatronOptimizer | torch.optim.Optimizer

# The version that Megatron-LM writes; its loaders look at it to know how qkv weights are laid out.
_VERSION = 3.0


@dataclass(frozen=True)
class Loaded:
    """What came with the weights: `iteration` (optimizer steps) and `extra` as it was given to `save_checkpoint`."""

    iteration: int
    extra: Mapping[str, Any] = field(default_factory=dict)


def save_checkpoint(
    path: str | Path,
    model: nn.Module | Sequence[nn.Module],
    optimizer: Optimizer | None = None,
    *,
    iteration: int = 0,
    extra: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Path:
    """Write a model (or one chunk a virtual stage) and its optimizer to the folder `path`; called on every rank.

    `optimizer` is megatron's (plain or distributed) or `torch.optim.Adam`/`AdamW`. `extra` holds plain values of the
    user's: numbers, texts, lists, tuples and dicts of them. Raises `WorkbenchError` when `path` exists, unless `force`,
    which replaces a checkpoint or an empty folder and nothing else; and when it cannot be written.
    """
    path = Path(path).absolute()
    check_target(path, force)
    check_plain("extra", dict(extra or {}))
    runtime.require()
    chunks = chunks_of(model)
    state = sharded_state(chunks, optimizer, loading=False)
    state |= {
        "checkpoint_version": _VERSION,
        "iteration": iteration,
        "workbench": {"pattern": str(pattern_of(chunks[0]).unfused()), "extra": dict(extra or {})},
    }
    partial = path.with_name(f".{path.name}.partial")
    try:
        if dist.get_rank() == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        dist.barrier()
        with cuda_literals_on_cpu(), hushed():
            dist_checkpointing.save(state, str(partial), validate_access_integrity=True)
        dist.barrier()
        if dist.get_rank() == 0:
            move_into_place(partial, path)
        dist.barrier()
    except ERRORS as error:
        if dist.get_rank() == 0:
            shutil.rmtree(partial, ignore_errors=True)
        raise WorkbenchError(f"{path} cannot be written: {first_line(error)}") from error
    return path


def load_checkpoint(
    path: str | Path, model: nn.Module | Sequence[nn.Module], optimizer: Optimizer | None = None
) -> Loaded:
    """Read a checkpoint into a model, whatever either fuses, and into its optimizer if one is given.

    Raises `CheckpointMismatch` when names or shapes do not fit, with the sub-layer, its kind and what the checkpoint holds
    there; `WorkbenchError` when `path` is no readable `torch_dist` checkpoint, `UnsafeCheckpoint` when it asks for code to
    be run. The model is changed only once everything has been read.

    Without its optimizer, a bf16 model that is trained here keeps older master weights: megatron's
    `optimizer.reload_model_params()` takes the loaded ones.
    """
    path = Path(path)
    stored = stored_shapes(path)
    chunks = chunks_of(model)
    # The weights alone first: an optimizer template allocates state, which must not happen for a checkpoint that does not fit.
    weights = sharded_state(chunks, None, loading=True)
    check_names(global_shapes(weights), _only_weights(stored), pattern_of(chunks[0]))
    if optimizer is not None:
        if not any(name.startswith(optimizer_states.PREFIX) for name in stored):
            raise WorkbenchError(f"{path} holds no optimizer state: load it without an optimizer")
        optimizer_states.check_kind(optimizer, stored, stored_values(path).get("optimizer"), path)
    state = sharded_state(chunks, optimizer, loading=True)
    lacking = sorted(global_shapes(state).keys() - stored.keys())
    if lacking:
        raise WorkbenchError(
            f"{path} lacks {len(lacking)} optimizer state(s) of this optimizer, such as {lacking[0]}: it was saved before the "
            "first step; load it without an optimizer"
        )
    into_memory_of_its_own(state)
    with reading(path):
        loaded = dist_checkpointing.load(state, str(path))
        iteration = int(loaded.get("iteration", 0))
        extra = dict(loaded.get("workbench", {}).get("extra", {}))
    if optimizer is not None:
        with reading(path):
            optimizer_states.load(optimizer, loaded["optimizer"])
    for number, chunk in enumerate(chunks):
        unwrapped(chunk).load_state_dict(loaded[model_key(number, chunks)], strict=True)
    return Loaded(iteration, extra)


def stored_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Stored key → global shape of every tensor of a `torch_dist` checkpoint; `WorkbenchError` when it is none."""
    return {name: entry.shape for name, entry in check_folder(Path(path)).tensors.items()}


def stored_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Stored key → whole tensor, on the CPU; for checkpoints that fit in memory."""
    names = stored_shapes(path)
    checkpoint = open_torch_dist(path)
    return {name: checkpoint.read(name) for name in names}


def stored_values(path: str | Path) -> dict[str, Any]:
    """What a checkpoint holds beside its tensors: iteration, optimizer settings, the pattern on record."""
    path = Path(path)
    check_folder(path)
    with reading(path):
        return dict(dist_checkpointing.load_common_state_dict(str(path)))


# ------------------------------------------------------------------------------------------------------


def into_memory_of_its_own(state: Mapping[str, Any]) -> None:
    """Point a sharded state dict away from the model's tensors: torch fills the ones it points to, one by one, and an error
    on the way would leave a model half loaded."""
    for entry in nested_values(dict(state)):
        if isinstance(entry, ShardedTensor | ShardedTensorFactory) and isinstance(entry.data, torch.Tensor):
            entry.data = torch.empty_like(entry.data)


def chunks_of(model: nn.Module | Sequence[nn.Module]) -> list[Any]:
    """The chunks of a model, one a virtual pipeline stage."""
    return [model] if isinstance(model, nn.Module) else list(model)


def model_key(number: int, chunks: list[Any]) -> str:
    """What Megatron-LM calls a chunk in a checkpoint: "model", or "model0", "model1", … for virtual pipeline stages."""
    return "model" if len(chunks) == 1 else f"model{number}"


def sharded_state(chunks: list[Any], optimizer: Optimizer | None, *, loading: bool) -> dict[str, Any]:
    """The sharded state dict of a model and its optimizer, by the keys that they have in a checkpoint."""
    metadata = {
        "dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True),
        # Optimizer state by model key: independent of how many ranks share it.
        "distrib_optim_sharding_type": "fully_reshardable",
        "distrib_optim_fully_reshardable_mem_efficient": False,
        # As Megatron-LM: with expert parallelism megatron chains two optimizers; their tensors are still named by weight.
        "chained_optim_avoid_prefix": True,
    }
    state: dict[str, Any] = {}
    for number, chunk in enumerate(chunks):
        state[model_key(number, chunks)] = unwrapped(chunk).sharded_state_dict(metadata=metadata)
    if optimizer is not None:
        with cuda_literals_on_cpu():
            state["optimizer"] = optimizer_states.sharded(optimizer, state, metadata, loading=loading)
    return state


def global_shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Stored key → global shape of every tensor in a sharded state dict, over all ranks."""
    here: dict[str, tuple[int, ...]] = {}
    for entry in nested_values(dict(state)):
        built = entry.build() if isinstance(entry, ShardedTensorFactory) else entry
        for tensor in (
            nested_values(built) if isinstance(built, dict) else built if isinstance(built, list) else [built]
        ):
            if isinstance(tensor, ShardedTensor):
                here[tensor.key] = tuple(tensor.global_shape)
    everywhere: list[dict[str, tuple[int, ...]]] = [{}] * dist.get_world_size()
    dist.all_gather_object(everywhere, here)
    return {name: shape for part in everywhere for name, shape in part.items()}


def _only_weights(stored: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in stored.items() if not name.startswith(optimizer_states.PREFIX)}
