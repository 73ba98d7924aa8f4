"""Checkpoints of megatron's `GPTModel` into hybrid models: its layer g is the g-th attention and the g-th channel mixer.

Megatron-core ships the translation of names (`dist_checkpointing/gpt_checkpoint_interop.py`); it works on the canonical
layout, so it works for every fusion. What is added here is everything that keeps a wrong checkpoint from being loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.gpt_checkpoint_interop import (
    gpt_compatible_layer_maps,
    retarget_sharded_state_dict_to_gpt_checkpoint,
)
from megatron.core.dist_checkpointing.mapping import ShardedBase
from torch import nn

from workbench.checkpoint.mismatch import CheckpointMismatch, compared
from workbench.errors import WorkbenchError
from workbench.fusion import runtime
from workbench.fusion.checkpoint_files import reading
from workbench.fusion.checkpointing import (
    Loaded,
    chunks_of,
    global_shapes,
    into_memory_of_its_own,
    model_key,
    sharded_state,
    stored_shapes,
)
from workbench.fusion.model import pattern_of
from workbench.fusion.names import unwrapped

type Shapes = Mapping[str, tuple[int, ...]]

_LAYERS = "decoder.layers."
# Optimizer states; megatron numbers the optimizers of a chain in older layouts.
_OPTIMIZER = ("optimizer.", "chained_")
# GPT's local spec maps its norm to the dense MLP's name also where the layer has experts (gpt_layer_specs.py:451), for which
# Transformer Engine and hybrid models keep it apart.
_EXPERT_NORM = (f"{_LAYERS}pre_mlp_layernorm.", f"{_LAYERS}mlp.linear_fc1.layer_norm_")


def load_gpt_checkpoint(path: str | Path, model: nn.Module | Sequence[nn.Module]) -> Loaded:
    """Read the weights of a `GPTModel` checkpoint (`torch_dist`) into a model of `*`, `-` or `E`, and `M`, fused or not.

    The pattern needs as many `*` as channel mixers, of one kind; GPT layer g gives its attention to the g-th `*` and its
    MLP or experts to the g-th `-` or `E`. Mamba sub-layers have no counterpart and keep the weights they have. The
    config must be the GPT model's: names and shapes are checked, what does not show in them (rotary base, activation)
    is the caller's. The optimizer is not read. Called on every rank.

    Raises `WorkbenchError` with megatron's reason when the pattern cannot take a GPT model's layers; `CheckpointMismatch`
    when names or shapes do not fit, or the checkpoint holds weights that the model has no place for; `WorkbenchError` when
    `path` is no readable checkpoint. The model is changed only once everything has been read.
    """
    path = Path(path)
    runtime.require()
    chunks = chunks_of(model)
    try:
        layers = gpt_compatible_layer_maps(str(pattern_of(chunks[0]).unfused()))
    except ValueError as error:
        raise WorkbenchError(f"no GPT checkpoint fits this model. {error}") from error
    stored = {name: shape for name, shape in stored_shapes(path).items() if not name.startswith(_OPTIMIZER)}
    state = sharded_state(chunks, None, loading=True)
    retarget_sharded_state_dict_to_gpt_checkpoint(state, layers)
    if not any(name.startswith(_EXPERT_NORM[0]) for name in stored):
        _rename(state, *_EXPERT_NORM)
    _check(global_shapes(state), stored, layers.num_gpt_layers)
    into_memory_of_its_own(state)
    with reading(path):
        loaded = dist_checkpointing.load(state, str(path))
        iteration = int(loaded.get("iteration", 0))
    for number, chunk in enumerate(chunks):
        unwrapped(chunk).load_state_dict(loaded[model_key(number, chunks)], strict=True)
    return Loaded(iteration)


def _rename(state: dict[str, Any], start: str, other: str) -> None:
    for entry in nested_values(state):
        if isinstance(entry, ShardedBase) and entry.key.startswith(start):
            entry.key = other + entry.key.removeprefix(start)


def _check(wanted: Shapes, stored: Shapes, num_layers: int) -> None:
    """Raise `CheckpointMismatch` unless every weight has its place, on both sides."""
    if any(name.removeprefix(_LAYERS)[0].isdigit() for name in stored if name.startswith(_LAYERS)):
        found = compared(wanted, stored)
        raise CheckpointMismatch(
            [
                "it holds every layer under a number of its own: a hybrid model's checkpoint, which load_checkpoint reads, or a "
                "GPT model's saved with non_homogeneous_layers, which megatron does not translate"
            ],
            found.missing,
            found.unexpected,
        )
    counts = {shape[0] for name, shape in stored.items() if name.startswith(_LAYERS)}
    if counts and counts != {num_layers}:
        raise CheckpointMismatch(
            [
                f"it holds {max(counts)} GPT layers, and the pattern has {num_layers} pairs of attention and channel mixer"
            ],
            (),
            (),
        )
    found = compared(wanted, stored)
    problems = [f"it lacks {name}" for name in found.missing]
    problems += [f"it holds {name}, and the model has no place for it" for name in found.unexpected]
    problems += [
        f"{name} is {list(theirs)} there, and {list(ours)} in the model" for name, ours, theirs in found.shapes
    ]
    if problems:
        raise CheckpointMismatch(problems, found.missing, found.unexpected, found.shapes)
