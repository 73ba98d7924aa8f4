"""`train`: one model through all its steps, in memory or in a directory that a later call resumes to the same bits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from workbench.arch.sizes import ModelSizes
from workbench.compare.data.batch import Data
from workbench.compare.training.budget import Plan, check_minutes, measured_plan
from workbench.compare.training.defaults import TRAINING_SIZES
from workbench.compare.training.directory import RunDirectory, open_directory
from workbench.compare.training.environment import environment
from workbench.compare.training.identity import describe
from workbench.compare.training.learner import Learner, sizes_for
from workbench.compare.training.record import Baseline, Evaluation, Step, TrainingRun
from workbench.compare.training.resuming import as_planned, recover
from workbench.compare.training.settings import TrainingSettings
from workbench.compare.training.stopping import TrainingStopped, stop_requests
from workbench.compare.training.watching import Point, Start, Watcher, begin
from workbench.errors import WorkbenchError
from workbench.fusion import runtime
from workbench.fusion.stack_spec import choose_backend
from workbench.pattern.model import Pattern

SAVE_SECONDS = 30.0  # between checkpoints, where `save_every` does not say when; more where saving takes long
_SAVING = 0.05  # of the time, at most


def train(
    pattern: Pattern | str,
    data: Data,
    settings: TrainingSettings,
    *,
    sizes: ModelSizes | None = None,
    directory: str | Path | None = None,
    resume: bool = False,
    watchers: Sequence[Watcher] = (),
    minutes: float | None = None,
) -> TrainingRun:
    """Train the model of `pattern` on `data`, and return what was recorded.

    `sizes` (default `TRAINING_SIZES`) get the data's vocabulary and sequence length. `minutes` replaces the settings'
    steps with as many as fit, measured first (`budget`), and evaluates about eight times where they do not say when.

    With a `directory` the run is kept there and `resume=True` goes on with it: the points are then the same bits, times
    and memory aside, as those of a run that was never interrupted, wherever it was and whenever it was saved, with the same
    versions and thread count (else a warning says what has changed; on a GPU, as far as its kernels repeat their own bits).
    The pattern may have other brackets.

    SIGINT (Ctrl-C) and SIGTERM end the run after the step in hand: it is saved, and `TrainingStopped`, a
    `KeyboardInterrupt`, holds what was recorded. Raises `WorkbenchError` for a directory that holds another run, that
    another process holds, or that there is nothing to resume from.
    """
    pattern = checked_pattern(pattern)
    sizes = sizes_for(sizes or TRAINING_SIZES, data)
    if minutes is not None:
        check_minutes(minutes)
    if resume and directory is None:
        raise WorkbenchError("resume needs the directory that holds the run")
    runtime.require_single_process()
    settings = replace(settings, backend=choose_backend(settings.backend))
    with ExitStack() as stack:
        stopped = stack.enter_context(stop_requests())
        folder = None if directory is None else stack.enter_context(open_directory(directory, resume=resume))
        stored = folder.stored() if folder is not None and resume else None
        plan: Plan | None = None
        if minutes is not None and stored is not None:
            settings = as_planned(settings, stored)
        elif minutes is not None:
            plan = measured_plan(pattern, sizes, data, settings, minutes)
            settings = plan.settings(settings)
        facts = environment(settings.backend)
        described = describe(
            pattern, sizes, settings, data.facts(), facts, plan.to_json() if plan else (stored or {}).get("plan")
        )
        learner, before = Learner.build(pattern, sizes, data, settings), []
        if folder is not None and stored is not None:
            before = recover(folder, stored, described, learner)
        elif folder is not None:
            folder.begin(described)
        said = None if plan is None else str(plan)
        made = _Run(learner, described, data.baselines(), folder, watchers, stopped, list(before), said)
        made.run()
        return made.record()


def checked_pattern(pattern: Pattern | str) -> Pattern:
    """The pattern, when there is something in it to train."""
    pattern = Pattern(pattern)
    if not pattern.sublayers:
        raise WorkbenchError("an empty pattern has no layers: there is nothing to train")
    return pattern


def evaluation_is_due(step: int, settings: TrainingSettings) -> bool:
    """Every `evaluate_every` steps, and after the last."""
    return step == settings.steps or (settings.evaluate_every > 0 and step > 0 and step % settings.evaluate_every == 0)


def training_run(
    learner: Learner, described: Mapping[str, Any], baselines: tuple[Baseline, ...], points: Sequence[Point]
) -> TrainingRun:
    """A learner's points with everything they were obtained with; `described` as `identity.describe` gives it."""
    return TrainingRun(
        pattern=str(learner.pattern),
        parameters=learner.parameters,
        settings=described["settings"],
        data=described["data"],
        steps=tuple(point for point in points if isinstance(point, Step)),
        evaluations=tuple(point for point in points if isinstance(point, Evaluation)),
        baselines=baselines,
        environment={**described["environment"], "sizes": described["sizes"], "plan": described["plan"]},
    )


