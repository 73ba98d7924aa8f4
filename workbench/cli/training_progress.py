"""What `workbench train` says while a model is trained: how it starts, each evaluation, and a bar where a terminal shows it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from workbench.cli.progress import LINES
from workbench.compare.training.progress import ProgressBar
from workbench.compare.training.record import Evaluation

if TYPE_CHECKING:
    from workbench.compare.training.watching import Point, Start


class Said:
    """A watcher that writes lines to a stream, and shows a bar of the steps on standard error. Of twins, both are said."""

    def __init__(self, stream: TextIO, *, quiet: bool) -> None:
        self.stream, self.quiet = stream, quiet
        shown = not quiet and sys.stderr.isatty()
        self.progress = ProgressBar(file=sys.stderr, leave=False, nrows=LINES) if shown else None
        self.steps = 0
        self.patterns: dict[str, str] = {}

    def begin(self, start: Start, side: str = "left") -> None:
        """Say what is trained on what, what the baselines are, and how long it will take where that was planned."""
        self.patterns[side] = start.pattern
        self.line(f"training {start.pattern}: {start.parameters:,} parameters{_on(start)}")
        if side == "right":
            return
        self.steps = start.steps
        if start.baselines:
            shown = ", ".join(f"{entry.name} {entry.loss:.4f}" for entry in start.baselines)
            self.line(f"baselines, test loss in nats: {shown}")
        if start.before:
            self.line(f"resumed after step {start.done:,} of {start.steps:,}")
        elif start.plan is not None:
            self.line(f"planned: {start.plan}")
        if self.progress is not None:
            self.progress.begin(start)

    def __call__(self, point: Point, side: str = "left") -> None:
        """Say what was evaluated, of twins which, and move the bar."""
        if isinstance(point, Evaluation):
            which = f" ({self.patterns[side]})" if len(self.patterns) > 1 else ""
            self.line(f"{evaluation_line(point, self.steps)}{which}")
        if self.progress is not None:
            self.progress(point, side)

    def close(self) -> None:
        """Take the bar away."""
        if self.progress is not None:
            self.progress.close()

    def line(self, text: str) -> None:
        """Write a line above the bar."""
        if self.quiet:
            return
        bar = None if self.progress is None else self.progress.bar
        if bar is not None:
            bar.clear()
        print(text, file=self.stream, flush=True)
        if bar is not None:
            bar.refresh()


def evaluation_line(point: Evaluation, steps: int) -> str:
    """One evaluation in a line."""
    return f"step {point.step:>{len(f'{steps:,}')},} of {steps:,}: test loss {point.loss:.4f}, accuracy {point.accuracy:.1%}"


def _on(start: Start) -> str:
    settings = start.settings
    rows = settings["micro_batches"] * settings["rows"]
    return (
        f" on {start.data.get('name', 'data')}, {rows} sequences a step, {settings['dtype']}, seed {settings['seed']}"
    )
