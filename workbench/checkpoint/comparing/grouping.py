"""Rows folded into what a person reads as one: the same tensor of consecutive layers with one outcome. numpy only."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from workbench.checkpoint.comparing.rows import Row
from workbench.checkpoint.differences import Group, TensorDifference

# Worst first; what the layouts explain, and what is equal, comes last.
_ORDER = ("missing", "extra", "shape", "dtype", "value", "object", "renamed")
_LAST = len(_ORDER) + 1

# "optimizer.state.exp_avg", whatever an optimizer's folder of states is called.
_STATE = re.compile(r"optimizer\.(?:[a-z_]*\.)?[a-z_][a-z_0-9]*(?=\.)")

type _Family = tuple[str, int, str, str]  # stem, MTP depth, name within the layer, symbol


def grouped(
    rows: Sequence[Row], places: Mapping[int, int], differences: Sequence[TensorDifference]
) -> tuple[Group, ...]:
    """The groups of all rows, and of differences that have none (objects). `places` is row index → difference index."""
    families: dict[_Family, list[int]] = defaultdict(list)
    states = _one_sided_states(rows)
    told = {at for members in states.values() for at in members}
    for at, row in enumerate(rows):
        if at in told:
            continue
        spot = row.spot
        families[spot.stem, -1 if spot.depth is None else spot.depth, spot.folded, spot.symbol or ""].append(at)
    groups = [
        group for family, members in families.items() for group in _family(family, members, rows, places, differences)
    ]
    groups += [
        _group(
            ("", -1, f"{state}.*", ""), rows[members[0]].outcome, members, rows, places, differences, "optimizer states"
        )
        for state, members in states.items()
    ]
    held = set(places.values())
    groups += [
        Group(found.place, None, found.name, found.kind, 0, 0, at, (at,))
        for at, found in enumerate(differences)
        if at not in held
    ]
    return tuple(sorted(groups, key=lambda group: _severity(group, differences)))


# ------------------------------------------------------------------------------------------------------


def _one_sided_states(rows: Sequence[Row]) -> dict[str, list[int]]:
    """Optimizer states of which one side has every tensor and the other none: one thing to a reader, in as many tensors as
    the model has, that would hide what differs in the weights."""
    states: dict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        if found := _STATE.match(row.name):
            states[found[0]].append(at)
    return {
        state: members
        for state, members in states.items()
        if len(members) > 1
        and len(outcomes := {rows[at].outcome for at in members}) == 1
        and outcomes <= {"missing", "extra"}
    }


def _family(
    family: _Family,
    members: list[int],
    rows: Sequence[Row],
    places: Mapping[int, int],
    differences: Sequence[TensorDifference],
) -> Iterator[Group]:
    """The same tensor in every layer that has it: runs of layers in which an outcome follows itself."""
    indices = sorted({-1 if (index := rows[at].spot.index) is None else index for at in members})
    order = {index: place for place, index in enumerate(indices)}
    runs: dict[tuple[str, str], list[list[int]]] = {}
    for at in sorted(members, key=lambda at: rows[at].spot.index or 0):
        row = rows[at]
        found = runs.setdefault((row.outcome, row.by), [])
        here = order[-1 if row.spot.index is None else row.spot.index]
        before = rows[found[-1][-1]].spot.index if found else None
        if found and here - order[-1 if before is None else before] <= 1:
            found[-1].append(at)
        else:
            found.append([at])
    for (outcome, _), parts in runs.items():
        for run in parts:
            yield _group(family, outcome, run, rows, places, differences)


def _group(
    family: _Family,
    outcome: str,
    run: list[int],
    rows: Sequence[Row],
    places: Mapping[int, int],
    differences: Sequence[TensorDifference],
    place: str | None = None,
) -> Group:
    found = tuple(places[at] for at in run if at in places)
    first, last = rows[run[0]], rows[run[-1]]
    return Group(
        place=_place(first, last) if place is None else place,
        symbol=family[3] or None,
        name=family[2],
        outcome=outcome,
        tensors=len(run),
        elements=sum(rows[at].elements for at in run),
        worst=min(found, key=lambda at: _distance(differences[at])) if found else None,
        members=found,
    )


def _place(first: Row, last: Row) -> str:
    spot = first.spot
    if spot.index is None:
        return spot.stem
    noun = spot.stem or "layer"
    depth = "" if spot.depth is None else f"MTP depth {spot.depth + 1}, "
    if spot.index == last.spot.index:
        return f"{depth}{noun} {spot.index}"
    plural = "" if noun.endswith("s") else "s"
    return f"{depth}{noun}{plural} {spot.index}–{last.spot.index}"


def _severity(group: Group, differences: Sequence[TensorDifference]) -> tuple[int, tuple[float, ...], int]:
    if group.worst is None:
        return _LAST, (), 0
    worst = differences[group.worst]
    return _ORDER.index(worst.kind) if worst.content else _LAST - 1, _distance(worst), group.worst


def _distance(found: TensorDifference) -> tuple[float, ...]:
    """The further apart, the smaller: NaN on one side first, then the relative distance, then how many entries."""
    metrics = found.metrics
    if metrics is None:
        return (0.0, 0.0, 0.0)
    return (-float(metrics.nan[0] + metrics.nan[1] > 0), -(metrics.max_rel or 0.0), -float(metrics.mismatched))
