"""`diff`: every difference between two checkpoints of any formats and layouts, with its cause. numpy only.

Names are paired first (`matching`), bits compared where they lie (`comparing`), and only what differs is measured
(`metrics`), block by block: two checkpoints of any size need little memory.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, get_args

import numpy as np

from workbench.checkpoint.comparing import blocks, unequal
from workbench.checkpoint.differences import Diff, Kind, Metrics, Side, TensorDifference
from workbench.checkpoint.layout import Layout, Named
from workbench.checkpoint.matching import chosen, rows_of
from workbench.checkpoint.metrics import Measure, Tolerance
from workbench.checkpoint.rows import Row, described, place_of
from workbench.checkpoint.source import Checkpoint

type Progress = Callable[[int, int], None]


def diff(
    left: Any,
    right: Any,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    ulp: int = 0,
    only: Iterable[str] = (),
    ignore: Iterable[str] = (),
    values: bool = True,
    as_written: bool = False,
    progress: Progress | None = None,
) -> Diff:
    """Compare two checkpoints: paths, modules, optimizers, mappings, or `Checkpoint`s.

    Every bit must be the same unless `rtol`, `atol` (|a - b| <= atol + rtol · |b|) or `ulp` say otherwise. `only` and
    `ignore` are glob patterns on canonical or written names. With `values=False` names, shapes and dtypes are compared,
    no contents. With `as_written` names are taken as they stand, whatever the layouts. `progress(done, total)` is
    told bytes.

    Raises `WorkbenchError` where a side cannot be read, or a pattern of `only` matches nothing.
    """
    began = time.perf_counter()
    tolerance = Tolerance(atol, rtol, ulp)
    sides = _opened(left), _opened(right)
    layouts = _layout(sides[0]), _layout(sides[1])
    rows, ignored = chosen(rows_of(*sides, layouts, as_written=as_written), only, ignore)
    _structure(rows)
    if values:
        _contents(rows, tolerance, progress)
    _names(rows)
    differences = tuple(_difference(row, layouts) for row in rows if row.outcome != "equal")
    return Diff(
        left=_side(sides[0], layouts[0]),
        right=_side(sides[1], layouts[1]),
        identical=values and not any(each.content for each in differences),
        same_names=sides[0].tensors.keys() == sides[1].tensors.keys(),
        compared=values,
        sentences=(),
        differences=differences,
        groups=(),
        counts=_counts(rows),
        tolerance=str(tolerance),
        seconds=time.perf_counter() - began,
        ignored=tuple(row.name for row in ignored),
        environment={"python": platform.python_version(), "numpy": np.__version__, "machine": platform.machine()},
    )


# ------------------------------------------------------------------------------------------------------


def _opened(what: Any) -> Checkpoint:
    if isinstance(what, Checkpoint):
        return what
    from workbench.checkpoint.opening import open_checkpoint

    return open_checkpoint(what)


def _layout(side: Checkpoint) -> Layout:
    try:
        from workbench.checkpoint.layouts import layout_of
    except ImportError:
        names = {name: Named(tensor, (name,)) for name, tensor in side.tensors.items()}
        return Layout("other", "state_dict", None, None, names)
    return layout_of(side)


def _structure(rows: list[Row]) -> None:
    for row in rows:
        if row.right is None:
            row.outcome, row.detail = "missing", "only on the left"
        elif row.left is None:
            row.outcome, row.detail = "extra", "only on the right"
        elif row.left.shape != row.right.shape:
            row.outcome, row.detail = "shape", f"{list(row.left.shape)} against {list(row.right.shape)}"
        elif row.left.dtype != row.right.dtype:
            row.outcome, row.detail = "dtype", f"{row.left.dtype} against {row.right.dtype}"


def _contents(rows: list[Row], tolerance: Tolerance, progress: Progress | None) -> None:
    compared = [row for row in rows if row.outcome == "equal"]
    total, so_far = sum(row.pair[0].nbytes for row in compared), 0

    def done(nbytes: int) -> None:
        nonlocal so_far
        so_far += nbytes
        if progress is not None:
            progress(so_far, total)

    for index in sorted(unequal([row.pair for row in compared], done)):
        row = compared[index]
        row.metrics = measured(row, tolerance)
        if row.metrics.mismatched:
            row.outcome = "value"
            row.detail = f"{row.metrics.mismatched:,} of {row.metrics.elements:,} elements differ"
    for row in rows:
        if row.outcome == "dtype":
            row.metrics = measured(row, tolerance)


def measured(row: Row, tolerance: Tolerance) -> Metrics:
    """How far the two tensors of a row are apart."""
    left, right = row.pair
    measure = Measure(left.dtype, right.dtype, tolerance)
    for ours, theirs in blocks(left, right):
        measure.add(ours, theirs)
    return measure.result(left.shape)


def _names(rows: list[Row]) -> None:
    for row in rows:
        if row.by == "layout" and row.outcome == "equal":
            row.outcome = "renamed"
            row.detail = f"{' + '.join(row.left_names)} on the left, {' + '.join(row.right_names)} on the right"


def _difference(row: Row, layouts: tuple[Layout, Layout]) -> TensorDifference:
    pattern = layouts[1 if row.left is None else 0].pattern
    sublayer = row.spot.index if row.spot.symbol else None
    return TensorDifference(
        kind=row.outcome,  # type: ignore[arg-type]
        name=row.name,
        other_name=row.other_name,
        sublayer=sublayer,
        depth=row.spot.depth,
        symbol=row.spot.symbol,
        place=place_of(row.name, row.spot, pattern),
        detail=row.detail,
        left=described(row.left),
        right=described(row.right),
        by=row.by,
        metrics=row.metrics,
    )


def _counts(rows: list[Row]) -> dict[str, int]:
    outcomes = Counter(row.outcome for row in rows)
    return {
        **{outcome: outcomes[outcome] for outcome in ("equal", *get_args(Kind))},
        "tensors": len(rows),
        "elements": sum(row.elements for row in rows),
    }


def _side(checkpoint: Checkpoint, layout: Layout) -> Side:
    return Side(
        where=checkpoint.where,
        format=checkpoint.format,
        layout=layout.name,
        form=layout.form,
        backend=layout.backend,
        pattern=None if layout.pattern is None else str(layout.pattern),
        tensors=len(checkpoint.tensors),
        elements=checkpoint.elements,
        nbytes=checkpoint.nbytes,
        notes=(*checkpoint.notes, *layout.reasons),
    )
