"""How two sequences of layer kinds differ: sub-layers of another kind, or some more or fewer, after which all are moved. Pure.

Comparing by number calls everything behind one inserted sub-layer different. Here the sequences are aligned first, and
numbers are kept where that says less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from workbench.pattern.symbols import SYMBOLS

_MOST = 3000  # symbols between the first and the last difference; more are compared by number


@dataclass(frozen=True)
class Change:
    """`left[start:stop]` is `right[other_start:other_stop]`, of other kinds or of another length."""

    start: int
    stop: int
    other_start: int
    other_stop: int

    @property
    def moves(self) -> bool:
        """True where what follows has other numbers on the two sides."""
        return self.stop - self.start != self.other_stop - self.other_start


@dataclass(frozen=True)
class Alignment:
    """What differs, and which places of both sides are the same sub-layer."""

    changes: tuple[Change, ...]
    pairs: tuple[tuple[int, int], ...]

    @property
    def moves(self) -> bool:
        """True where some sub-layer has another number on the other side."""
        return any(change.moves for change in self.changes)


def align(left: str, right: str) -> Alignment:
    """The fewest changes that lead from one sequence of symbols to the other, or nearly.

    >>> align("M-M*-", "M-*-").changes
    (Change(start=2, stop=3, other_start=2, other_stop=2),)
    >>> align("M-", "ME").changes
    (Change(start=1, stop=2, other_start=1, other_stop=2),)
    """
    numbered = _by_number(left, right)
    moved = _moved(left, right)
    # Of the same length, kinds in their places are read more easily than the same number of moves.
    if moved is None or (len(left) == len(right) and len(numbered.changes) <= len(moved.changes)):
        return numbered
    return moved


def _by_number(left: str, right: str) -> Alignment:
    shared = min(len(left), len(right))
    changes = [Change(place, place + 1, place, place + 1) for place in range(shared) if left[place] != right[place]]
    if len(left) != len(right):
        changes.append(Change(shared, len(left), shared, len(right)))
    return Alignment(tuple(changes), tuple((place, place) for place in range(shared)))


def _moved(left: str, right: str) -> Alignment | None:
    start = next((place for place, two in enumerate(zip(left, right, strict=False)) if two[0] != two[1]), None)
    start = min(len(left), len(right)) if start is None else start
    end = 0
    while end < min(len(left), len(right)) - start and left[-1 - end] == right[-1 - end]:
        end += 1
    middle, other = left[start : len(left) - end], right[start : len(right) - end]
    if max(len(middle), len(other)) > _MOST:
        return None
    changes: list[Change] = []
    pairs = [(place, place) for place in range(start)]
    matcher = SequenceMatcher(None, middle, other, autojunk=False)
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        if kind == "equal":
            pairs += zip(range(start + i1, start + i2), range(start + j1, start + j2), strict=True)
        else:
            changes.append(Change(start + i1, start + i2, start + j1, start + j2))
    pairs += zip(range(len(left) - end, len(left)), range(len(right) - end, len(right)), strict=True)
    return Alignment(tuple(changes), tuple(pairs))


def sentences(left: str, right: str, alignment: Alignment, where: str = "") -> Iterator[str]:
    """Every change that moves what follows, or replaces, in words: `left` is the model's, `right` the checkpoint's.

    `where` comes before each ("MTP depth 1, ").
    """
    for change in alignment.changes:
        ours, theirs = left[change.start : change.stop], right[change.other_start : change.other_stop]
        if not ours:
            place = f"before the model's sub-layer {change.start}" if change.start < len(left) else "at its end"
            yield f"{where}the checkpoint has {_more(theirs)} that the model has not, {place}: {_run(theirs, change.other_start)}"
        elif not theirs:
            yield f"{where}the model has {_more(ours)} that the checkpoint has not: {_run(ours, change.start)}"
        else:
            yield (
                f"{where}the model has {_run(ours, change.start)}, and the checkpoint has {_run(theirs, change.other_start)} in "
                "that place"
            )


def _more(symbols: str) -> str:
    return "a sub-layer" if len(symbols) == 1 else f"{len(symbols)} sub-layers"


def _run(symbols: str, start: int) -> str:
    """Sub-layers in a row: "its sub-layer 7, Mamba-2", "its sub-layers 7–9 (M-M)"."""
    if len(symbols) == 1:
        name = SYMBOLS[symbols].name if symbols in SYMBOLS else "of no known kind"
        return f"its sub-layer {start}, {name}"
    shown = symbols if len(symbols) <= 24 else f"{symbols[:20]}…"
    return f"its sub-layers {start}–{start + len(symbols) - 1} ({shown})"
