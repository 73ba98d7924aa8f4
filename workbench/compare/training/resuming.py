"""What a resumed run takes from its directory: the planned number of steps, the latest usable checkpoint, the log up to it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workbench.compare.training.directory import RunDirectory
from workbench.compare.training.identity import changed_environment, check_same
from workbench.compare.training.learner import Learner
from workbench.compare.training.record import Step
from workbench.compare.training.settings import TrainingSettings
from workbench.compare.training.watching import Point
from workbench.errors import WorkbenchError


def as_planned(settings: TrainingSettings, stored: Mapping[str, Any]) -> TrainingSettings:
    """The settings with the number of steps that was planned when the run began."""
    if stored.get("plan") is None:
        raise WorkbenchError("the run was begun with a number of steps, not with minutes: resume it with that number")
    every = settings.evaluate_every or stored["settings"]["evaluate_every"]
    return replace(settings, steps=stored["settings"]["steps"], evaluate_every=every)


def recover(
    folder: RunDirectory, stored: Mapping[str, Any], described: Mapping[str, Any], learner: Learner
) -> list[Point]:
    """Load the latest checkpoint that can be read and whose steps are all logged; cut the log to it. Returns the points left.

    A run that was killed before its first checkpoint starts again at step 1. Raises `WorkbenchError` for another run
    (`check_same`) and where there are checkpoints and none can be used; then nothing in the directory has changed.
    """
    check_same(stored, described, str(folder.path))
    if changed := changed_environment(stored, described):
        warnings.warn(
            f"{folder.path} was begun with something else, so the last bits may differ from an uninterrupted run: "
            + "; ".join(changed),
            stacklevel=3,
        )
    points = folder.points()
    unusable = _load_latest(folder, points, learner)
    folder.tidy()
    if unusable:
        reasons = "; ".join(f"{folder.set_aside(step)} ({reason})" for step, reason in unusable.items())
        warnings.warn(f"resumed from step {learner.done}; not used, and renamed: {reasons}", stacklevel=3)
    points = [point for point in points if point.step <= learner.done]
    folder.go_on(points)
    return points


def _load_latest(folder: RunDirectory, points: list[Point], learner: Learner) -> dict[int, str]:
    """Load the latest usable checkpoint. Returns the step of each later one, and why it is not usable."""
    logged = max((point.step for point in points if isinstance(point, Step)), default=0)
    unusable: dict[int, str] = {}
    for step in folder.checkpoints():
        if step > logged:
            unusable[step] = f"the log ends at step {logged}"
            continue
        try:
            learner.load(folder.checkpoint(step))
        except WorkbenchError as error:
            unusable[step] = str(error)
            continue
        if learner.done != step:
            raise WorkbenchError(f"{folder.checkpoint(step)} says that it was written after step {learner.done}")
        return unusable
    if unusable:
        reasons = "\n".join(f"  {folder.checkpoint(step)}: {reason}" for step, reason in unusable.items())
        raise WorkbenchError(f"no checkpoint of {folder.path} can be used:\n{reasons}")
    return {}
