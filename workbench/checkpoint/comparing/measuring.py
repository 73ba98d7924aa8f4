"""The two tensors of a pair that differ, measured and looked at closely, block by block. numpy only."""

from __future__ import annotations

import heapq
import math
from collections import Counter

import numpy as np

from workbench.checkpoint.comparing.blocks import Pair, blocks
from workbench.checkpoint.comparing.casts import Casts
from workbench.checkpoint.comparing.metrics import Measure, Tolerance, difference, numbers
from workbench.checkpoint.differences import Detail, Metrics
from workbench.checkpoint.dtypes import Array, decode, dtype_of

# The C library gives memory that was freed back to the system, and gets it anew page by page, until it has seen a larger piece
# come and go. This one is never written to. Without it measuring takes six times as long.
np.empty(2**24, np.uint8)

_ROWS, _COLUMNS = 32, 64  # cells of the heat map, at most
_WORST = 8


def measured(pair: Pair, tolerance: Tolerance) -> tuple[Metrics, str]:
    """How far two tensors of one shape are apart; and in words what is special about it, "" where nothing is."""
    measure = _measure(pair, tolerance)
    for ours, theirs in blocks(*pair):
        measure.add(ours, theirs)
    metrics = measure.result(pair[0].shape)
    return metrics, _special(measure, metrics)


def looked_at(name: str, pair: Pair, tolerance: Tolerance) -> Detail:
    """The same pair with a histogram of its distances, a map of where they are, and the entries that are furthest apart."""
    left, right = pair
    measure, bins, worst = _measure(pair, tolerance), Counter[int | None](), list[tuple[float, int, str, str]]()
    height, width = _last_axes(left.shape)
    rows, columns = max(math.ceil(height / _ROWS), 1), max(math.ceil(width / _COLUMNS), 1)
    across = max(math.ceil(width / columns), 1)
    hits = np.zeros((max(math.ceil(height / rows), 1), across), np.int64)
    at = 0
    for ours, theirs in blocks(left, right):
        beyond = measure.add(ours, theirs)
        _count(bins, ours, theirs, pair)
        if beyond.size:
            row, column = np.divmod(at + beyond, width)
            cells = row % height // rows * across + column // columns
            hits += np.bincount(cells, minlength=hits.size).reshape(hits.shape)
            worst = heapq.nlargest(
                _WORST, [*worst, *_furthest(at, beyond, ours, theirs, pair)], key=lambda each: each[0]
            )
        at += ours.size
    sample = (
        (tuple(int(axis) for axis in np.unravel_index(place, left.shape)), mine, other)
        for _, place, mine, other in worst
    )
    return Detail(
        name=name,
        metrics=measure.result(left.shape),
        histogram=tuple(sorted(bins.items(), key=lambda entry: -math.inf if entry[0] is None else entry[0])),
        heat=tuple(tuple(line) for line in _shares(hits, left.shape, rows, columns).tolist()),
        rows=rows,
        columns=columns,
        sample=tuple(sample),
    )


# ------------------------------------------------------------------------------------------------------


def _measure(pair: Pair, tolerance: Tolerance) -> Measure:
    left, right = (tensor.dtype for tensor in pair)
    return Measure(left, right, tolerance, casts=None if left == right else Casts(left, right))


def _special(measure: Measure, metrics: Metrics) -> str:
    if measure.casts is not None:
        return str(measure.casts)
    if not metrics.mismatched or metrics.max_abs:
        return ""
    if metrics.max_abs is None:
        # Nothing finite differs: infinities, or NaN, alone or against a NaN of other bits.
        alone = any(metrics.nan[:2]) or any(metrics.inf[:2])
        return "" if alone or metrics.inf[2] else "NaN against NaN, of other bits"
    if any(metrics.nan[:2]) or any(metrics.inf[:2]):
        return ""
    zeros = "-0.0 against 0.0" if dtype_of(measure.dtype).kind in ("float", "complex") else "the same numbers"
    return f"{zeros}: the bits differ, the numbers do not"


def _last_axes(shape: tuple[int, ...]) -> tuple[int, int]:
    """(height, width) of the tensor's last two axes; one of a vector or a number is 1."""
    height, width = (1, 1, *shape)[-2:]
    return max(height, 1), max(width, 1)


def _count(bins: Counter[int | None], ours: Array, theirs: Array, pair: Pair) -> None:
    a, b = numbers(ours, pair[0].dtype), numbers(theirs, pair[1].dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        distance = difference(a, b)
    apart = distance[np.isfinite(distance) & (distance > 0)]
    equal = (a == b) | (np.isnan(a) & np.isnan(b)) if a.dtype.kind in "fc" else a == b
    if same := int(np.count_nonzero(equal)):
        bins[None] += same
    for power, times in zip(*np.unique(np.floor(np.log10(apart)).astype(int), return_counts=True), strict=True):
        bins[int(power)] += int(times)


def _furthest(at: int, places: Array, ours: Array, theirs: Array, pair: Pair) -> list[tuple[float, int, str, str]]:
    """(distance, index in the tensor, left, right) of a block's worst entries; what has no distance is further than all."""
    a, b = numbers(ours[places], pair[0].dtype), numbers(theirs[places], pair[1].dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.nan_to_num(difference(a, b), nan=np.inf)
    worst = np.argsort(-distance, kind="stable")[:_WORST]
    return [
        (float(distance[one]), at + int(place), _text(ours, place, pair[0].dtype), _text(theirs, place, pair[1].dtype))
        for one, place in zip(worst, places[worst], strict=True)
    ]


def _text(bits: Array, place: int, dtype: str) -> str:
    """One entry, with as many digits as its type has."""
    return str(decode(bits[place : place + 1], dtype)[0])


def _shares(hits: Array, shape: tuple[int, ...], rows: int, columns: int) -> Array:
    height, width = _last_axes(shape)
    high = np.minimum(rows, height - rows * np.arange(hits.shape[0]))
    wide = np.minimum(columns, width - columns * np.arange(hits.shape[1]))
    layers = max(math.prod(shape) // (height * width), 1)
    return hits / (np.outer(high, wide) * layers)
