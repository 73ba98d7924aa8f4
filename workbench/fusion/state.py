"""Canonical state dicts: the weights of a model as if nothing were fused, and back. For files see `checkpointing`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from workbench.checkpoint.mismatch import check_names
from workbench.errors import WorkbenchError
from workbench.fusion import runtime
from workbench.fusion.model import pattern_of
from workbench.fusion.names import canonical_names, unwrapped

# Transformer Engine modules carry an entry of this name (fp8 scaling state, empty without fp8); local modules have none.
# It is not a weight, so its absence or presence is no mismatch.
_EXTRA_STATE = "_extra_state"


def canonical_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters and persistent buffers by canonical name (those of megatron-core's TE spec, unfused).

    The tensors share storage with the model, detached, as `state_dict()`'s do. Wrappers (DDP, Float16Module) are looked
    through. Raises `WorkbenchError` when the model is split over ranks: then each rank holds parts, and
    `workbench.fusion.checkpointing.save_checkpoint` is the way.
    """
    _check_whole()
    state = unwrapped(model).state_dict()
    return {name: state[live] for live, name in _weights(model).items()}


def load_canonical_state_dict(model: nn.Module, state: Mapping[str, Tensor], *, strict: bool = True) -> None:
    """Copy tensors with canonical names into the model, whatever it fuses.

    Raises `CheckpointMismatch`, before anything is written, when a name is missing or unexpected (allowed with
    `strict=False`) or a shape differs; it says which sub-layer, of which kind, and what the checkpoint holds there.
    Values are cast to the model's dtypes.
    """
    _check_whole()
    live_names = {name: live for live, name in _weights(model).items()}
    given = {name: tensor for name, tensor in state.items() if not name.endswith(_EXTRA_STATE)}
    target = unwrapped(model).state_dict()
    check_names(
        {name: tuple(target[live].shape) for name, live in live_names.items()},
        {name: tuple(tensor.shape) for name, tensor in given.items()},
        pattern_of(model),
        strict=strict,
    )
    with torch.no_grad():
        for name, live in live_names.items():
            if name in given:
                target[live].copy_(given[name])


def _weights(model: nn.Module) -> dict[str, str]:
    """Live name → canonical name of every tensor entry of the state dict."""
    return {live: name for live, name in canonical_names(model).items() if not live.endswith(_EXTRA_STATE)}


def _check_whole() -> None:
    running = runtime.current()
    if running is None:
        return
    split = {
        "tensor": running.tensor_parallel,
        "pipeline": running.pipeline_parallel,
        "expert": running.expert_parallel,
    }
    if any(size > 1 for size in split.values()):
        sizes = ", ".join(f"{name} {size}" for name, size in split.items())
        raise WorkbenchError(
            f"the model is split over ranks ({sizes}), so no rank has a whole state dict; use save_checkpoint and load_checkpoint"
        )
