"""A sweep as a scene: quality against cost with error bars, how it was learned, and every seed's number."""

from __future__ import annotations

from workbench.compare.sweep.result import Entrant, Quality, Sweep
from workbench.compare.training.record import TrainingRun
from workbench.render import notebook, scene, text
from workbench.render.scene_chart import Level, Panel, Series
from workbench.views.numbers import count

_WORDS = {"accuracy": "test accuracy", "loss": "test loss (nats a counted token)"}


def document(sweep: Sweep, quality: str = "accuracy") -> scene.Document:
    """The table, the picture of quality against cost, and the curves."""
    return scene.Document(
        "What each pattern learned",
        (results(sweep, quality), against_cost(sweep, quality), learning(sweep, quality)),
        kind="Sweep",
    )


def results(sweep: Sweep, quality: str = "accuracy") -> scene.Table:
    """A row a pattern: cost, mean over the seeds, the range, and every seed."""
    seeds = [str(run.settings["seed"]) for run in sweep.entrants[0].runs]
    columns = (
        scene.Column("pattern", code=True),
        scene.Column("parameters", "right"),
        scene.Column("training FLOPs a token", "right"),
        scene.Column(f"{quality}, mean", "right"),
        scene.Column("lowest – highest", "right"),
        *(scene.Column(f"seed {seed}", "right") for seed in seeds),
    )
    rows = []
    for entrant in sweep.entrants:
        found = entrant.quality(quality)
        rows.append(
            (
                entrant.pattern,
                count(entrant.parameters),
                count(round(entrant.flops_per_token)),
                _number(found.mean),
                f"{_number(found.low)} – {_number(found.high)}",
                *map(_number, found.values),
            )
        )
    baselines = "; ".join(
        f"{baseline.name} {_number(value)}"
        for baseline in sweep.baselines
        for value in (_of(baseline, quality),)
        if value is not None
    )
    held = {"parameters": "Equal parameters", "flops": "Equal FLOPs a token", "sizes": "The same sizes"}[sweep.equal]
    caption = f"{held}; {_WORDS[quality]} after {sweep.entrants[0].runs[0].steps[-1].step:,} steps."
    return scene.Table(columns, tuple(rows), f"{caption} Without a model: {baselines}." if baselines else caption)


def against_cost(sweep: Sweep, quality: str = "accuracy") -> scene.Chart:
    """A mark a pattern at its cost, with the range over the seeds. Where parameters are equal, FLOPs tell patterns apart."""
    by_flops = sweep.equal == "parameters"
    series = tuple(
        Series(
            entrant.pattern,
            ((entrant.flops_per_token if by_flops else float(entrant.parameters), found.mean),),
            ((found.low, found.high),),
            colour=number,
            joined=False,
        )
        for number, (entrant, found) in enumerate(_found(sweep, quality))
    )
    return scene.Chart(
        f"{_WORDS[quality].capitalize()} against cost",
        _said(sweep, quality),
        "training FLOPs a token" if by_flops else "parameters",
        (Panel(f"{_WORDS[quality]}: mean, lowest and highest seed", series, _levels(sweep, quality)),),
    )


def learning(sweep: Sweep, quality: str = "accuracy") -> scene.Chart:
    """The mean over the seeds at every evaluation, with the range as a band."""
    series = tuple(_learned(entrant, quality, number) for number, entrant in enumerate(sweep.entrants))
    return scene.Chart(
        f"{_WORDS[quality].capitalize()} while training",
        _said(sweep, quality),
        "step",
        (Panel(f"{_WORDS[quality]}: mean of the seeds, band from lowest to highest", series, _levels(sweep, quality)),),
    )


def mimebundle(sweep: Sweep) -> dict[str, str]:
    """What a notebook shows."""
    shown = document(sweep)
    return {"text/plain": text.render(shown), "text/html": notebook.render(shown)}


# ------------------------------------------------------------------------------------------------------


def _found(sweep: Sweep, quality: str) -> list[tuple[Entrant, Quality]]:
    return [(entrant, entrant.quality(quality)) for entrant in sweep.entrants]


def _learned(entrant: Entrant, quality: str, colour: int) -> Series:
    at: dict[int, list[float]] = {}
    for run in entrant.runs:
        for step, value in _curve(run, quality):
            at.setdefault(step, []).append(value)
    # A step that not every seed was evaluated at would bend the mean.
    reached = [
        (step, Quality(tuple(values))) for step, values in sorted(at.items()) if len(values) == len(entrant.runs)
    ]
    return Series(
        entrant.pattern,
        tuple((step, at_step.mean) for step, at_step in reached),
        tuple((at_step.low, at_step.high) for _, at_step in reached),
        colour=colour,
    )


def _curve(run: TrainingRun, quality: str) -> list[tuple[int, float]]:
    return [(entry.step, entry.accuracy if quality == "accuracy" else entry.loss) for entry in run.evaluations]


def _levels(sweep: Sweep, quality: str) -> tuple[Level, ...]:
    found = ((baseline.name, _of(baseline, quality)) for baseline in sweep.baselines)
    return tuple(Level(name, value) for name, value in found if value is not None)


def _of(baseline: object, quality: str) -> float | None:
    value: float | None = getattr(baseline, quality)
    return value


def _said(sweep: Sweep, quality: str) -> str:
    return "; ".join(
        f"{entrant.pattern} {_number(found.mean)} ({_number(found.low)} to {_number(found.high)})"
        for entrant, found in _found(sweep, quality)
    )


def _number(value: float) -> str:
    return f"{value:.3f}"
