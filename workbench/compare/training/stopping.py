"""Ctrl-C and SIGTERM while a model is trained: the step in hand is finished, what there is is kept, and then the run ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from workbench.compare.training.record import TrainingRun


class TrainingStopped(KeyboardInterrupt):
    """A run that was asked to stop and did, between two steps. `run` is what it recorded; `directory` holds it, or None."""

    def __init__(self, by: str, run: TrainingRun, steps: int, directory: str | None) -> None:
        kept = (
            f"{directory} holds it: resume=True (--resume) goes on from there, to the same bits"
            if directory is not None
            else "it was in memory only: give a directory to be able to resume"
        )
        super().__init__(f"stopped by {by} after step {len(run.steps)} of {steps}; {kept}")
        self.by, self.run, self.directory = by, run, directory


@contextmanager
def stop_requests() -> Iterator[Callable[[], str | None]]:
    """Inside, SIGINT and SIGTERM only set what the function returns: the first one's name. A second raises `KeyboardInterrupt`.

    Python lets only the main thread look after signals; in any other, nothing changes and the function returns None.
    """
    requested: list[str] = []

    def ask(number: int, frame: FrameType | None) -> None:
        requested.append(signal.Signals(number).name)
        if len(requested) > 1:
            raise KeyboardInterrupt

    def asked() -> str | None:
        return requested[0] if requested else None

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
