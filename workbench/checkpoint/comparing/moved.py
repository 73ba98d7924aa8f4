"""Tensors whose content is found under another name: renamed, swapped, shifted, permuted; told sub-layer by sub-layer.

numpy only.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from workbench.checkpoint.comparing.blocks import unequal
from workbench.checkpoint.comparing.content import Held, is_even, same_content
from workbench.checkpoint.comparing.rows import Row, listed, ranges

type Move = tuple[Row, Row]  # the left of the first is the right of the second, bit for bit
type Layer = tuple[str, int, int]  # stem, MTP depth (-1 in the main model), index (-1 outside of the layers)

_TOLD = 4  # of what is said one by one; the rest is counted


def find_moves(rows: Sequence[Row]) -> list[Move]:
    """What differs, and is found as it is under another name on the right."""
    lefts = [Held(row.name, row.left, at) for at, row in enumerate(rows) if row.left is not None and _differs(row)]
    rights = [Held(row.name, row.right, at) for at, row in enumerate(rows) if row.right is not None and _differs(row)]
    return [(rows[ours.key], rows[theirs.key]) for ours, theirs in same_content(lefts, rights)]


def told(moves: Sequence[Move], rows: Sequence[Row]) -> list[str]:
    """The moves in sentences: whole sub-layers first, then experts, then names, then single tensors.

    Each row that only moved is given a `detail`.
    """
    for ours, theirs in moves:
        ours.moved = theirs.moved = True
        _explain(ours, theirs)
    left = [*moves]
    sentences: list[str] = []
    for tell in (_layers, _experts, _renamed, _singles):
        said, left = tell(left, rows)
        sentences += said
    return sentences


# ------------------------------------------------------------------------------------------------------


def _differs(row: Row) -> bool:
    return row.outcome in ("missing", "extra", "value", "shape", "dtype")


def _explain(ours: Row, theirs: Row) -> None:
    if ours.right is not None:
        _add(ours, f"what the left holds here is {theirs.name} on the right")
    if theirs.left is not None:
        _add(theirs, f"what the right holds here is {ours.name} on the left")


def _add(row: Row, detail: str) -> None:
    row.detail = f"{row.detail}; {detail}" if row.detail else detail


type _Told = tuple[list[str], list[Move]]


def _layers(moves: list[Move], rows: Sequence[Row]) -> _Told:
    """Sub-layers all of whose tensors that differ are in one other sub-layer."""
    targets: dict[Layer, Counter[Layer]] = defaultdict(Counter)
    for ours, theirs in moves:
        if ours.spot.folded == theirs.spot.folded and ours.spot.stem == theirs.spot.stem:
            targets[_layer(ours)][_layer(theirs)] += 1
    differing: dict[Layer, list[Row]] = defaultdict(list)
    for row in rows:
        if row.left is not None and _differs(row) and (layer := _layer(row)) in targets:
            differing[layer].append(row)
    whole: dict[Layer, Layer] = {}
    moved = {id(ours) for ours, _ in moves}
    for here, found in targets.items():
        (there, times), *_ = found.most_common(1)
        rest = [row for row in differing[here] if id(row) not in moved]
        if there != here and times + len(rest) == len(differing[here]) and _all_even(rest):
            whole[here] = there
    left = [
        (ours, theirs) for ours, theirs in moves if _layer(ours) not in whole or whole[_layer(ours)] != _layer(theirs)
    ]
    return list(_layer_sentences(whole)), left


def _layer(row: Row) -> Layer:
    spot = row.spot
    return spot.stem, -1 if spot.depth is None else spot.depth, -1 if spot.index is None else spot.index


def _all_even(rows: Iterable[Row]) -> bool:
    return all(row.left is not None and is_even(row.left) for row in rows)


def _layer_sentences(whole: Mapping[Layer, Layer]) -> Iterator[str]:
    swapped = [(here, there) for here, there in whole.items() if whole.get(there) == here and here < there]
    for here, there in swapped[:_TOLD]:
        yield f"{_named([here, there])} are swapped"
    if len(swapped) > _TOLD:
        yield f"{len(swapped) - _TOLD} more pairs of sub-layers are swapped"
    rest = sorted((here, there) for here, there in whole.items() if whole.get(there) != here)
    closed = {here for here, _ in rest} == {there for _, there in rest}  # another order, nothing more or less
    single: list[tuple[Layer, Layer]] = []
    for run in _shifts(rest):
        if len(run) == 1:
            single += run
            continue
        yield f"{_named(_firsts(run))} of the left are {_named(_seconds(run))} of the right{'' if closed else _shift_words(run[0])}"
    if single:
        ours, theirs = _named(_firsts(single), ordered=True), _named(_seconds(single), ordered=True)
        yield f"{ours} of the left {'is' if len(single) == 1 else 'are'} {theirs} of the right"


def _firsts(moves: list[tuple[Layer, Layer]]) -> list[Layer]:
    return [here for here, _ in moves]


def _seconds(moves: list[tuple[Layer, Layer]]) -> list[Layer]:
    return [there for _, there in moves]


def _shifts(moves: list[tuple[Layer, Layer]]) -> Iterator[list[tuple[Layer, Layer]]]:
    """Runs of layers that follow each other and moved by the same number of places."""
    run: list[tuple[Layer, Layer]] = []
    for here, there in moves:
        if run and (here[:2], there[:2], there[2] - here[2]) != (
            run[-1][0][:2],
            run[-1][1][:2],
            run[-1][1][2] - run[-1][0][2],
        ):
            yield run
            run = []
        run.append((here, there))
    if run:
        yield run


def _shift_words(first: tuple[Layer, Layer]) -> str:
    places = first[1][2] - first[0][2]
    some = f"{abs(places)} place{'s' if abs(places) > 1 else ''}"
    return (
        f": {some} later, as if something was inserted"
        if places > 0
        else f": {some} earlier, as if something was removed"
    )


def _named(layers: Sequence[Layer], *, ordered: bool = False) -> str:
    """ "sub-layers 3 and 7", "MTP depth 1, sub-layer 0"; with the stem of names that no pattern explains."""
    stem, depth, _ = layers[0]
    noun = stem or ("" if depth < 0 else f"MTP depth {depth + 1}, ") + "sub-layer" + ("s" if len(layers) > 1 else "")
    numbers = [index for _, _, index in layers]
    return f"{noun} {', '.join(map(str, numbers[:12]))}" if ordered else f"{noun} {ranges(numbers)}"


def _experts(moves: list[Move], rows: Sequence[Row]) -> _Told:
    """Experts of one sub-layer in another order; with the rows of its router in the same order it is the same function."""
    orders: dict[Layer, dict[str, str]] = defaultdict(dict)
    left = []
    for ours, theirs in moves:
        same_place = _layer(ours) == _layer(theirs) and ours.spot.folded == theirs.spot.folded
        same_place = same_place and "expert" in ours.spot.folded  # not the second number of any name
        if same_place and ours.spot.expert is not None and theirs.spot.expert is not None:
            orders[_layer(ours)][ours.spot.expert] = theirs.spot.expert
        else:
            left.append((ours, theirs))
    if not orders:
        return [], left
    routers = {_layer(row): row for row in rows if row.spot.folded.endswith("router.weight") and row.outcome == "value"}
    followed = {layer for layer, order in orders.items() if layer in routers and _follows(routers[layer], order)}
    sentences = []
    for layers, end in (
        (sorted(followed), "and the rows of the router with them: it computes the same"),
        (sorted(orders.keys() - followed), "and the router's rows are not"),
    ):
        if layers:
            order = orders[layers[0]]
            shown = ""
            if len(layers) == 1:
                first = sorted(order, key=int)[:8]
                shown = f" ({', '.join(first)} of the left are {', '.join(order[each] for each in first)} of the right)"
            sentences.append(f"the experts of {_named(layers)} are in another order{shown}, {end}")
    return sentences, left


def _follows(router: Row, order: Mapping[str, str]) -> bool:
    left, right = router.pair
    experts = range(left.shape[0])
    at = [int(order.get(str(expert), expert)) for expert in experts]
    if max(at) >= right.shape[0]:
        return False
    follows = not unequal(
        [(left.select(0, expert), right.select(0, there)) for expert, there in zip(experts, at, strict=True)]
    )
    if follows:
        router.moved = True
        _add(router, "its rows are in the order of the experts")
    return follows


def _renamed(moves: list[Move], rows: Sequence[Row]) -> _Told:
    """Names that one side has and the other has not, folded by the part of the name that changed."""
    changes: dict[tuple[str, str], list[Move]] = defaultdict(list)
    left = []
    for ours, theirs in moves:
        if ours.right is None and theirs.left is None:
            changes[_change(ours.name, theirs.name)].append((ours, theirs))
        else:
            left.append((ours, theirs))
    sentences = []
    common = sorted(changes.items(), key=lambda change: -len(change[1]))
    for (before, after), some in common[:_TOLD]:
        if len(some) == 1:
            sentences.append(f"{some[0][0].name} of the left is called {some[0][1].name} on the right")
        else:
            sentences.append(f"{len(some):,} tensors have another name: {_change_words(before, after)}")
    if len(common) > _TOLD:
        sentences.append(f"{sum(len(some) for _, some in common[_TOLD:]):,} more tensors have another name")
    return sentences, left


def _change(left: str, right: str) -> tuple[str, str]:
    """What is left of two names without the parts that they share at the beginning and at the end.

    >>> _change("model.layers.3.w", "layers.3.w"), _change("a.q.w", "a.query.w")
    (('model.', ''), ('q', 'query'))
    """
    ours, theirs = left.split("."), right.split(".")
    end = 0
    while end < min(len(ours), len(theirs)) and ours[-1 - end] == theirs[-1 - end]:
        end += 1
    start = 0
    while start < min(len(ours), len(theirs)) - end and ours[start] == theirs[start]:
        start += 1
    before, after = ours[start : len(ours) - end], theirs[start : len(theirs) - end]
    tail = "." if end and not (before and after) else ""
    return ".".join(before) + (tail if before else ""), ".".join(after) + (tail if after else "")


def _change_words(before: str, after: str) -> str:
    if before and after:
        return f"{before!r} on the left is {after!r} on the right"
    return f"{before!r} is in it on the left only" if before else f"{after!r} is in it on the right only"


def _singles(moves: list[Move], rows: Sequence[Row]) -> _Told:
    """Tensors that changed places one by one: folded where the same two layers, or the same names, are meant."""
    found = {id(ours): theirs for ours, theirs in moves}
    swaps = [(ours, theirs) for ours, theirs in moves if found.get(id(theirs)) is ours and ours.name < theirs.name]
    others = [(ours, theirs) for ours, theirs in moves if found.get(id(theirs)) is not ours]
    return [
        *_each(
            swaps, lambda ours, theirs: f"{ours.name} and {theirs.name} are swapped", "pairs of tensors are swapped"
        ),
        *_each(
            others,
            lambda ours, theirs: f"{ours.name} of the left is {theirs.name} of the right",
            "tensors of the left have another name on the right",
        ),
    ], []


def _each(moves: list[Move], say: Callable[[Row, Row], str], rest: str) -> list[str]:
    said = [say(ours, theirs) for ours, theirs in moves[:_TOLD]]
    if len(moves) > _TOLD:
        more = listed([ours.name for ours, _ in moves[_TOLD:]])
        said.append(f"{len(moves) - _TOLD:,} more {rest}: {more}")
    return said
