"""`diff`: every difference between two checkpoints of any formats and layouts, with its cause. numpy only.

Names are paired first (`matching`), bits compared where they lie (`comparing`), and only what differs is measured
(`measuring`), block by block: two checkpoints of any size need little memory.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import numpy as np

from workbench.checkpoint.comparing import causes, moved, objects
from workbench.checkpoint.comparing.blocks import THREADS, unequal
from workbench.checkpoint.comparing.grouping import grouped
from workbench.checkpoint.comparing.matching import chosen, matcher, rows_of
from workbench.checkpoint.comparing.measuring import looked_at, measured
from workbench.checkpoint.comparing.metrics import Tolerance
from workbench.checkpoint.comparing.rows import Row, described, listed, place_of
from workbench.checkpoint.comparing.shapes import explain_shapes
from workbench.checkpoint.differences import Detail, Diff, Kind, Metrics, Side, TensorDifference
from workbench.checkpoint.layout import Layout
from workbench.checkpoint.layouts import layout_of
from workbench.checkpoint.opening import open_checkpoint
from workbench.checkpoint.reading.uncollected import uncollected
from workbench.checkpoint.source import Checkpoint
from workbench.errors import WorkbenchError

_WORTH_A_THREAD = 2**20  # bytes

type Progress = Callable[[int, int], None]
type Layouts = tuple[Layout, Layout]


@uncollected()
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

    Every bit must be the same unless `rtol` and `atol` (|a - b| <= atol + rtol · |b|) or `ulp` say otherwise. `only` and
    `ignore` are glob patterns on canonical or written names. With `values=False` names, shapes and dtypes are compared,
    no contents. With `as_written` names are taken as they stand, whatever the layouts. `progress(done, total)` is
    told bytes; the total grows where tensors differ and are read again.

    Raises `WorkbenchError` where a side cannot be read, a pattern of `only` matches nothing, or nothing is there to compare.
    """
    began = time.perf_counter()
    tolerance = Tolerance(atol, rtol, ulp)
    only, ignore = tuple(only), tuple(ignore)
    sides = open_checkpoint(left), open_checkpoint(right)
    layouts = layout_of(sides[0]), layout_of(sides[1])
    rows, ignored = chosen(rows_of(*sides, layouts, as_written=as_written), only, ignore)
    if not rows:
        _check_objects(sides, ignored, ignore)
    _structure(rows)
    sentences = [*(() if as_written else causes.unexplained_sentence(layouts)), *causes.pattern_sentences(layouts)]
    if values:
        within = _contents(rows, tolerance, progress)
        sentences += moved.told(moves := moved.find_moves(rows), rows)
        explain_shapes(rows)
        rows = _renamed(rows, moves)
        sentences += causes.number_sentences(rows, tolerance, within)
    else:
        sentences += causes.number_sentences(rows, tolerance, 0)
    sentences += causes.one_sided(rows)
    _rename_by_layout(rows)
    differing = [at for at, row in enumerate(rows) if row.outcome != "equal"]
    wanted, unwanted = matcher(only), matcher(ignore)
    differences = [_difference(rows[at], layouts) for at in differing]
    differences += objects.object_differences(
        *sides, lambda name: (wanted is None or bool(wanted.match(name))) and not (unwanted and unwanted.match(name))
    )
    sentences += objects.object_sentences(differences)
    identical = values and not any(each.content for each in differences)
    about_names = causes.layout_sentence(layouts, rows, same=identical)
    sentences = [*about_names, *sentences] if identical else [*sentences, *about_names]
    sentences += objects.value_sentences(sides[0].values, sides[1].values)
    return Diff(
        left=_side(sides[0], layouts[0], sides[1]),
        right=_side(sides[1], layouts[1], sides[0]),
        identical=identical,
        same_names=sides[0].tensors.keys() == sides[1].tensors.keys(),
        compared=values,
        sentences=tuple(sentences),
        differences=tuple(differences),
        groups=grouped(rows, {at: place for place, at in enumerate(differing)}, differences),
        counts=_counts(rows, differences),
        tolerance=str(tolerance),
        seconds=time.perf_counter() - began,
        ignored=tuple(row.name for row in ignored),
        environment={"python": platform.python_version(), "numpy": np.__version__, "machine": platform.machine()},
        look=_looker(rows, tolerance),
    )


# ------------------------------------------------------------------------------------------------------


def _check_objects(sides: tuple[Checkpoint, Checkpoint], ignored: list[Row], ignore: tuple[str, ...]) -> None:
    """Without a tensor something else must be compared: two sides of which nothing was looked at are not called identical."""
    unwanted = matcher(ignore)
    if any(not (unwanted and unwanted.match(name)) for side in sides for name in side.objects):
        return
    if ignored:
        raise WorkbenchError(
            f"nothing is left to compare: every tensor is ignored ({listed([row.name for row in ignored])})"
        )
    raise WorkbenchError(f"nothing is there to compare: neither {sides[0].where} nor {sides[1].where} holds a tensor")


