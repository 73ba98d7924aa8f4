"""`train_twins`: two fusions of one pattern in lockstep on the same batches, and whether any number of theirs ever differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from workbench.arch.sizes import ModelSizes
from workbench.compare.data.batch import Data
from workbench.compare.training.budget import Plan, check_minutes, measured_plan
from workbench.compare.training.defaults import TRAINING_SIZES
from workbench.compare.training.environment import environment
from workbench.compare.training.identity import describe
from workbench.compare.training.learner import Learner, sizes_for
from workbench.compare.training.loop import checked_pattern, evaluation_is_due, training_run
from workbench.compare.training.settings import TrainingSettings
from workbench.compare.training.stopping import stop_requests
from workbench.compare.training.twin_runs import Twins, compared, twin_patterns
from workbench.compare.training.watching import Point, Start, begin
from workbench.fusion import runtime
from workbench.fusion.stack_spec import choose_backend
from workbench.pattern.model import Pattern

SIDES = ("left", "right")

type TwinWatcher = Callable[[Point, str], object]


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
    result then says so in `stopped_by`. Raises `WorkbenchError` when the two are not the same without brackets, or with them.
    """
    patterns = twin_patterns(checked_pattern(pattern), None if against is None else checked_pattern(against))
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


# ------------------------------------------------------------------------------------------------------


def _tell(point: Point, side: int, points: list[list[Point]], watchers: Sequence[TwinWatcher]) -> None:
    points[side].append(point)
    for watcher in watchers:
        watcher(point, SIDES[side])
