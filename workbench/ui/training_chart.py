"""`TrainingChart`: a training run drawn while it runs; a watcher of `workbench.compare.training`.

A chart's life: `begin` shows it, every point that it is called with is taken in, and it is drawn again when enough time has
passed that drawing takes a small share of it. When the last step has come it is drawn a last time. A notebook gets two
outputs: a picture that is replaced in place, which needs no widgets and is what a saved notebook keeps, and where widgets
live, one whose numbers can be read at any step; it hides the picture.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import anywidget
import traitlets

from workbench.compare.training.record import Baseline, Evaluation, Step
from workbench.compare.training.watching import Start
from workbench.render import notebook, scene, text
from workbench.ui import chart_state, files, static
from workbench.views.curves import Curve, live_chart

_SHARE = 0.05  # of the time, at most, goes into drawing


class TrainingChart(anywidget.AnyWidget):
    """`train(..., watchers=[TrainingChart()])`, and the same for `train_twins`, which says the side that a point is of.

    `seconds` is the least time between two drawings. Outside of notebooks nothing is displayed; `chart` is then what was
    recorded, and `str()` of it its numbers.
    """

    _esm = files.chart_script()
    _css = files.chart_style()

    state = traitlets.Dict().tag(sync=True)

    def __init__(self, title: str = "Training", seconds: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.title_text, self.seconds = title, seconds
        self.curves: list[Curve] = []
        self.baselines: tuple[Baseline, ...] = ()
        self._wanted: list[int] = []  # steps that each curve will have
        self._places: dict[str, int] = {}  # side → its curve
        self._drawn_at = 0.0
        self._cost = 0.0  # seconds that the last drawing took
        self._picture: Any = None

    @property
    def chart(self) -> scene.Chart:
        """The chart as far as the run has come."""
        return live_chart(self.curves, self.baselines, self.title_text)

    def begin(self, start: Start, side: str = "") -> None:
        """A run starts, or one of twins: its pattern, baselines, and what a resumed run has recorded already."""
        curve = Curve(start.pattern)
        for point in start.before:
            curve.add(point)
        self._places[side] = len(self.curves)
        self.curves.append(curve)
        self._wanted.append(start.steps)
        self.baselines = start.baselines
        if self._picture is None:
            self._show()
        self._draw()

    def __call__(self, point: Step | Evaluation, side: str = "") -> None:
        """Take in a point of the run that was begun last under this side, and draw when it is time."""
        self.curves[self._places[side]].add(point)
        ended = all(
            curve.steps and curve.steps[-1].step >= wanted
            for curve, wanted in zip(self.curves, self._wanted, strict=True)
        )
        waited = time.monotonic() - self._drawn_at
        if ended or waited >= max(self.seconds, self._cost / _SHARE):
            self._draw()

    # ------------------------------------------------------------------------------------------- display

    def _draw(self) -> None:
        start = time.monotonic()
        shown = self.chart
        self.state = chart_state.compute(shown)
        if self._picture is not None:
            self._picture.update(self._still(shown), raw=True)
        self._drawn_at = time.monotonic()
        self._cost = self._drawn_at - start

    def _still(self, shown: scene.Chart) -> dict[str, str]:
        document = scene.Document(self.title_text, (shown,))
        return static.framed({"text/plain": text.render(document), "text/html": notebook.render(document)})

    def _show(self) -> None:
        """Display the chart where there is a notebook to display it in."""
        from IPython.core.getipython import get_ipython

        if get_ipython() is not None:
            self._ipython_display_()

    def _ipython_display_(self, **options: Any) -> None:
        from IPython.display import DisplayHandle, display

        show: Callable[..., Any] = display
        handle: Callable[[], Any] = DisplayHandle
        self._picture = handle()
        self._picture.display(self._still(self.chart), raw=True)
        data, metadata = static.bundle_of(super()._repr_mimebundle_(**options))
        show({"text/plain": "", **static.only_widget(data)}, raw=True, metadata=metadata)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        data, metadata = static.bundle_of(super()._repr_mimebundle_(**options))
        return {**self._still(self.chart), **static.only_widget(data)}, metadata
