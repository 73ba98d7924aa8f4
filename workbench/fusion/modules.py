"""The modules of a built model, one row a block: which class it is, and what fills its two slots."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from workbench.fusion.names import built_blocks

_SEQUENCE_SLOTS = ("self_attention", "mixer")  # a TransformerLayer's, a MambaLayer's
_CHANNEL_SLOTS = ("mlp",)


@dataclass(frozen=True)
class BuiltModule:
    """One module of a stack, as class names.

    `name` is live ("decoder.layers.3"), `block` its text ("M", "[*-]"), `layer_number` megatron's, from 1. A slot that
    the class has and nothing fills holds upstream's "IdentityOp"; a slot that it does not have is None.
    """

    name: str
    block: str
    layer_number: int
    module: str
    sequence_slot: str | None
    channel_slot: str | None


def built_modules(model: nn.Module) -> tuple[BuiltModule, ...]:
    """Every block that was built, MTP depths included, in order; wrappers (DDP, Float16Module) are looked through."""
    found = []
    for name, stack, local_index in built_blocks(model):
        block, layer = stack.blocks[local_index], stack.layers[local_index]
        found.append(
            BuiltModule(
                name=name,
                block=str(block),
                layer_number=int(layer.layer_number),
                module=type(layer).__name__,
                sequence_slot=_in_slot(layer, _SEQUENCE_SLOTS),
                channel_slot=_in_slot(layer, _CHANNEL_SLOTS),
            )
        )
    return tuple(found)


def _in_slot(layer: nn.Module, slots: tuple[str, ...]) -> str | None:
    held = dict(layer.named_children())
    return next((type(held[slot]).__name__ for slot in slots if slot in held), None)
