"""Which two patterns a comparison sets side by side. Pure, so that bad input is answered before torch is imported."""

from __future__ import annotations

from workbench.compare.throughput.result import NotTheSame
from workbench.errors import WorkbenchError, check_whole
from workbench.pattern.model import Pattern


def twin_patterns(pattern: Pattern | str, against: Pattern | str | None = None) -> tuple[Pattern, Pattern]:
    """The fused pattern and the one it is compared with (default: itself without brackets).

    A pattern in which nothing is fused, with nothing to compare it with, is compared fused everywhere with itself.

    Raises `PatternError`; `WorkbenchError` for an empty pattern and where no pair could be fused; `NotTheSame` for patterns
    that differ in more than brackets and stages.
    """
    left = Pattern(pattern)
    right = left.unfused() if against is None else Pattern(against)
    if not left.sublayers or not right.sublayers:
        raise WorkbenchError("an empty pattern has no layers: there is nothing to compare")
    if against is None and not has_fused(left):
        left = left.fused()
        if not has_fused(left):
            raise WorkbenchError(
                f"nothing can be fused in {right}: a fused block is a sequence mixer (M, G, *, D, +) and the channel mixer "
                "(-, E) after it. Give a pattern that has such a pair, or say with --against what to compare it with"
            )
    if _function(left) != _function(right):
        raise NotTheSame(
            f"{left} and {right} differ in more than brackets: they are not the same function, and their speeds are not compared",
            {"fused_sublayers": left.symbols, "unfused_sublayers": right.symbols},
        )
    return left, right


def has_fused(pattern: Pattern) -> bool:
    """True when a block of the pattern, MTP's included, is a fused pair."""
    blocks = [*pattern.blocks, *(pattern.mtp.blocks if pattern.mtp else ())]
    return any(block.fused for block in blocks)


def repeated(pattern: Pattern | str, times: int) -> Pattern:
    """The main pattern so many times over, MTP once.

    >>> str(repeated("M[*-]/[*-]", 2))
    'M[*-]M[*-]/[*-]'
    """
    check_whole("repeat", times)
    main, slash, mtp = str(Pattern(pattern)).partition("/")
    return Pattern(main * times + slash + mtp)


def _function(pattern: Pattern) -> tuple[str, object]:
    mtp = pattern.mtp
    return pattern.symbols, (mtp.symbols, mtp.depths) if mtp else None
