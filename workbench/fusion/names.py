"""Live names of a built model ↔ canonical names: which tensor of which module is what in a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import nn

from workbench.arch.names import local_to_canonical, sublayer_name
from workbench.fusion.stack import FusedHybridStack, stacks

_EXPERT = re.compile(r"(?P<weight>mlp\.experts\.\w+\.(?:weight|bias))(?P<number>\d+)")


def unwrapped(model: nn.Module) -> Any:
    """The model inside its wrappers (`DistributedDataParallel`, `Float16Module`), or the model itself."""
    while isinstance(inner := getattr(model, "module", None), nn.Module):
        model = inner
    return model


def canonical_name(model: nn.Module, live: str) -> str:
    """The canonical name of a tensor that `model.state_dict()` calls `live`."""
    return _Names(model).canonical(live)


def canonical_names(model: nn.Module) -> dict[str, str]:
    """Live name → canonical name of every entry of `model.state_dict()`, in the order of the model."""
    names = _Names(model)
    return {live: names.canonical(live) for live in unwrapped(model).state_dict()}


def canonical_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Canonical name → parameter, in canonical order (embedding, sub-layers, final norm, output layer, MTP).

    A tied output layer is the embedding's parameter; it appears once.
    """
    names = _Names(model)
    found = {names.canonical(live): parameter for live, parameter in unwrapped(model).named_parameters()}
    assert len(found) == sum(1 for _ in unwrapped(model).parameters()), "two parameters have one canonical name"
    return found


class _Names:
    def __init__(self, model: nn.Module) -> None:
        # The longest prefix first: an MTP layer's stack lies inside other modules.
        self.stacks = sorted(stacks(unwrapped(model)), key=lambda entry: -len(entry[0]))

    def canonical(self, live: str) -> str:
        for prefix, stack in self.stacks:
            layers = f"{prefix}layers."
            if live.startswith(layers):
                local_index, _, name = live.removeprefix(layers).partition(".")
                return f"{layers}{_in_layer(stack, int(local_index), name)}"
        return live


def _in_layer(stack: FusedHybridStack, local_index: int, name: str) -> str:
    block = stack.blocks[local_index]
    position, alone = sublayer_name(block.symbols, name)
    canonical = local_to_canonical(block.symbols[position], alone)
    if expert := _EXPERT.fullmatch(canonical):
        # Modules number the experts of their rank from 0.
        canonical = f"{expert['weight']}{stack.layers[local_index].mlp.local_expert_indices[int(expert['number'])]}"
    return f"{block.first + position}.{canonical}"


def built_blocks(model: nn.Module) -> Iterator[tuple[str, FusedHybridStack, int]]:
    """(live name, stack, local index) of every block that was built, MTP depths included, in order."""
    for prefix, stack in stacks(unwrapped(model)):
        for local_index in range(len(stack.blocks)):
            yield f"{prefix}layers.{local_index}", stack, local_index
