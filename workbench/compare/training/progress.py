"""Two watchers for anybody: a bar of the steps (`tqdm.auto`: a widget in a notebook, a line in a terminal), and a file of the points."""

from __future__ import annotations

import json
from typing import Any, TextIO

from workbench.compare.training.record import Evaluation, point_to_json
from workbench.compare.training.watching import Point, Start

_LEFT = "left"


class ProgressBar:
    """`train(..., watchers=[ProgressBar()])`: steps done, time left, the last training and test loss. Of twins, the left's.

    `options` go to tqdm. The bar is closed by the last step, or by `close`.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.bar: Any = None
        self.steps = 0
        self.tested = ""

    def begin(self, start: Start, side: str = _LEFT) -> None:
        """Show the bar; a resumed run's begins where it was."""
        if side != _LEFT:
            return
        from tqdm.auto import tqdm

        self.steps, self.tested = start.steps, ""
        self.bar = tqdm(total=start.steps, initial=start.done, unit="step", **self.options)

    def __call__(self, point: Point, side: str = _LEFT) -> None:
        """Take in a point."""
        if self.bar is None or side != _LEFT:
            return
        if isinstance(point, Evaluation):
            self.tested = f", test {point.loss:.3f}"
            return
        self.bar.set_postfix_str(f"loss {point.loss:.3f}{self.tested}", refresh=False)
        self.bar.update(1)
        if point.step == self.steps:
            self.close()

    def close(self) -> None:
        """Take no more points; a bar that was asked not to be left (`leave=False`) goes."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class JsonLines:
    """Writes each point to a text stream as a line of JSON (`record.point_to_json`), of twins with its `side`."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __call__(self, point: Point, side: str | None = None) -> None:
        """Write a point; it has left this process when this returns."""
        told = {} if side is None else {"side": side}
        self.stream.write(json.dumps({**told, **point_to_json(point)}, allow_nan=False) + "\n")
        self.stream.flush()
