"""What `workbench train` says while a model is trained: how it starts, each evaluation, and a bar where a terminal shows it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO

from workbench.compare.training.record import Evaluation, Step

if TYPE_CHECKING:
    from workbench.compare.training.watching import Point, Start

# One bar needs one line; without this tqdm draws nothing where the terminal says that it has none (some containers).
_LINES = 24


class Said:
    """A watcher that writes lines to a stream, and a bar of the steps to standard error."""

    def __init__(self, stream: TextIO, *, quiet: bool, bar: bool) -> None:
        self.stream, self.quiet, self.wants_bar = stream, quiet, bar
        self.bar: Any = None
        self.steps = 0

    def begin(self, start: Start) -> None:
        """Say what is trained on what, what the baselines are, and how long it will take where that was planned."""
        self.steps = start.steps
        settings, data = start.settings, start.data
        self.line(
            f"training {start.pattern}: {start.parameters:,} parameters on {data.get('name', 'data')}, "
            f"{settings['micro_batches'] * settings['rows']} sequences a step, {settings['dtype']}, seed {settings['seed']}"
        )
        shown = ", ".join(f"{entry.name} {entry.loss:.4f}" for entry in start.baselines)
        if shown:
            self.line(f"baselines, test loss in nats: {shown}")
        if start.before:
            self.line(f"resumed after step {start.done:,} of {start.steps:,}")
        elif start.plan is not None:
            self.line(f"planned: {start.plan}")
        if self.wants_bar:
            from tqdm.auto import tqdm

            self.bar = tqdm(
                total=start.steps, initial=start.done, unit="step", file=sys.stderr, leave=False, nrows=_LINES
            )

    def __call__(self, point: Point) -> None:
        """Move the bar, or say what was evaluated."""
        if isinstance(point, Step):
            if self.bar is not None:
                self.bar.set_postfix_str(f"loss {point.loss:.3f}", refresh=False)
                self.bar.update(1)
            return
        self.line(evaluation_line(point, self.steps))

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def line(self, text: str) -> None:
        """Write a line above the bar."""
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.clear()
        print(text, file=self.stream, flush=True)
        if self.bar is not None:
            self.bar.refresh()


class TwinSaid:
    """The same for twins: the left side speaks, and the right one's evaluations stand beside it."""

    def __init__(self, stream: TextIO, *, quiet: bool, bar: bool) -> None:
        self.said = Said(stream, quiet=quiet, bar=bar)
        self.right = ""

    def begin(self, start: Start, side: str) -> None:
        """Say what both are, once."""
        if side == "left":
            self.said.begin(start)
        else:
            self.right = start.pattern

    def __call__(self, point: Point, side: str) -> None:
        """Pass on the left side's points; of the right one's only evaluations."""
        if side == "left":
            self.said(point)
        elif isinstance(point, Evaluation):
            self.said.line(f"{evaluation_line(point, self.said.steps)} ({self.right})")

    def close(self) -> None:
        """Take the bar away."""
        self.said.close()


def evaluation_line(point: Evaluation, steps: int) -> str:
    """One evaluation in a line."""
    return f"step {point.step:>{len(f'{steps:,}')},} of {steps:,}: test loss {point.loss:.4f}, accuracy {point.accuracy:.1%}"
