"""Where to place `|`: the split of a pattern into pipeline stages whose slowest stage is as quick as it can be. Pure.

Exact, not greedy: the smallest possible slowest stage is found by dynamic programming over every place between two
blocks, and among the splits that reach it the most even one (least sum of squares) is taken. Blocks are never cut, so
a fused pair stays on one stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from math import isfinite, lcm
from typing import Any, ClassVar

from workbench.errors import WorkbenchError, check_whole
from workbench.pattern.model import Pattern

MOST_STAGES = 10_000  # more than any pipeline has: a slip of the finger must not run for hours


@dataclass(frozen=True)
class Balance:
    """A pattern with its stages placed, and what each costs, in the unit of the costs that were given.

    `efficiency` is the mean stage over the slowest: the share of the time that a full pipeline works, with no bubble
    at its start and end counted.
    """

    # How a notebook shows a placement; the views set it (`workbench/__init__.py`).
    view: ClassVar[Callable[[Balance], dict[str, str]] | None] = None

    pattern: Pattern
    stage_costs: tuple[float, ...]
    by: str = ""  # what the costs count: "flops" (forward and backward, a token), "parameters", or "" for anything else

    @property
    def slowest(self) -> int:
        """The first stage that costs most."""
        return max(range(len(self.stage_costs)), key=lambda stage: (self.stage_costs[stage], -stage))

    @property
    def efficiency(self) -> float:
        """Mean stage over the slowest, 0 to 1; 1 when nothing costs anything."""
        highest = max(self.stage_costs)
        return sum(self.stage_costs) / (len(self.stage_costs) * highest) if highest else 1.0

    def bubble_efficiency(self, micro_batches: int) -> float:
        """`efficiency` with the bubble of a 1F1B schedule: m micro-batches on S stages take m + S - 1 turns.

        Source: Narayanan et al., arXiv 2104.04473, section 2.2.
        """
        check_whole("micro_batches", micro_batches)
        return self.efficiency * micro_batches / (micro_batches + len(self.stage_costs) - 1)

    def to_json(self) -> dict[str, Any]:
        """The pattern, every stage's cost, the slowest stage and the efficiency."""
        return {
            "pattern": str(self.pattern),
            "by": self.by,
            "stage_costs": list(self.stage_costs),
            "slowest_stage": self.slowest,
            "efficiency": self.efficiency,
        }

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if Balance.view is None:
            return {"text/plain": repr(self)}
        return Balance.view(self)


def balance(
    pattern: Pattern | str, stages: int, costs: Sequence[float], *, first: float = 0, last: float = 0
) -> Balance:
    """Split a pattern's blocks into `stages` runs so that the slowest is as quick as it can be.

    `costs` has one entry a block of the main pattern (at least 0, any unit); `first` is what the first stage does
    beside its blocks (the embedding), `last` the last (output layer, MTP). Stages that the pattern has already are
    ignored. A stage may come out empty where that is quickest. Raises `WorkbenchError`.
    """
    pattern = Pattern(pattern)
    check_whole("stages", stages)
    if stages > MOST_STAGES:
        raise WorkbenchError(f"stages must be at most {MOST_STAGES}")
    if len(costs) != len(pattern.blocks):
        raise WorkbenchError(f"{len(costs)} costs for {len(pattern.blocks)} blocks of {pattern}")
    if not all(isfinite(cost) and cost >= 0 for cost in (*costs, first, last)):
        raise WorkbenchError("costs must be finite numbers of at least 0")
    (*whole, whole_first, whole_last), _ = _exact([*costs, first, last])
    ends = _split(whole, stages, whole_first, whole_last)
    return Balance(_placed(pattern, ends), _loads(costs, ends, first, last))


def stage_balance(pattern: Pattern, costs: Sequence[float], *, first: float = 0, last: float = 0) -> Balance:
    """The stages that a pattern has, as they are; arguments as for `balance`."""
    ends, place = [], 0
    for stage in pattern.stages:
        place += len(stage)
        ends.append(place)
    return Balance(pattern, _loads(costs, ends, first, last))


# ------------------------------------------------------------------------------------------------------


def _split(costs: list[int], stages: int, first: int, last: int) -> list[int]:
    """The end (exclusive) of each stage's blocks: smallest slowest stage, then least sum of squares."""
    highest = _smallest_slowest(costs, stages, first, last)
    sums, count = [0, *accumulate(costs)], len(costs)
    # best[i]: least sum of squares of the stages so far, which end before block i; None where they cannot.
    best: list[int | None] = [0] + [None] * count
    chosen: list[list[int]] = []
    for stage in range(stages):
        extra = first * (stage == 0) + last * (stage == stages - 1)
        following: list[int | None] = [None] * (count + 1)
        starts = [0] * (count + 1)
        for end in range(count + 1):
            for start in range(end, -1, -1):
                load = sums[end] - sums[start] + extra
                if load > highest:
                    break  # a longer stage is no lighter
                before, known = best[start], following[end]
                if before is not None and (known is None or before + load * load < known):
                    following[end], starts[end] = before + load * load, start
        best = following
        chosen.append(starts)
    assert best[count] is not None, "the smallest slowest stage can be reached"
    ends = [count]
    for starts in reversed(chosen[1:]):
        ends.append(starts[ends[-1]])
    return ends[::-1]


def _smallest_slowest(costs: list[int], stages: int, first: int, last: int) -> int:
    """The least possible cost of the slowest stage."""
    sums, count = [0, *accumulate(costs)], len(costs)
    best = [total + first + last * (stages == 1) for total in sums]
    for stage in range(1, stages):
        extra = last * (stage == stages - 1)
        best = [_best_cut(best, sums, end, extra) for end in range(count + 1)]
    return best[count]


def _best_cut(before: list[int], sums: list[int], end: int, extra: int) -> int:
    """The least slowest stage of blocks up to `end`, the last stage starting anywhere.

    From left to right the stages before it grow and it shrinks: the best cut is where they meet.
    """
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        if before[middle] >= sums[end] - sums[middle] + extra:
            high = middle
        else:
            low = middle + 1
    return min(max(before[cut], sums[end] - sums[cut] + extra) for cut in (max(low - 1, 0), low))


def _exact(costs: Sequence[float]) -> tuple[list[int], int]:
    """The costs as whole numbers of a common unit (every float is a fraction), and how many of it make one."""
    fractions = [Fraction(cost) for cost in costs]
    unit = lcm(*(fraction.denominator for fraction in fractions))
    return [int(fraction * unit) for fraction in fractions], unit


def _loads(costs: Sequence[float], ends: Sequence[int], first: float, last: float) -> tuple[float, ...]:
    (*whole, whole_first, whole_last), unit = _exact([*costs, first, last])
    loads = [sum(whole[start:end]) for start, end in zip((0, *ends[:-1]), ends, strict=True)]
    loads[0] += whole_first
    loads[-1] += whole_last
    return tuple(load // unit if load % unit == 0 else load / unit for load in loads)


def _placed(pattern: Pattern, ends: Sequence[int]) -> Pattern:
    stages = ["".join(map(str, pattern.blocks[start:end])) for start, end in zip((0, *ends[:-1]), ends, strict=True)]
    return Pattern("|".join(stages) + pattern.text[len(pattern.main) :])
