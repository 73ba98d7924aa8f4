"""`train`: one model through all its steps, in memory or in a directory that a later call resumes to the same bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from workbench.arch.sizes import ModelSizes
from workbench.compare.data.batch import Data
from workbench.compare.training.defaults import TRAINING_SIZES
from workbench.compare.training.environment import environment
from workbench.compare.training.learner import Learner, sizes_for
from workbench.compare.training.record import Evaluation, Step, TrainingRun
from workbench.compare.training.settings import TrainingSettings
from workbench.compare.training.watching import Point, Start, Watcher, begin
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern


def train(
    pattern: Pattern | str,
    data: Data,
    settings: TrainingSettings,
    *,
    sizes: ModelSizes | None = None,
    watchers: Sequence[Watcher] = (),
) -> TrainingRun:
    """Train the model of `pattern` on `data`."""
    pattern = checked_pattern(pattern)
    sizes = sizes_for(sizes or TRAINING_SIZES, data)
    learner = Learner.build(pattern, sizes, data, settings)
    points: list[Point] = []
    baselines = data.baselines()
    start = Start(str(pattern), learner.parameters, settings.steps, asdict(settings), dict(data.facts()), baselines)
    begin(watchers, start)
    while learner.done < settings.steps:
        _tell(learner.step(), points, watchers)
        if evaluation_is_due(learner.done, settings):
            evaluation = learner.evaluate()
            assert evaluation is not None
            _tell(evaluation, points, watchers)
    return TrainingRun(
        pattern=str(pattern),
        parameters=learner.parameters,
        settings=start.settings,
        data=start.data,
        steps=tuple(point for point in points if isinstance(point, Step)),
        evaluations=tuple(point for point in points if isinstance(point, Evaluation)),
        baselines=baselines,
        environment={**environment(settings.backend), "sizes": sizes.to_json()},
    )


def checked_pattern(pattern: Pattern | str) -> Pattern:
    """The pattern, when there is something in it to train."""
    pattern = Pattern(pattern)
    if not pattern.sublayers:
        raise WorkbenchError("an empty pattern has no layers: there is nothing to train")
    return pattern


def evaluation_is_due(step: int, settings: TrainingSettings) -> bool:
    """Every `evaluate_every` steps, and after the last."""
    return step == settings.steps or (settings.evaluate_every > 0 and step % settings.evaluate_every == 0)


def _tell(point: Point, points: list[Point], watchers: Sequence[Watcher]) -> None:
    points.append(point)
    for watcher in watchers:
        watcher(point)
