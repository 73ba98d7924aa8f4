"""`Sketch`: what a text says as far as it can be understood, right or wrong. Never raises; `Pattern` is a sketch without errors.

The parser leaves out what it cannot read and takes a group that cannot be one apart, so that a picture can follow the
writing while a pattern is still being written. Two numberings run through everything: *sub-layers* are the canonical
sequence (one a symbol, from 0, `|` not counted), *blocks* are the modules that are built (a fused pair is one).
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property

from workbench.pattern.blocks import Block, Mtp, SubLayer, number_blocks
from workbench.pattern.checks import diagnose
from workbench.pattern.diagnostics import Diagnostic
from workbench.pattern.parser import Item, Section, parse
from workbench.pattern.symbols import SYMBOLS


class Sketch:
    """The stages, blocks and sub-layers of any text, and what is wrong with it.

    >>> [str(block) for block in Sketch("M[-E]?[*-").blocks]
    ['M', '-', 'E', '*', '-']
    """

    def __init__(self, text: str | Sketch) -> None:
        if isinstance(text, Sketch):  # read already, and neither ever changes
            self.__dict__.update(text.__dict__)
            return
        tree = parse(text)
        self._text, self._tree, self._found = text, tree, diagnose(tree)

    @property
    def text(self) -> str:
        """The text as it was written."""
        return self._text

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Everything that `check` says of the text: errors, or else warnings."""
        return self._found

    @property
    def sound(self) -> bool:
        """True when nothing is wrong: `Pattern(text)` would not raise."""
        return not any(entry.severity == "error" for entry in self._found)

    @cached_property
    def stages(self) -> tuple[tuple[Block, ...], ...]:
        """The pipeline stages, each a tuple of its blocks; one stage when there is no `|`."""
        stages, block, sublayer = [], 0, 0
        for number, section in enumerate(self._tree.stages):
            blocks = number_blocks(_apart(section), block, sublayer, number)
            block, sublayer = block + len(blocks), sublayer + len(section.symbols)
            stages.append(blocks)
        return tuple(stages)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Every block of the main pattern, in order."""
        return tuple(block for stage in self.stages for block in stage)

    @cached_property
    def sublayers(self) -> tuple[SubLayer, ...]:
        """The canonical sequence of the main pattern: what a checkpoint's `layers.<i>` are."""
        return tuple(layer for block in self.blocks for layer in block.layers)

    @cached_property
    def mtp(self) -> Mtp | None:
        """The multi-token-prediction part, which numbers its own blocks and sub-layers from 0; None without one."""
        depths = self._tree.depths
        if not depths or not depths[0].items:
            return None
        return Mtp(number_blocks(_apart(depths[0]), 0, 0, None), len(depths))

    @property
    def main(self) -> str:
        """The text before the first `/`."""
        return self._text.split("/", 1)[0]

    @property
    def counts(self) -> dict[str, int]:
        """`blocks`, `sublayers`, `fused` (pairs) and `stages` of the main pattern; MTP is not in them."""
        return {
            "blocks": len(self.blocks),
            "sublayers": len(self.sublayers),
            "fused": sum(block.fused for block in self.blocks),
            "stages": len(self.stages),
        }

    @property
    def symbol_counts(self) -> dict[str, int]:
        """Sub-layers of each symbol, MTP included once a depth, as upstream's `get_hybrid_layer_counts`."""
        found = Counter(layer.symbol for layer in self.sublayers)
        if self.mtp is not None:
            for layer in self.mtp.sublayers:
                found[layer.symbol] += self.mtp.depths
        return {symbol: found[symbol] for symbol in SYMBOLS}


def _apart(section: Section) -> Section:
    """The section with every group that cannot be a block as its single symbols."""
    if all(item.fused or len(item.symbols) == 1 for item in section.items):
        return section
    items: list[Item] = []
    for item in section.items:
        items += (
            [item] if item.fused else [Item((token,), token.start, token.end, fused=False) for token in item.symbols]
        )
    return Section(tuple(items), section.start, section.end)
