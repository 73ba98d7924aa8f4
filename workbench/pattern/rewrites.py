"""Patterns from patterns: fuse, unfuse, and the short form of a long one. Each keeps sub-layers, stages and MTP."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workbench.errors import WorkbenchError
from workbench.pattern.blocks import Block
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import can_fuse


def fuse_all(pattern: Pattern) -> Pattern:
    """Every adjacent legal pair of a stage in brackets.

    >>> str(fuse_all(Pattern("M-M*-ME|-/*-")))
    '[M-]M[*-][ME]|-/[*-]'
    """
    plain = pattern.unfused()
    mtp = [_fused(plain.mtp.blocks)] * plain.mtp.depths if plain.mtp else None
    return _assemble(pattern, [_fused(stage) for stage in plain.stages], mtp)


def fuse_at(pattern: Pattern, sublayer: int) -> Pattern:
    """Fuse main sub-layers `sublayer` and `sublayer + 1`; `WorkbenchError` where they cannot share a block.

    >>> str(fuse_at(Pattern("M-M-"), 2))
    'M-[M-]'
    """
    first, second = _block_at(pattern, sublayer), _block_at(pattern, sublayer + 1)
    if first.fused or second.fused:
        raise WorkbenchError(f"sub-layers {sublayer} and {sublayer + 1}: one of them is in a fused block already")
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


# ------------------------------------------------------------------------------------------------------


def _fused(blocks: Sequence[Block]) -> str:
    text, place = "", 0
    while place < len(blocks):
        pair = blocks[place : place + 2]
        step = 2 if len(pair) == 2 and can_fuse(pair[0].symbols, pair[1].symbols) else 1
        text += f"[{pair[0].symbols}{pair[1].symbols}]" if step == 2 else pair[0].symbols
        place += step
    return text


def _assemble(pattern: Pattern, stages: Iterable[str], mtp: Sequence[str] | None) -> Pattern:
    # "M/" has a separator and no MTP layers; what stands behind the main pattern is then kept as it is.
    tail = "".join(f"/{depth}" for depth in mtp) if mtp else pattern.text[len(pattern.main) :]
    return Pattern("|".join(stages) + tail)


def _block_at(pattern: Pattern, sublayer: int) -> Block:
    if not 0 <= sublayer < len(pattern.sublayers):
        raise WorkbenchError(f"there is no sub-layer {sublayer}: {pattern} has {len(pattern.sublayers)}")
    return pattern.blocks[pattern.sublayers[sublayer].block]


def _fold(items: list[str]) -> str:
    """At every place, the repeat that saves most blocks; ties go to the shorter period."""
    text, place = "", 0
    while place < len(items):
        best_period, best_count = 1, 1
        for period in range(1, (len(items) - place) // 2 + 1):
            count = 1
            unit = items[place : place + period]
            while items[place + count * period : place + (count + 1) * period] == unit:
                count += 1
            if (count - 1) * period > (best_count - 1) * best_period:
                best_period, best_count = period, count
        unit_text = "".join(items[place : place + best_period])
        # Two of a kind are as quick to read as "×2".
        folded = f"({unit_text})×{best_count}" if best_period > 1 else f"{unit_text}×{best_count}"
        text += folded if best_count > 2 or (best_period > 1 and best_count > 1) else unit_text * best_count
        place += best_period * best_count
    return text
