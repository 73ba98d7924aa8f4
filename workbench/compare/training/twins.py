"""`train_twins`: two fusions of one pattern in lockstep on the same batches, and whether any number of theirs ever differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workbench.arch.sizes import ModelSizes
from workbench.compare.data.batch import Data
from workbench.compare.training.budget import Plan, check_minutes, measured_plan
from workbench.compare.training.defaults import TRAINING_SIZES
from workbench.compare.training.environment import environment
from workbench.compare.training.identity import describe
from workbench.compare.training.learner import Learner, sizes_for
from workbench.compare.training.loop import checked_pattern, evaluation_is_due, training_run
from workbench.compare.training.record import TrainingRun
from workbench.compare.training.settings import TrainingSettings
from workbench.compare.training.stopping import stop_requests
from workbench.compare.training.watching import Point, Start, begin
from workbench.errors import WorkbenchError
from workbench.fusion import runtime
from workbench.fusion.stack_spec import choose_backend
from workbench.pattern.model import Pattern

SCHEMA = "workbench.training-twins/1"
SIDES = ("left", "right")

type TwinWatcher = Callable[[Point, str], object]


@dataclass(frozen=True)
class Twins:
    """Both runs, step for step on the same batches. Differences are largest absolute ones over all steps and evaluations;
    `first_difference` is the step where a loss or a gradient norm first had other bits, None where none had."""

    left: TrainingRun
    right: TrainingRun
    identical: bool
    largest_loss_difference: float
    largest_grad_norm_difference: float
    first_difference: int | None
    stopped_by: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON data; each run as `TrainingRun.to_json` gives it."""
        return {
            "schema": SCHEMA,
            "identical": self.identical,
            "largest_loss_difference": self.largest_loss_difference,
            "largest_grad_norm_difference": self.largest_grad_norm_difference,
            "first_difference": self.first_difference,
            "stopped_by": self.stopped_by,
            "left": self.left.to_json(),
            "right": self.right.to_json(),
        }


def train_twins(
    pattern: Pattern | str,
    against: Pattern | str | None = None,
    *,
    data: Data,
    settings: TrainingSettings,
    sizes: ModelSizes | None = None,
    watchers: Sequence[TwinWatcher] = (),
    minutes: float | None = None,
) -> Twins:
    """Train the models of `pattern` ("left") and `against` ("right"; default: nothing fused) from one seed, in lockstep.

    Arguments as for `train`; `minutes` are for both. A watcher is called with each point and its side, and its `begin`,
    where it has one, with a `Start` and the side. In memory only. Ctrl-C and SIGTERM end both after the same step; the
    result then says so in `stopped_by`. Raises `WorkbenchError` when the two are not the same without brackets.
    """
    patterns = _twin_patterns(pattern, against)
    sizes = sizes_for(sizes or TRAINING_SIZES, data)
    if minutes is not None:
        check_minutes(minutes)
    runtime.require_single_process()
    settings = replace(settings, backend=choose_backend(settings.backend))
    plan: Plan | None = None
    if minutes is not None:
        plan = measured_plan(patterns[0], sizes, data, settings, minutes, models=2)
        settings = plan.settings(settings)
    facts, baselines = environment(settings.backend), data.baselines()
    learners = [Learner.build(each, sizes, data, settings) for each in patterns]
    described = [
        describe(each, sizes, settings, data.facts(), facts, plan.to_json() if plan else None) for each in patterns
    ]
    points: list[list[Point]] = [[], []]
    for learner, says, name in zip(learners, described, SIDES, strict=True):
        start = Start(
            pattern=str(learner.pattern),
            parameters=learner.parameters,
            steps=settings.steps,
            settings=says["settings"],
            data=says["data"],
            baselines=baselines,
            plan=None if plan is None else str(plan),
        )
        begin(watchers, start, name)
    with stop_requests() as stopped:
        while learners[0].done < settings.steps and not stopped():
            # Whoever goes second finds the caches warm: they take turns.
            turns = (0, 1) if learners[0].done % 2 else (1, 0)
            new = {side: learners[side].step() for side in turns}
            for side in (0, 1):
                _tell(new[side], side, points, watchers)
            if evaluation_is_due(learners[0].done, settings):
                for side in (0, 1):
                    evaluation = learners[side].evaluate()
                    assert evaluation is not None
                    _tell(evaluation, side, points, watchers)
        by = stopped() if learners[0].done < settings.steps else None
    left, right = (
        training_run(learner, says, baselines, measured)
        for learner, says, measured in zip(learners, described, points, strict=True)
    )
    return compared(left, right, stopped_by=by)


def compared(left: TrainingRun, right: TrainingRun, stopped_by: str | None = None) -> Twins:
    """Two runs of the same settings on the same data, compared point by point."""
    losses = [(one.step, one.loss, other.loss) for one, other in zip(left.steps, right.steps, strict=True)]
    losses += [(one.step, one.loss, other.loss) for one, other in zip(left.evaluations, right.evaluations, strict=True)]
    norms = [(one.step, one.grad_norm, other.grad_norm) for one, other in zip(left.steps, right.steps, strict=True)]
    different = [step for step, one, other in losses + norms if not _same(one, other)]
    return Twins(
        left,
        right,
        identical=not different,
        largest_loss_difference=max((_distance(one, other) for _, one, other in losses), default=0.0),
        largest_grad_norm_difference=max((_distance(one, other) for _, one, other in norms), default=0.0),
        first_difference=min(different, default=None),
        stopped_by=stopped_by,
    )


# ------------------------------------------------------------------------------------------------------


def _same(one: float, other: float) -> bool:
    return one.hex() == other.hex()


def _distance(one: float, other: float) -> float:
    return 0.0 if _same(one, other) else abs(one - other)


def _twin_patterns(pattern: Pattern | str, against: Pattern | str | None) -> tuple[Pattern, Pattern]:
    left = checked_pattern(pattern)
    right = left.unfused() if against is None else checked_pattern(against)
    if left.unfused() != right.unfused():
        raise WorkbenchError(
            f"{left} and {right} are no twins: without brackets they are {left.unfused()} and {right.unfused()}"
        )
    return left, right


def _tell(point: Point, side: int, points: list[list[Point]], watchers: Sequence[TwinWatcher]) -> None:
    points[side].append(point)
    for watcher in watchers:
        watcher(point, SIDES[side])
