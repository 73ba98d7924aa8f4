"""Minutes → steps: a throw-away model takes a few steps first, so that the learning-rate schedule is fixed before step 1."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from workbench.arch.sizes import ModelSizes
from workbench.compare.data.batch import Data
from workbench.compare.training.learner import Learner
from workbench.compare.training.settings import TrainingSettings
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

EVALUATIONS = 8  # at most, of a run whose number is not given
_EVALUATING = 0.15  # of the time, at most, where more than one evaluation would take more
_RESERVE = 0.03  # of the time: checkpoints, the log, whoever watches
_MEASURE_SECONDS = 4.0
_MOST_MINUTES = 366 * 24 * 60
_TURNS = 3  # of each thread count
_LEAST, _MOST = 3, 50  # steps that are measured, after one that is not: it allocates and compiles


@dataclass(frozen=True)
class Plan:
    """`steps` fit into `minutes` beside `evaluations`, at the measured seconds for each; `spent_seconds` went into measuring."""

    minutes: float
    steps: int
    evaluations: int
    step_seconds: float
    evaluation_seconds: float
    spent_seconds: float

    def __str__(self) -> str:
        return (
            f"about {self.steps:,} steps in {self.minutes:g} min: {self.step_seconds * 1e3:.0f} ms a step, "
            f"{self.evaluations} evaluation(s) of {self.evaluation_seconds:.1f} s"
        )

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)

    def settings(self, settings: TrainingSettings) -> TrainingSettings:
        """The settings with this many steps, and with this many evaluations where the settings do not say when."""
        every = settings.evaluate_every or evaluate_every(self.steps, self.evaluations)
        return replace(settings, steps=self.steps, evaluate_every=every)


def evaluate_every(steps: int, evaluations: int = EVALUATIONS) -> int:
    """Steps between evaluations so that there are about `evaluations`, the last of them after the last step."""
    return max(1, -(-steps // evaluations))


def check_minutes(minutes: float) -> None:
    """Raise `WorkbenchError` for a time that is none, or longer than a year."""
    if not 0 < minutes <= _MOST_MINUTES:
        raise WorkbenchError(f"minutes must be more than 0 and at most a year's {_MOST_MINUTES:,}, not {minutes:g}")


def measured_plan(
    pattern: Pattern, sizes: ModelSizes, data: Data, settings: TrainingSettings, minutes: float, models: int = 1
) -> Plan:
    """Measure steps and an evaluation of a twin that is then thrown away, and plan what fits into `minutes`.

    `models` share the time (twins: 2). There is at least one step. The run itself is not touched: everything it draws is
    seeded when it is drawn.
    """
    start = time.perf_counter()
    twin = Learner.build(pattern, sizes, data, replace(settings, steps=_MOST + 1))
    twin.step()
    seconds: list[float] = []
    while len(seconds) < _LEAST or (sum(seconds) < _MEASURE_SECONDS and len(seconds) < _MOST):
        seconds.append(twin.step().seconds)
    evaluation = twin.evaluate()
    assert evaluation is not None
    del twin
    gc.collect()  # a wrapped model is in reference cycles, and the run's own comes next
    spent = time.perf_counter() - start
    return planned(minutes, statistics.median(seconds) * models, evaluation.seconds * models, spent, settings)


def seconds_by_threads(
    pattern: Pattern, sizes: ModelSizes, data: Data, settings: TrainingSettings, candidates: Sequence[int]
) -> dict[int, float]:
    """Thread count → the median seconds of a step with it, measured in turns on one throw-away model.

    More threads are not always quicker: small matrices gain little from a second core, and where other programs use the
    cores, threads that wait for one another take many times as long as one. Torch's thread count is left as it was.
    """
    before = torch.get_num_threads()
    twin = Learner.build(pattern, sizes, data, replace(settings, steps=_MOST))
    seconds: dict[int, list[float]] = {count: [] for count in candidates}
    try:
        torch.set_num_threads(min(candidates))
        twin.step()
        for _ in range(_TURNS):
            for count in candidates:
                torch.set_num_threads(count)
                # The first step with another count starts or stops threads; it counts where it is all that there is time for.
                first = twin.step().seconds
                if first > _MEASURE_SECONDS:
                    seconds[count].append(first)
                    continue
                seconds[count] += [twin.step().seconds for _ in range(_LEAST)]
            if sum(map(sum, seconds.values())) > _MEASURE_SECONDS:
                break
    finally:
        torch.set_num_threads(before)
    del twin
    gc.collect()
    return {count: statistics.median(found) for count, found in seconds.items()}


def planned(
    minutes: float, step_seconds: float, evaluation_seconds: float, spent_seconds: float, settings: TrainingSettings
) -> Plan:
    """The plan for measured times; with `evaluate_every` set, evaluations are taken from the time as they fall."""
    left = minutes * 60 * (1 - _RESERVE) - spent_seconds
    if settings.evaluate_every:
        steps = max(1, int(left / (step_seconds + evaluation_seconds / settings.evaluate_every)))
        evaluations = -(-steps // settings.evaluate_every)
    else:
        evaluations = max(1, min(EVALUATIONS, int(_EVALUATING * minutes * 60 / max(evaluation_seconds, 1e-9))))
        steps = max(1, int((left - evaluations * evaluation_seconds) / step_seconds))
        evaluations = -(-steps // evaluate_every(steps, evaluations))
    return Plan(minutes, steps, evaluations, step_seconds, evaluation_seconds, spent_seconds)
