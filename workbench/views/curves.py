"""Training runs as charts: loss against steps with baselines and evaluations, tokens a second, memory; twins with their difference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from workbench.compare.training.record import Baseline, Evaluation, Step, TrainingRun
from workbench.render import chart, scene
from workbench.render.scene_chart import Level, Panel, Point, Series

_SMOOTH = 20  # steps that a rate is averaged over
_MEMORY = 2**20


def loss_chart(runs: Sequence[TrainingRun], title: str = "Training") -> scene.Chart:
    """Every run's training loss, its evaluations dashed, the baselines across; tokens a second and memory below."""
    curves = [Curve(run.pattern, run.steps, run.evaluations) for run in runs]
    return live_chart(curves, runs[0].baselines if runs else (), title)


class Curve:
    """A run as far as it has come: what the chart of a finished run and of a running one are both drawn from."""

    def __init__(self, label: str, steps: Sequence[Step] = (), evaluations: Sequence[Evaluation] = ()) -> None:
        self.label = label
        self.steps = list(steps)
        self.evaluations = list(evaluations)

    def add(self, point: Step | Evaluation) -> None:
        """Take in the next point of the run."""
        if isinstance(point, Step):
            self.steps.append(point)
        else:
            self.evaluations.append(point)


def live_chart(curves: Sequence[Curve], baselines: Iterable[Baseline] = (), title: str = "Training") -> scene.Chart:
    """The chart of runs as far as they have come. Of two runs, what the first's loss has over the second's is a panel."""
    losses = [*_losses(curves)]
    panels = [
        Panel(
            "loss (nats a token)", tuple(losses), tuple(Level(entry.name, entry.loss) for entry in baselines), weight=3
        )
    ]
    if len(curves) == 2:
        panels.append(Panel("difference of loss", (_difference(*curves),)))
    panels.append(
        Panel("tokens a second", tuple(Series(c.label, _rates(c.steps), colour=n) for n, c in enumerate(curves)))
    )
    memory = tuple(Series(c.label, _memory(c.steps), colour=n) for n, c in enumerate(curves))
    if any(series.points for series in memory):
        panels.append(Panel("memory (MiB)", memory))
    return scene.Chart(title, "; ".join(map(_said, curves)) or "no steps yet", "step", tuple(panels))


def svg(runs: Sequence[TrainingRun], title: str = "Training") -> str:
    """The chart of runs as one SVG document on light paper."""
    return chart.svg(loss_chart(runs, title), "light", ground=True)


# ------------------------------------------------------------------------------------------------------


def _losses(curves: Sequence[Curve]) -> Iterator[Series]:
    for number, curve in enumerate(curves):
        # The second of two equal curves is dashed, so that the first is seen under it.
        yield Series(
            curve.label, tuple((step.step, step.loss) for step in curve.steps), colour=number, dashed=number == 1
        )
        if curve.evaluations:
            points = tuple((entry.step, entry.loss) for entry in curve.evaluations)
            yield Series(f"{curve.label}, test", points, colour=number, dashed=number == 1, joined=False)


def _difference(first: Curve, second: Curve) -> Series:
    other = {step.step: step.loss for step in second.steps}
    points = tuple((step.step, step.loss - other[step.step]) for step in first.steps if step.step in other)
    return Series(f"{first.label} − {second.label}", points, colour=2)


def _rates(steps: Sequence[Step]) -> tuple[Point, ...]:
    """Tokens a second over the last steps; the first step, which warms up, is left out where there are more."""
    found = []
    for place in range(1, len(steps)):
        start = max(1, place - _SMOOTH + 1)
        seconds = math.fsum(step.seconds for step in steps[start : place + 1])
        if seconds > 0:
            found.append((steps[place].step, (steps[place].tokens - steps[start - 1].tokens) / seconds))
    return tuple(found)


def _memory(steps: Sequence[Step]) -> tuple[Point, ...]:
    return tuple((step.step, step.memory_bytes / _MEMORY) for step in steps if step.memory_bytes is not None)


def _said(curve: Curve) -> str:
    if not curve.steps:
        return f"{curve.label}: no steps yet"
    last = curve.steps[-1]
    text = f"{curve.label}: loss {last.loss:.4f} at step {last.step:,}"
    if curve.evaluations:
        text += f", test loss {curve.evaluations[-1].loss:.4f}"
    return text
