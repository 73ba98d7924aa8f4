"""What the editor's buttons do to a pattern: each takes a `Pattern` and gives one. Pure: `workbench.pattern` only."""

from __future__ import annotations

from workbench.errors import WorkbenchError
from workbench.pattern.blocks import Block, Mtp
from workbench.pattern.checks import check
from workbench.pattern.model import Pattern
from workbench.pattern.rewrites import fuse_at, unfuse_at
from workbench.pattern.symbols import can_fuse


def fuse(pattern: Pattern, sublayer: int, mtp: bool = False) -> Pattern:
    """Sub-layers `sublayer` and `sublayer + 1` in one block; with `mtp` those of every MTP depth.

    >>> str(fuse(Pattern("M-/*-/*-"), 0, mtp=True))
    'M-/[*-]/[*-]'
    """
    if not mtp:
        return fuse_at(pattern, sublayer)
    depth = _depths(pattern)
    first, second = _block(depth, sublayer), _block(depth, sublayer + 1)
    if first.fused or second.fused or not can_fuse(first.symbols, second.symbols):
        raise WorkbenchError(f"MTP sub-layers {sublayer} and {sublayer + 1} cannot share a block: {first}{second}")
    kept = [str(block) for block in depth.blocks]
    kept[first.index : second.index + 1] = [f"[{first}{second}]"]
    return _with_depth(pattern, "".join(kept))


def unfuse(pattern: Pattern, sublayer: int, mtp: bool = False) -> Pattern:
    """The block that holds `sublayer` taken apart; with `mtp` that of every MTP depth.

    >>> str(unfuse(Pattern("M-/[*-]/[*-]"), 1, mtp=True))
    'M-/*-/*-'
    """
    if not mtp:
        return unfuse_at(pattern, sublayer)
    depth = _depths(pattern)
    block = _block(depth, sublayer)
    if not block.fused:
        raise WorkbenchError(f"MTP sub-layer {sublayer} ({block}) stands alone: there is nothing to take apart")
    kept = [entry.symbols if entry is block else str(entry) for entry in depth.blocks]
    return _with_depth(pattern, "".join(kept))


def mended(text: str, code: str, start: int) -> str:
    """The text after the fix of the diagnostic with this code at this place; `WorkbenchError` where there is none."""
    for entry in check(text):
        if entry.code == code and entry.start == start and entry.fix is not None:
            return entry.fix.apply(text)
    raise WorkbenchError(f"there is no {code} at {start} any more")


# ------------------------------------------------------------------------------------------------------


def _depths(pattern: Pattern) -> Mtp:
    if pattern.mtp is None:
        raise WorkbenchError(f"{pattern} has no multi-token prediction")
    return pattern.mtp


def _block(depth: Mtp, sublayer: int) -> Block:
    layers = depth.sublayers
    if not 0 <= sublayer < len(layers):
        raise WorkbenchError(f"an MTP depth has no sub-layer {sublayer}: it has {len(layers)}, from 0")
    return depth.blocks[layers[sublayer].block]


def _with_depth(pattern: Pattern, depth: str) -> Pattern:
    return Pattern("/".join([pattern.main, *[depth] * _depths(pattern).depths]))
