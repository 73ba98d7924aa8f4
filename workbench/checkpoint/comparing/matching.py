"""Which tensor of one checkpoint belongs to which of another: by name, through the layouts that explain the names. numpy only."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping

from workbench.checkpoint.comparing.rows import Row, spot_of
from workbench.checkpoint.inference.alignment import align
from workbench.checkpoint.layout import Layout, Named
from workbench.checkpoint.source import Checkpoint
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

_LAYER = re.compile(r"(?:^|\.)decoder\.layers\.([0-9]{1,9})\.")


def explained(left: Layout, right: Layout) -> bool:
    """True where the names of both sides have a meaning, so that canonical names pair them."""
    return left.pattern is not None and right.pattern is not None


def rows_of(left: Checkpoint, right: Checkpoint, layouts: tuple[Layout, Layout], *, as_written: bool) -> list[Row]:
    """Every tensor of both sides once, in the order of the left and then of what only the right has.

    Names are canonical where both sides' are explained and not `as_written`; two that are written otherwise are paired
    by "layout".
    """
    canonical = explained(*layouts) and not as_written
    ours, theirs = (
        layout.canonical if canonical else _written(side) for layout, side in zip(layouts, (left, right), strict=True)
    )
    patterns = tuple(layout.pattern if canonical else None for layout in layouts)
    aligned = _aligned(theirs, *patterns) if canonical else {name: name for name in theirs}
    found = {counterpart: name for name, counterpart in aligned.items() if counterpart is not None}
    rows = []
    for name, mine in ours.items():
        other_name = found.get(name)
        other = None if other_name is None else theirs.get(other_name)
        row = Row(name, mine.tensor, None, mine.written, (), spot_of(name, patterns[0]))
        if other is not None:
            row.right, row.right_names = other.tensor, other.written
            if row.left_names != row.right_names:
                row.by, row.other_name = "layout", " + ".join(row.right_names)
        rows.append(row)
    for name, other in theirs.items():
        if aligned[name] not in ours:
            rows.append(Row(name, None, other.tensor, (), other.written, spot_of(name, patterns[1])))
    return rows


def chosen(rows: list[Row], only: Iterable[str], ignore: Iterable[str]) -> tuple[list[Row], list[Row]]:
    """(what is compared, what was ignored): `only` and `ignore` are glob patterns on canonical or written names.

    Raises `WorkbenchError` where a pattern of `only` matches nothing.
    """
    only, ignored = tuple(only), matcher(tuple(ignore))
    for pattern in only:
        single = matcher((pattern,))
        if not any(_matches(single, row) for row in rows):
            raise WorkbenchError(
                f"no tensor of either side is called {pattern!r}: say a whole name, or parts of it with '*', "
                "such as 'decoder.layers.3.*'"
            )
    if only:
        wanted = matcher(only)
        rows = [row for row in rows if _matches(wanted, row)]
    kept: list[Row] = []
    left_out: list[Row] = []
    for row in rows:
        (left_out if _matches(ignored, row) else kept).append(row)
    return kept, left_out


def matcher(patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    """One expression for several glob patterns; None for none."""
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns)) if patterns else None


# ------------------------------------------------------------------------------------------------------


def _aligned(names: Iterable[str], left: Pattern | None, right: Pattern | None) -> dict[str, str | None]:
    """The right's canonical names → those of the left's sub-layers that they are, where sub-layers were put in or taken out;
    None for a name of a sub-layer that the left has not.
    """
    assert left is not None and right is not None, "canonical names have a pattern"  # noqa: PT018
    alignment = align(left.symbols, right.symbols)
    if not alignment.moves:
        return {name: name for name in names}
    # What is replaced in its place keeps its number: its names differ where they must.
    counterpart = {other: place for place, other in alignment.pairs}
    for change in alignment.changes:
        if not change.moves:
            counterpart |= zip(
                range(change.other_start, change.other_stop), range(change.start, change.stop), strict=True
            )
    found: dict[str, str | None] = {}
    for name in names:
        match = _LAYER.search(name)
        if match is None:
            found[name] = name
            continue
        place = counterpart.get(int(match[1]))
        found[name] = None if place is None else f"{name[: match.start(1)]}{place}{name[match.end(1) :]}"
    return found


def _written(side: Checkpoint) -> Mapping[str, Named]:
    return {name: Named(tensor, (name,)) for name, tensor in side.tensors.items()}


def _matches(expression: re.Pattern[str] | None, row: Row) -> bool:
    return expression is not None and any(
        expression.match(name) for name in {row.name, *row.left_names, *row.right_names}
    )
