"""`Pattern`: a valid layer pattern as frozen data. Blocks, sub-layers, stages, MTP, and what each pipeline rank builds.

Two numberings run through everything: *sub-layers* are the canonical sequence (one a symbol, from 0, `|` not counted),
*blocks* are the modules that are built (a fused pair is one).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar

from workbench.errors import WorkbenchError
from workbench.pattern.blocks import Block, Mtp, Segment, SubLayer, number_blocks
from workbench.pattern.checks import diagnose
from workbench.pattern.diagnostics import Diagnostic, PatternError
from workbench.pattern.parser import parse
from workbench.pattern.symbols import SYMBOLS


class Pattern:
    """A hybrid layer pattern, such as `Pattern("M[*-]M[ME]|M-*-/[*-]")`.

    Raises `PatternError` (a `ValueError`) with every problem when the text is not a pattern. Immutable; equal and
    hashable by its text; `str()` gives the text back.
    """

    # How a notebook shows a pattern. The views set it (`workbench/__init__.py`), so that this package need not know
    # them.
    view: ClassVar[Callable[[Pattern], dict[str, str]] | None] = None

    def __init__(self, text: str | Pattern) -> None:
        if isinstance(text, Pattern):
            text = text.text
        if not isinstance(text, str):
            raise TypeError(f"a pattern is a text such as 'M[*-]', not {type(text).__name__}")
        tree = parse(text)
        diagnostics = diagnose(tree)
        if any(entry.severity == "error" for entry in diagnostics):
            raise PatternError(text, diagnostics)
        self._text, self._tree, self._warnings = text, tree, diagnostics

    @property
    def text(self) -> str:
        """The pattern as it was written."""
        return self._text

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """What is allowed and rarely meant."""
        return self._warnings

    @cached_property
    def stages(self) -> tuple[tuple[Block, ...], ...]:
        """The pipeline stages, each a tuple of its blocks; one stage when there is no `|`."""
        stages, block, sublayer = [], 0, 0
        for number, section in enumerate(self._tree.stages):
            blocks = number_blocks(section, block, sublayer, number)
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
        return Mtp(number_blocks(depths[0], 0, 0, None), len(depths))

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

    def unfused(self) -> Pattern:
        """The same sub-layers with no brackets; stages and MTP stay."""
        return Pattern(self._text.replace("[", "").replace("]", ""))

    def fused(self) -> Pattern:
        """Every adjacent sequence mixer and channel mixer of a stage (and of MTP) in one block."""
        from workbench.pattern.rewrites import fuse_all

        return fuse_all(self)

    def segment(self, rank: int, pipeline_size: int, virtual_stage: int | None = None) -> Segment:
        """What pipeline rank `rank` of `pipeline_size` builds, for one virtual stage; upstream's `select_pipeline_segment`.

        With S stages on P ranks, virtual stage v of rank r is stage v·P + r. Without `|` the sub-layers are split
        evenly. Raises `WorkbenchError` when the stages do not divide, or an even split would cut a fused pair.
        """
        if not 0 <= rank < pipeline_size:
            raise WorkbenchError(f"rank {rank} is not one of {pipeline_size} pipeline rank(s)")
        if len(self.stages) == 1 and pipeline_size > 1:
            return self._even_split(rank, pipeline_size, virtual_stage)
        if len(self.stages) > 1 and len(self.stages) % pipeline_size:
            raise WorkbenchError(f"{len(self.stages)} stages cannot be divided over {pipeline_size} pipeline ranks")
        number = (virtual_stage or 0) * pipeline_size + rank
        if not 0 <= number < len(self.stages):
            raise WorkbenchError(
                f"virtual stage {virtual_stage} of rank {rank} is stage {number}; the pattern has {len(self.stages)}"
            )
        offset = sum(len(block.symbols) for stage in self.stages[:number] for block in stage)
        return Segment(self.stages[number], offset)

    def _even_split(self, rank: int, ranks: int, virtual_stage: int | None) -> Segment:
        if virtual_stage is not None:
            raise WorkbenchError("virtual stages need '|' in the pattern to say where each one ends")
        if len(self.sublayers) % ranks:
            raise WorkbenchError(
                f"{len(self.sublayers)} sub-layers cannot be split evenly over {ranks} ranks; place '|'"
            )
        share = len(self.sublayers) // ranks
        low, high = rank * share, (rank + 1) * share
        blocks = tuple(block for block in self.blocks if low <= block.sublayers[-1] and block.sublayers[0] < high)
        for block in blocks:
            if block.sublayers[0] < low or block.sublayers[-1] >= high:
                raise WorkbenchError(
                    f"an even split over {ranks} ranks would cut [{block.symbols}] at sub-layers {block.sublayers[0]} and "
                    f"{block.sublayers[-1]}; place '|' between blocks"
                )
        return Segment(blocks, low)

    # -------------------------------------------------------------------------------------- data model

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Pattern({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Pattern) else NotImplemented

    def __hash__(self) -> int:
        return hash((Pattern, self._text))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._text,)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if Pattern.view is None:
            return {"text/plain": repr(self)}
        return Pattern.view(self)
