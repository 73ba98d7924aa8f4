"""The parts of a pattern as frozen data: sub-layer, block, MTP, and the segment that one pipeline rank builds."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.pattern.parser import Section
from workbench.pattern.symbols import symbol_of


@dataclass(frozen=True)
class SubLayer:
    """One symbol's layer. `index` is canonical (from 0), `block` the index of its block, `start` its place in the text."""

    index: int
    symbol: str
    block: int
    start: int

    @property
    def kind(self) -> str:
        """The kind's identifier: "mamba", "gdn", "attention", "dsa", "mla", "mlp" or "moe"."""
        return symbol_of(self.symbol).kind

    @property
    def name(self) -> str:
        """What people call the kind: "Mamba-2"."""
        return symbol_of(self.symbol).name

    @property
    def role(self) -> str:
        """ "sequence mixer" or "channel mixer"."""
        return symbol_of(self.symbol).role


@dataclass(frozen=True)
class Block:
    """One module of the built stack: a stand-alone sub-layer, or a fused pair.

    `index` counts blocks from 0; `symbols` is "M" or "*-"; `stage` is None in MTP; `start` and `end` delimit its text,
    brackets included.
    """

    index: int
    layers: tuple[SubLayer, ...]
    fused: bool
    stage: int | None
    start: int
    end: int

    @property
    def symbols(self) -> str:
        """Its symbols without brackets."""
        return "".join(layer.symbol for layer in self.layers)

    @property
    def sublayers(self) -> tuple[int, ...]:
        """The canonical indices of its sub-layers."""
        return tuple(layer.index for layer in self.layers)

    def __str__(self) -> str:
        return f"[{self.symbols}]" if self.fused else self.symbols


@dataclass(frozen=True)
class Mtp:
    """Multi-token prediction: one pattern of blocks, built `depths` times."""

    blocks: tuple[Block, ...]
    depths: int

    @property
    def sublayers(self) -> tuple[SubLayer, ...]:
        """The sub-layers of one depth, numbered from 0."""
        return tuple(layer for block in self.blocks for layer in block.layers)

    @property
    def symbols(self) -> str:
        """The symbols of one depth without brackets."""
        return "".join(block.symbols for block in self.blocks)

    def __str__(self) -> str:
        return "".join(map(str, self.blocks))


@dataclass(frozen=True)
class Segment:
    """What one pipeline rank builds for one virtual stage: blocks, and the sub-layers that come before them."""

    blocks: tuple[Block, ...]
    offset: int

    @property
    def symbols(self) -> str:
        """The symbols of its sub-layers."""
        return "".join(block.symbols for block in self.blocks)


def number_blocks(section: Section, block: int, sublayer: int, stage: int | None) -> tuple[Block, ...]:
    """The blocks of a parsed section, numbered from `block` on, their sub-layers from `sublayer` on."""
    blocks = []
    for index, item in enumerate(section.items, start=block):
        layers = tuple(
            SubLayer(place, token.text, index, token.start) for place, token in enumerate(item.symbols, start=sublayer)
        )
        sublayer += len(layers)
        blocks.append(Block(index, layers, item.fused, stage, item.start, item.end))
    return tuple(blocks)
