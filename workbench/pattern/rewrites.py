"""Patterns from patterns: fuse, unfuse, and the short form of a long one. Each keeps sub-layers, stages and MTP."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.errors import WorkbenchError
from workbench.pattern.blocks import Block
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import can_fuse, pair_up

_LONGEST_PERIOD = 64  # blocks; longer repeats are not looked for, so that folding stays quick at any length


def fuse_all(pattern: Pattern) -> Pattern:
    """Every adjacent legal pair of a stage in brackets.

    >>> str(fuse_all(Pattern("M-M*-ME|-/*-")))
    '[M-]M[*-][ME]|-/[*-]'
    """
    plain = pattern.unfused()
    # "M/" has a separator and no MTP layers; what stands behind the main pattern is then kept as it is.
    depths = [pair_up(str(plain.mtp))] * plain.mtp.depths if plain.mtp else []
    tail = "".join(f"/{depth}" for depth in depths) or pattern.text[len(pattern.main) :]
    return Pattern("|".join(map(pair_up, plain.main.split("|"))) + tail)


def fuse_at(pattern: Pattern, sublayer: int) -> Pattern:
    """Fuse main sub-layers `sublayer` and `sublayer + 1`; `WorkbenchError` where they cannot share a block.

    >>> str(fuse_at(Pattern("M-M-"), 2))
    'M-[M-]'
    """
    first, second = _block_at(pattern, sublayer), _block_at(pattern, sublayer + 1)
    if first == second:
        raise WorkbenchError(f"sub-layers {sublayer} and {sublayer + 1} are one block already: {first}")
    for block, place in ((first, sublayer), (second, sublayer + 1)):
        if block.fused:
            raise WorkbenchError(f"sub-layer {place} is in the fused block {block} already; unfuse that one first")
    if first.stage != second.stage:
        raise WorkbenchError(f"sub-layers {sublayer} and {sublayer + 1} are on different pipeline stages")
    if not can_fuse(first.symbols, second.symbols):
        raise WorkbenchError(
            f"sub-layers {sublayer} and {sublayer + 1} are {first.symbols}{second.symbols}: a block is a sequence mixer, then a "
            "channel mixer"
        )
    text = pattern.text
    return Pattern(f"{text[: first.start]}[{first.symbols}{second.symbols}]{text[second.end :]}")


def unfuse_at(pattern: Pattern, sublayer: int) -> Pattern:
    """Take the main block that holds `sublayer` apart; `WorkbenchError` where it is not fused.

    >>> str(unfuse_at(Pattern("[M-][M-]"), 3))
    '[M-]M-'
    """
    block = _block_at(pattern, sublayer)
    if not block.fused:
        raise WorkbenchError(f"sub-layer {sublayer} ({block.symbols}) stands alone: there is nothing to take apart")
    text = pattern.text
    return Pattern(f"{text[: block.start]}{block.symbols}{text[block.end :]}")


def compressed(pattern: Pattern) -> str:
    """A short form for display: repeats inside a stage are folded. Not a pattern; `str(pattern)` is.

    >>> compressed(Pattern("M-M-M-M-*-"))
    '(M-)×4*-'
    """
    stages = [_fold([str(block) for block in stage]) for stage in pattern.stages]
    mtp = [_fold([str(block) for block in pattern.mtp.blocks])] * pattern.mtp.depths if pattern.mtp else None
    return "/".join(["|".join(stages), *(mtp or [])])


def repeats(items: Sequence[str], longest: int = _LONGEST_PERIOD) -> list[tuple[Sequence[str], int]]:
    """The items as units with how many times each follows itself; what is not repeated is a unit of one item, once.

    At every place, the repeat that saves most items and makes nothing longer; ties go to the shorter period. No unit
    has more than `longest` items.

    >>> repeats(["M", "-", "M", "-", "M", "-", "*"])
    [(['M', '-'], 3), (['*'], 1)]
    """
    found: list[tuple[Sequence[str], int]] = []
    place = 0
    while place < len(items):
        best, times, saved = items[place : place + 1], 1, 0
        for period in range(1, min(longest, (len(items) - place) // 2) + 1):
            unit, count = items[place : place + period], 1
            while items[place + count * period : place + (count + 1) * period] == unit:
                count += 1
            # Two of a kind are as quick to read as "×2".
            if (count - 1) * period <= saved or (period == 1 and count == 2):
                continue
            plain = "".join(unit)
            brackets = 2 if period > 1 else 0
            if len(plain) + brackets + len(f"×{count}") <= len(plain) * count:
                best, times, saved = unit, count, (count - 1) * period
        found.append((best, times))
        place += len(best) * times
    return found


# ------------------------------------------------------------------------------------------------------


def _block_at(pattern: Pattern, sublayer: int) -> Block:
    if not 0 <= sublayer < len(pattern.sublayers):
        count = len(pattern.sublayers)
        known = f"it has {count}, numbered 0 to {count - 1}" if count else "it has none"
        raise WorkbenchError(f"the main pattern has no sub-layer {sublayer}: {known}")
    return pattern.blocks[pattern.sublayers[sublayer].block]


def _fold(items: list[str]) -> str:
    return "".join(
        (f"({''.join(unit)})" if len(unit) > 1 else unit[0]) + (f"×{count}" if count > 1 else "")
        for unit, count in repeats(items)
    )
