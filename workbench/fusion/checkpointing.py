"""Checkpoints on disk, canonical, through `megatron.core.dist_checkpointing` (format `torch_dist`), with optimizer state.

What is written does not say how the model was fused: keys, shapes and the pattern on record are those of the unfused model,
so every fusion of the same symbols reads it, and a checkpoint of an unfused Megatron run is read by a fused model.

A checkpoint is written beside its place and renamed into it once it is whole.
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
from megatron.core.dist_checkpointing.core import CheckpointingException
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory
from megatron.core.optimizer.optimizer import MegatronOptimizer
from torch import nn
from torch.distributed.checkpoint import CheckpointException

from workbench.checkpoint.mismatch import check_names
from workbench.errors import WorkbenchError
from workbench.fusion import optimizer_states, runtime
from workbench.fusion.cpu_platform import cuda_literals_on_cpu
from workbench.fusion.model import pattern_of
from workbench.fusion.names import unwrapped
from workbench.fusion.noise import hushed

type Optimizer = MegatronOptimizer | torch.optim.Optimizer

# What reading a damaged checkpoint raises; torch's own is a BaseException.
_READ_ERRORS = (CheckpointingException, CheckpointException, OSError, RuntimeError, EOFError, ValueError, KeyError)

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
    user's. Raises `WorkbenchError` when `path` exists, unless `force`.
    """
    path = Path(path)
    if path.exists() and not force:
        raise WorkbenchError(f"{path} exists; give another path, or force=True to replace it")
    runtime.require()
    chunks = _chunks(model)
    state = _sharded_state(chunks, optimizer, loading=False)
    state |= {
        "checkpoint_version": _VERSION,
        "iteration": iteration,
        "workbench": {"pattern": str(pattern_of(chunks[0]).unfused()), "extra": dict(extra or {})},
    }
    partial = path.with_name(f".{path.name}.partial")
    if dist.get_rank() == 0:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    dist.barrier()
    with cuda_literals_on_cpu(), hushed():
        dist_checkpointing.save(state, str(partial), validate_access_integrity=True)
    dist.barrier()
    if dist.get_rank() == 0:
        if path.exists():
            shutil.rmtree(path)
        partial.rename(path)
    dist.barrier()
    return path


def load_checkpoint(
    path: str | Path, model: nn.Module | Sequence[nn.Module], optimizer: Optimizer | None = None
) -> Loaded:
    """Read a checkpoint into a model, whatever either fuses, and into its optimizer if one is given.

    Raises `CheckpointMismatch` before anything is changed when names or shapes do not fit, with the sub-layer, its kind
    and what the checkpoint holds there; `WorkbenchError` when `path` is no readable `torch_dist` checkpoint.
    """
    path = Path(path)
    stored = stored_shapes(path)
    chunks = _chunks(model)
    # The weights alone first: an optimizer template allocates state, which must not happen for a checkpoint that does not fit.
    weights = _sharded_state(chunks, None, loading=True)
    check_names(_global_shapes(weights), _only_weights(stored), pattern_of(chunks[0]))
    if optimizer is not None and not any(name.startswith(optimizer_states.PREFIX) for name in stored):
        raise WorkbenchError(f"{path} holds no optimizer state: load it without an optimizer")
    state = _sharded_state(chunks, optimizer, loading=True)
    lacking = sorted(_global_shapes(state).keys() - stored.keys())
    if lacking:
        raise WorkbenchError(
            f"{path} lacks {len(lacking)} optimizer state(s) of this optimizer, such as {lacking[0]}: it was saved before the "
            "first step, or with another optimizer or precision"
        )
    try:
        with cuda_literals_on_cpu(), hushed():
            loaded = dist_checkpointing.load(state, str(path))
    except _READ_ERRORS as error:
        raise WorkbenchError(f"{path} cannot be read: {_first_line(error)}") from error
    for number, chunk in enumerate(chunks):
        unwrapped(chunk).load_state_dict(loaded[_model_key(number, chunks)], strict=True)
    if optimizer is not None:
        with hushed():
            optimizer_states.load(optimizer, loaded["optimizer"])
    ours = loaded.get("workbench", {})
    return Loaded(int(loaded.get("iteration", 0)), ours.get("extra", {}))


def stored_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Stored key → global shape of every tensor of a `torch_dist` checkpoint; `WorkbenchError` when it is none."""
    path = Path(path)
    if not path.is_dir():
        raise WorkbenchError(f"{path} is not a folder: a torch_dist checkpoint is a folder with a metadata.json")
    try:
        with hushed():
            entries = dist_checkpointing.load_tensors_metadata(str(path))
    except _READ_ERRORS as error:
        raise WorkbenchError(f"{path} is no readable torch_dist checkpoint: {_first_line(error)}") from error
    return {name: tuple(entry.global_shape) for name, entry in entries.items()}


def stored_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Stored key → whole tensor, on the CPU; for checkpoints that fit in memory."""
    path = Path(path)
    names = stored_shapes(path)
    try:
        with hushed():
            everything = dist_checkpointing.load_plain_tensors(str(path))
        # It also holds what the writer stored beside tensors.
        return {name: everything[name] for name in names}
    except _READ_ERRORS as error:
        raise WorkbenchError(f"{path} cannot be read: {_first_line(error)}") from error


# ------------------------------------------------------------------------------------------------------


def _chunks(model: nn.Module | Sequence[nn.Module]) -> list[Any]:
    return [model] if isinstance(model, nn.Module) else list(model)


def _model_key(number: int, chunks: list[Any]) -> str:
    # Megatron-LM's convention: "model", or "model0", "model1", … for virtual pipeline stages.
    return "model" if len(chunks) == 1 else f"model{number}"


def _sharded_state(chunks: list[Any], optimizer: Optimizer | None, *, loading: bool) -> dict[str, Any]:
    metadata = {
        "dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True),
        # Optimizer state by model key: independent of how many ranks share it.
        "distrib_optim_sharding_type": "fully_reshardable",
        "distrib_optim_fully_reshardable_mem_efficient": False,
    }
    state: dict[str, Any] = {}
    for number, chunk in enumerate(chunks):
        state[_model_key(number, chunks)] = unwrapped(chunk).sharded_state_dict(metadata=metadata)
    if optimizer is not None:
        with cuda_literals_on_cpu():
            state["optimizer"] = optimizer_states.sharded(optimizer, state, metadata, loading=loading)
    return state


def _global_shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
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


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:300]}" if text else type(error).__name__
