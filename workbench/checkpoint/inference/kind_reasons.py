"""Which sub-layers of a checkpoint are of another kind than the model's, or more, or fewer: a sentence each cause. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from workbench.checkpoint.inference.alignment import Alignment, align, sentences
from workbench.checkpoint.inference.sublayers import Key, Sorted, ranges
from workbench.checkpoint.places import Place, symbol_at
from workbench.pattern.model import Pattern
from workbench.pattern.rewrites import compressed
from workbench.pattern.symbols import symbol_of

type Order = tuple[int, int]  # MTP depth (-1: the main model) and index
type Paired = tuple[Key, Key]  # a sub-layer of the model, and the one of the checkpoint that is the same

_NOTHING, _STRANGE = "·", "?"  # no sub-layer of this number; one that is of no kind, or of two
_SHOWN = 6  # names in a row; the rest is counted
_LONG = 40  # characters of a pattern; a longer one is not repeated in a sentence
_MOST_CHANGES = 6  # places of a pattern that are said one by one; more are another pattern


def kind_reasons(model: Sorted, held: Sorted, pattern: Pattern) -> tuple[list[tuple[Order, str]], list[Paired]]:
    """(order, sentence) for every difference in kinds, and the pairs of sub-layers that are the same one."""
    lines: list[tuple[Order, str]] = []
    pairs: list[Paired] = []
    for depth in (None, *sorted({*model.depths, *held.depths})):
        ours, theirs = _of_pattern(model, depth, pattern), _held(held, depth)
        alignment = align(ours, theirs)
        if _by_number(alignment, ours, theirs):
            shared = range(min(len(ours), len(theirs)))
            same = [index for index in shared if ours[index] == theirs[index] != _NOTHING]
            pairs += [((depth, index), (depth, index)) for index in same]
            lines += _numbered(ours, theirs, depth, held, pattern)
            continue
        pairs += [((depth, left), (depth, right)) for left, right in alignment.pairs if ours[left] == theirs[right]]
        where, order = ("", -1) if depth is None else (f"MTP depth {depth + 1}, ", depth)
        if len(alignment.changes) > _MOST_CHANGES:
            lines.append(((order, 0), f"{where}{_other_pattern(ours, theirs, len(alignment.changes))}"))
            continue
        told = sentences(ours, theirs, alignment, where)
        lines += (((order, change.start), line) for change, line in zip(alignment.changes, told, strict=True))
    return lines, pairs


def listed(names: Collection[str]) -> str:
    """Names in the order of text, the first few of them."""
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


# ------------------------------------------------------------------------------------------------------


def _of_pattern(model: Sorted, depth: int | None, pattern: Pattern) -> str:
    indices = model.of_depth(depth)
    found = []
    for index in range(indices[-1] + 1 if indices else 0):
        symbol = symbol_at(Place("", "", index, depth), pattern) if (depth, index) in model.layers else _NOTHING
        found.append(symbol or _STRANGE)
    return "".join(found)


def _held(held: Sorted, depth: int | None) -> str:
    indices = held.of_depth(depth)
    last = indices[-1] if indices else -1
    if last > 2 * len(indices) + 1000:  # a number that is no number of layers
        last = indices[len(indices) // 2]
    found = []
    for index in range(last + 1):
        symbols = held.symbols.get((depth, index))
        found.append(_NOTHING if symbols is None else symbols if len(symbols) == 1 else _STRANGE)
    return "".join(found)


def _other_pattern(ours: str, theirs: str, places: int) -> str:
    return (
        f"the layers differ in {places} places: the model has {len(ours)} sub-layers, {compressed(Pattern(ours))}, and the checkpoint "
        f"has {len(theirs)}, {compressed(Pattern(theirs))}"
    )


def _by_number(alignment: Alignment, ours: str, theirs: str) -> bool:
    """True where every difference is at one number on both sides, or is what one side has behind the other's end."""
    if {_NOTHING, _STRANGE} & set(ours + theirs):
        return True
    return all(
        change.start == change.other_start
        and (not change.moves or (change.stop == len(ours) and change.other_stop == len(theirs)))
        for change in alignment.changes
    )


def _numbered(ours: str, theirs: str, depth: int | None, held: Sorted, pattern: Pattern) -> Iterator[tuple[Order, str]]:
    """One sentence for all sub-layers of which the same is to say."""
    said: dict[tuple[str, str], list[int]] = {}
    shared, longest = min(len(ours), len(theirs)), max(len(ours), len(theirs))
    if longest - shared > _MOST_CHANGES and len(set(ours[shared:] + theirs[shared:])) > 1:
        yield (-1 if depth is None else depth, shared), _end(ours, theirs, depth)
        longest = shared
    for index in range(longest):
        mine = ours[index : index + 1] or _NOTHING
        other = theirs[index : index + 1] or _NOTHING
        if mine != other:
            symbols = held.symbols.get((depth, index), "")
            names = held.layers.get((depth, index), {})
            said.setdefault(_sentence(mine, other, symbols, names, pattern), []).append(index)
    for (is_what, has_what), indices in said.items():
        many = len(indices) > 1
        where = "" if depth is None else f"MTP depth {depth + 1}, "
        verb = f"sub-layers {ranges(indices)} are" if many else f"sub-layer {indices[0]} is"
        yield (-1 if depth is None else depth, indices[0]), f"{where}{verb} {is_what}, and the checkpoint {has_what}"


def _end(ours: str, theirs: str, depth: int | None) -> str:
    """One side goes on behind the other's end, with layers of several kinds."""
    where = "" if depth is None else f"MTP depth {depth + 1}, "
    longer, shorter = ("the model", "the checkpoint") if len(ours) > len(theirs) else ("the checkpoint", "the model")
    rest = (ours if len(ours) > len(theirs) else theirs)[min(len(ours), len(theirs)) :]
    shown = rest if set(rest) & {_NOTHING, _STRANGE} else compressed(Pattern(rest))
    start, stop = min(len(ours), len(theirs)), max(len(ours), len(theirs)) - 1
    return f"{where}{longer} goes on behind the end of {shorter}: sub-layers {start}–{stop}, {shown}"


def _sentence(mine: str, other: str, symbols: str, names: Collection[str], pattern: Pattern) -> tuple[str, str]:
    """What the model's sub-layer is, and what the checkpoint has there."""
    there = " and ".join(symbol_of(each).name for each in symbols)
    if mine in (_NOTHING, _STRANGE):
        model = str(pattern) if len(str(pattern)) <= _LONG else "the model"
        return f"not in {model}", f"holds {there or 'something unknown'} there"
    name = symbol_of(mine).name
    if other == _NOTHING:
        return name, "has nothing there"
    if len(symbols) == 2:
        return name, (
            f"holds {there} under one layer: it was written with the names of a fused model, not with canonical ones"
        )
    return name, f"holds {there or 'something unknown: ' + listed(names)} there"