def _structure(rows: list[Row]) -> None:
    for row in rows:
        if row.right is None:
            row.outcome, row.detail = "missing", "only on the left"
        elif row.left is None:
            row.outcome, row.detail = "extra", "only on the right"
        elif row.left.shape != row.right.shape:
            row.outcome, row.detail = "shape", f"{list(row.left.shape)} against {list(row.right.shape)}"
        elif row.left.dtype != row.right.dtype:
            row.outcome = "dtype"


def _contents(rows: list[Row], tolerance: Tolerance, progress: Progress | None) -> int:
    """Compare what has one shape on both sides, and measure what differs. Returns how many differ within the tolerance."""
    compared = [row for row in rows if row.outcome == "equal"]
    so_far, total = 0, sum(row.pair[0].nbytes for row in compared)

    def done(nbytes: int) -> None:
        nonlocal so_far
        so_far += nbytes
        if progress is not None:
            progress(so_far, total)

    differing = [compared[index] for index in sorted(unequal([row.pair for row in compared], done))]
    differing += [row for row in rows if row.outcome == "dtype"]
    total += sum(row.pair[0].nbytes for row in differing)
    within = 0
    for row, (metrics, special) in _measured(differing, tolerance):
        done(row.pair[0].nbytes)
        row.detail = special
        if row.outcome == "dtype" or metrics.mismatched:
            row.metrics = metrics
            row.outcome = "dtype" if row.outcome == "dtype" else "value"
        else:
            within += 1
    return within


def _measured(rows: list[Row], tolerance: Tolerance) -> Iterator[tuple[Row, tuple[Metrics, str]]]:
    """Each row with what is measured of it: large tensors in threads, small ones here, where no thread waits for another."""
    small = [row for row in rows if row.pair[0].nbytes < _WORTH_A_THREAD]
    large = [row for row in rows if row.pair[0].nbytes >= _WORTH_A_THREAD]
    yield from ((row, measured(row.pair, tolerance)) for row in small)
    with ThreadPoolExecutor(THREADS) as pool:
        yield from zip(large, pool.map(lambda row: measured(row.pair, tolerance), large), strict=True)


def _renamed(rows: list[Row], moves: list[moved.Move]) -> list[Row]:
    """The rows, with two that hold the same under a name that only one side has made one."""
    gone = set()
    for ours, theirs in moves:
        if ours.right is None and theirs.left is None:
            ours.outcome, ours.by = "renamed", "content"
            ours.right, ours.right_names, ours.other_name = theirs.right, theirs.right_names, theirs.name
            ours.detail = "the same content under another name"
            gone.add(id(theirs))
    return [row for row in rows if id(row) not in gone]


def _rename_by_layout(rows: list[Row]) -> None:
    for row in rows:
        if row.by == "layout" and row.outcome == "equal":
            row.outcome = "renamed"
            row.detail = f"{' + '.join(row.left_names)} on the left, {' + '.join(row.right_names)} on the right"


def _difference(row: Row, layouts: Layouts) -> TensorDifference:
    explained = row.spot.symbol is not None
    return TensorDifference(
        kind=_kind(row.outcome),
        name=row.name,
        other_name=row.other_name,
        written=" + ".join(row.left_names) if row.by == "layout" else None,
        sublayer=row.spot.index if explained else None,
        depth=row.spot.depth,
        symbol=row.spot.symbol,
        place=place_of(row.name, row.spot, layouts[1 if row.left is None else 0].pattern),
        detail=row.detail,
        left=described(row.left),
        right=described(row.right),
        by=row.by,
        metrics=row.metrics,
    )


def _kind(outcome: str) -> Kind:
    assert outcome in get_args(Kind), f"{outcome} is no kind of difference"
    return outcome  # type: ignore[return-value]


def _counts(rows: list[Row], differences: list[TensorDifference]) -> dict[str, int]:
    """How many of each: "equal" and the kinds but "object" add up to "tensors"."""
    outcomes = Counter(row.outcome for row in rows)
    outcomes["object"] = sum(each.kind == "object" for each in differences)
    return {
        **{outcome: outcomes[outcome] for outcome in ("equal", *get_args(Kind))},
        "tensors": len(rows),
        "elements": sum(row.elements for row in rows),
    }


def _side(checkpoint: Checkpoint, layout: Layout, other: Checkpoint) -> Side:
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
        notes=(*checkpoint.notes, *layout.reasons, *objects.notes(checkpoint, other)),
    )


def _looker(rows: list[Row], tolerance: Tolerance) -> Callable[[str], Detail]:
    def look(name: str) -> Detail:
        """One pair of tensors closely; `WorkbenchError` for a name that no pair of one shape has."""
        for row in rows:
            if name in (row.name, row.other_name, *row.left_names, *row.right_names):
                break
        else:
            raise WorkbenchError(f"no tensor that was compared is called {name!r}")
        if row.left is None or row.right is None:
            raise WorkbenchError(f"{name} is {row.detail}: there is nothing to hold it against")
        if row.left.shape != row.right.shape:
            raise WorkbenchError(f"{name} is {described(row.left)} on the left and {described(row.right)} on the right")
        return looked_at(row.name, row.pair, tolerance)

    return look
