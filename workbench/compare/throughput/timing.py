"""Two contestants timed against each other: strictly in turn, each first in every other pair, in one process.

Knows nothing of models: a contestant is any function that takes `mark` and calls it at the end of every phase but the
last. `once(function)` makes one of a function without phases.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from workbench.compare.throughput.garbage import no_collection

Mark = Callable[[], None]
Contestant = Callable[[Mark], object]

WARM_UP = 3  # pairs that are run and not kept: the optimizer makes its state in the first
FEWEST = 12  # pairs, however little time was given


class Clock(Protocol):
    """Where times come from: the host's clock, a device's events, or a test's own list."""

    def mark(self) -> Any:
        """This moment."""

    def seconds(self, marks: Sequence[Any]) -> list[float]:
        """The time from each moment to the next; waits until the last one has come."""


@dataclass(frozen=True)
class HostClock:
    """A clock of the host: right where every operation has finished when its call returns.

    With `time.process_time` as `now` it is the CPU time of this process: what another process takes is not in it.
    """

    now: Callable[[], float] = time.perf_counter

    def mark(self) -> float:
        """Seconds, from an arbitrary start."""
        return self.now()

    def seconds(self, marks: Sequence[float]) -> list[float]:
        """The differences."""
        return [after - before for before, after in itertools.pairwise(marks)]


@dataclass(frozen=True)
class Pairs:
    """Seconds by phase, one entry a pair in the order they ran; `step` is the whole trial from its start to its end."""

    left: Mapping[str, tuple[float, ...]]
    right: Mapping[str, tuple[float, ...]]

    @property
    def count(self) -> int:
        """How many pairs were kept."""
        return len(self.left["step"])


def alternate(
    left: Contestant,
    right: Contestant,
    *,
    phases: Sequence[str] = (),
    trials: int | None = None,
    seconds: float | None = None,
    warm_up: int = WARM_UP,
    before: Callable[[int], object] = lambda side: None,
    progress: Callable[[float], None] | None = None,
    clock: Clock | None = None,
    now: Callable[[], float] = time.perf_counter,
) -> Pairs:
    """Run pairs of trials: left right, right left, left right, ... until `trials` pairs or `seconds` are over.

    `phases` names what lies between the marks. `before` is called ahead of each trial, outside of its time, with 0 when it
    is the left's and 1 when it is the right's. `progress` gets the share done.
    At least `FEWEST` pairs run when only `seconds` is given. Python's garbage collector does not run inside a trial.

    Raises `ValueError` without a limit, and when a contestant marks another number of phases than it has.
    """
    if trials is None and seconds is None:
        raise ValueError("alternate() never ends without trials or seconds")
    if trials is not None and trials < 1:
        raise ValueError(f"trials must be at least 1, not {trials}")
    clock = clock or HostClock()
    measured: tuple[list[list[float]], list[list[float]]] = ([], [])
    with no_collection() as collect:
        start = now()
        done = -warm_up
        while not _over(done, trials, now() - start, seconds):
            for side in (0, 1) if done % 2 == 0 else (1, 0):
                collect()
                before(side)
                times = _trial((left, right)[side], clock, max(len(phases), 1))
                if done >= 0:
                    measured[side].append(times)
            done += 1
            if done == 0:
                start = now()
            if progress is not None:
                progress(max(_share(done, trials, now() - start, seconds), 0.0))
    return Pairs(*(_by_phase(times, phases) for times in measured))


def once(function: Callable[[], object]) -> Contestant:
    """A contestant of one phase."""

    def run(mark: Mark) -> object:
        return function()

    return run


# ------------------------------------------------------------------------------------------------------


def _trial(contestant: Contestant, clock: Clock, phases: int) -> list[float]:
    marks = [clock.mark()]
    contestant(lambda: marks.append(clock.mark()))
    marks.append(clock.mark())
    if len(marks) != phases + 1:
        raise ValueError(f"a contestant of {phases} phase(s) marked the end of {len(marks) - 1}")
    return clock.seconds(marks)


def _by_phase(trials: list[list[float]], phases: Sequence[str]) -> dict[str, tuple[float, ...]]:
    columns = {name: tuple(times[place] for times in trials) for place, name in enumerate(phases)}
    return columns | {"step": tuple(sum(times) for times in trials)}


def _over(done: int, trials: int | None, spent: float, seconds: float | None) -> bool:
    if done < 0:
        return False
    if trials is not None and done >= trials:
        return True
    return seconds is not None and spent >= seconds and done >= (FEWEST if trials is None else 1)


def _share(done: int, trials: int | None, spent: float, seconds: float | None) -> float:
    shares = [done / trials if trials is not None else 0.0, spent / seconds if seconds else 0.0]
    return min(max(shares), 1.0)
