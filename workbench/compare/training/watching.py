"""Who looks on while a model is trained, and what they are shown. Pure.

A watcher is called with every point as it is measured, and, where it has a method `begin`, once before them with a
`Start`. Points of a run that is resumed are in `Start.before` and are not shown again. A watcher that raises ends the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.compare.training.record import Baseline, Evaluation, Step

type Point = Step | Evaluation
type Watcher = Callable[[Point], object]


@dataclass(frozen=True)
class Start:
    """What is known before the first step. `settings` and `data` as in `TrainingRun`; `before` is what a resumed run has
    recorded already, in order; `directory` holds the run, None where it is in memory only; `plan` says in words how a time
    budget became steps, None without one."""

    pattern: str
    parameters: int
    steps: int
    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    baselines: tuple[Baseline, ...]
    before: tuple[Point, ...] = ()
    directory: str | None = None
    plan: str | None = None

    @property
    def done(self) -> int:
        """Steps that a resumed run has taken already."""
        return max((point.step for point in self.before if isinstance(point, Step)), default=0)


def begin(watchers: Iterable[Any], start: Start, *side: str) -> None:
    """Call `begin` of every watcher that has one; with twins, also with the side that begins."""
    for watcher in watchers:
        if callable(getattr(watcher, "begin", None)):
            watcher.begin(start, *side)
