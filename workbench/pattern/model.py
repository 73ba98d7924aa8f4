"""`Pattern`: a valid layer pattern as frozen data. Blocks, sub-layers, stages, MTP, and what each pipeline rank builds.

What can be said of a text that may be wrong is `workbench.pattern.sketch`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from workbench.errors import WorkbenchError
from workbench.pattern.blocks import Segment
from workbench.pattern.diagnostics import Diagnostic, PatternError
from workbench.pattern.sketch import Sketch


class Pattern(Sketch):
    """A hybrid layer pattern, such as `Pattern("M[*-]M[ME]|M-*-/[*-]")`.

    Raises `PatternError` (a `ValueError`) with every problem when the text is not a pattern. Immutable; equal and
    hashable by its text; `str()` gives the text back.
    """

    # How a notebook shows a pattern. The views set it (`workbench/__init__.py`), so that this package need not know
    # them.
    view: ClassVar[Callable[[Pattern], dict[str, str]] | None] = None

    def __init__(self, text: str | Sketch) -> None:
        if not isinstance(text, str | Sketch):
            raise TypeError(f"a pattern is a text such as 'M[*-]', not {type(text).__name__}")
        super().__init__(text)
        if not self.sound:
            raise PatternError(self.text, self.diagnostics)

    @property
    def symbols(self) -> str:
        """The main pattern's symbols, without stages and brackets.

        >>> Pattern("M|[*-]/M").symbols
        'M*-'
        """
        return "".join(block.symbols for block in self.blocks)

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """What is allowed and rarely meant."""
        return self.diagnostics

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
