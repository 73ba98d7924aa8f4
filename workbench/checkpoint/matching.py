"""Which tensor of one checkpoint belongs to which of another: by name, through the layouts that explain the names. numpy only."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping

from workbench.checkpoint.layout import Layout, Named
from workbench.checkpoint.rows import Row, spot_of
from workbench.checkpoint.source import Checkpoint
from workbench.checkpoint.tensors import StoredTensor
from workbench.errors import WorkbenchError


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
    pattern = layouts[0].pattern if canonical else None
    other_pattern = layouts[1].pattern if canonical else None
    rows = []
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        mine, other = ours.get(name), theirs.get(name)
        spot = spot_of(name, pattern if mine is not None else other_pattern)
        left_names, right_names = _names(mine), _names(other)
        row = Row(name, _tensor(mine), _tensor(other), left_names, right_names, spot)
        if mine is not None and other is not None and left_names != right_names:
            row.by, row.other_name = "layout", " + ".join(right_names)
        rows.append(row)
    return rows


def chosen(rows: list[Row], only: Iterable[str], ignore: Iterable[str]) -> tuple[list[Row], list[Row]]:
    """(what is compared, what was ignored): `only` and `ignore` are glob patterns on canonical or written names.

    Raises `WorkbenchError` where a pattern of `only` matches nothing.
    """
    only, ignored = tuple(only), _matcher(tuple(ignore))
    for pattern in only:
        single = _matcher((pattern,))
        if not any(_matches(single, row) for row in rows):
            raise WorkbenchError(
                f"no tensor of either side is called {pattern!r}: say a whole name, or parts of it with '*', "
                "such as 'decoder.layers.3.*'"
            )
    if only:
        wanted = _matcher(only)
        rows = [row for row in rows if _matches(wanted, row)]
    kept: list[Row] = []
    left_out: list[Row] = []
    for row in rows:
        (left_out if _matches(ignored, row) else kept).append(row)
    return kept, left_out


# ------------------------------------------------------------------------------------------------------


def _tensor(named: Named | None) -> StoredTensor | None:
    return None if named is None else named.tensor


def _names(named: Named | None) -> tuple[str, ...]:
    return () if named is None else named.written


def _written(side: Checkpoint) -> Mapping[str, Named]:
    return {name: Named(tensor, (name,)) for name, tensor in side.tensors.items()}


def _matcher(patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns)) if patterns else None


def _matches(matcher: re.Pattern[str] | None, row: Row) -> bool:
    return matcher is not None and any(matcher.match(name) for name in {row.name, *row.left_names, *row.right_names})
