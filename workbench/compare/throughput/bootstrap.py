"""Medians with bootstrap intervals, and the speedup of paired times. Pure arithmetic on numpy arrays, seeded.

What varies between trials on a shared machine is not independent: load comes and goes over several of them. So whole
runs of neighbours are drawn together (the circular block bootstrap of Politis and Romano, 1992), which widens the
interval when neighbours are alike. Of a dozen values a bootstrap interval is too narrow; the exact one between two order
statistics, which holds the median whatever the distribution, is then the wider, and the wider one is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from workbench.compare.throughput.result import Interval

RESAMPLES = 4_000
LEVEL = 0.95  # the share of repetitions whose interval holds the true median


def median_interval(
    values: Sequence[float] | NDArray[np.float64], *, seed: int, resamples: int = RESAMPLES, level: float = LEVEL
) -> Interval:
    """The median of values in the order they were measured, with its interval: bootstrap percentiles or order statistics.

    Blocks hold the cube root of the number of values, rounded up. Of fewer than `FEWEST_PAIRS` values the interval is from the
    least to the largest, and its level is lower.
    """
    measured = np.asarray(values, dtype=np.float64)
    if measured.ndim != 1 or not measured.size or not np.isfinite(measured).all():
        raise ValueError(f"expected a sequence of finite numbers, not {values!r}")
    middle = float(np.median(measured))
    medians = np.median(measured[_draws(measured.size, resamples, seed)], axis=1)
    tail = (1.0 - level) / 2
    low, high = np.quantile(medians, (tail, 1.0 - tail))
    ordered = np.sort(measured)
    rank = _rank(measured.size, tail)
    return Interval(middle, min(float(low), float(ordered[rank])), max(float(high), float(ordered[-1 - rank])))


def speedup(fused: Sequence[float], unfused: Sequence[float], *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """How many times as fast the fused twin is: the median over pairs of unfused / fused, with its interval.

    Both times of a pair were taken one right after the other. Load that slows both leaves their ratio alone, and a trial that
    something interrupted spoils one ratio only; a ratio of medians has neither property.
    """
    over, under = np.asarray(unfused, dtype=np.float64), np.asarray(fused, dtype=np.float64)
    if over.shape != under.shape:
        raise ValueError(f"pairs have two times: {over.size} of one twin, {under.size} of the other")
    if not (under > 0).all():
        raise ValueError("a trial took no time: the clock is too coarse for it")
    return median_interval(over / under, seed=seed, resamples=resamples)


def _draws(count: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Indices [resamples, count]: blocks of neighbours, around the end to the start."""
    length = int(np.ceil(count ** (1 / 3)))
    blocks = -(-count // length)
    starts = np.random.default_rng(seed).integers(0, count, (resamples, blocks, 1))
    indices: NDArray[np.int64] = ((starts + np.arange(length)) % count).reshape(resamples, -1)[:, :count]
    return indices


def _rank(count: int, tail: float) -> int:
    """How many values may be left out at either end: fewer than that lie below the true median with probability `tail`."""
    limit = Fraction(tail) * 2**count  # in whole numbers: 0.5**count is 0.0 from 1,075 values on
    rank, choices = 0, 1
    below = choices
    while below <= limit:
        rank += 1
        choices = choices * (count - rank + 1) // rank
        below += choices
    return max(rank - 1, 0)