# ------------------------------------------------------------------------------------------------------


@dataclass
class _Run:
    """A learner on its way. `points` are all that is recorded; `saved` is the step of the last checkpoint."""

    learner: Learner
    described: Mapping[str, Any]
    baselines: tuple[Baseline, ...]
    folder: RunDirectory | None
    watchers: Sequence[Watcher]
    stopped: Callable[[], str | None]
    points: list[Point]
    plan: str | None
    saved: int = field(init=False)

    def __post_init__(self) -> None:
        self.saved = self.learner.done
        self.next_save = time.monotonic() + SAVE_SECONDS

    def run(self) -> None:
        """All the steps that are left, unless it is stopped."""
        learner, settings = self.learner, self.learner.settings
        start = Start(
            pattern=str(learner.pattern),
            parameters=learner.parameters,
            steps=settings.steps,
            settings=self.described["settings"],
            data=self.described["data"],
            baselines=self.baselines,
            before=tuple(self.points),
            directory=None if self.folder is None else str(self.folder.path),
            plan=self.plan,
        )
        begin(self.watchers, start)
        # A run that was stopped while it was evaluated is resumed at the evaluation.
        self._evaluate_if_due()
        while learner.done < settings.steps and not self.stopped():
            self._tell(learner.step())
            self._evaluate_if_due()
            if self._save_is_due():
                self._save()
        if learner.done > self.saved:
            self._save()
        if self._evaluation_is_missing() or learner.done < settings.steps:
            by = self.stopped()
            assert by is not None, "only a request ends a run early"
            raise TrainingStopped(by, self.record(), settings.steps, start.directory)

    def record(self) -> TrainingRun:
        """What was recorded so far."""
        return training_run(self.learner, self.described, self.baselines, self.points)

    def _evaluation_is_missing(self) -> bool:
        done = self.learner.done
        return evaluation_is_due(done, self.learner.settings) and not (
            self.points and isinstance(self.points[-1], Evaluation) and self.points[-1].step == done
        )

    def _evaluate_if_due(self) -> None:
        if not self._evaluation_is_missing():
            return
        evaluation = self.learner.evaluate(lambda: self.stopped() is not None)
        if evaluation is not None:
            self._tell(evaluation)

    def _tell(self, point: Point) -> None:
        self.points.append(point)
        if self.folder is not None:
            self.folder.append(point)
        for watcher in self.watchers:
            watcher(point)

    def _save_is_due(self) -> bool:
        if self.folder is None:
            return False
        every = self.learner.settings.save_every
        return self.learner.done % every == 0 if every else time.monotonic() >= self.next_save

    def _save(self) -> None:
        if self.folder is None:
            return
        start = time.monotonic()
        self.learner.save(self.folder.checkpoint(self.learner.done))
        self.folder.prune()
        self.saved = self.learner.done
        self.next_save = time.monotonic() + max(SAVE_SECONDS, (time.monotonic() - start) / _SAVING)
