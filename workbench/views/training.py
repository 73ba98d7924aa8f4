"""A finished training run as a scene: what the model reached against what predictors without a model reach, and its curve."""

from __future__ import annotations

import math

from workbench.compare.training.record import Baseline, TrainingRun
from workbench.render import notebook, scene, text
from workbench.views.curves import loss_chart
from workbench.views.numbers import count, duration

_SKIPPED = 1  # steps whose time is left out of the speed: the first allocates and compiles


def mimebundle(run: TrainingRun) -> dict[str, str]:
    """What a notebook shows for a run."""
    parts = (facts(run), scene.Paragraph(f"{run.pattern}: {verdict(run)}."), result_table(run), loss_chart([run]))
    shown = scene.Document(f"Training of {run.pattern}", parts)
    return {"text/plain": text.render(shown).rstrip("\n"), "text/html": notebook.render(shown)}


def result_table(run: TrainingRun) -> scene.Table:
    """The baselines, worst first, then the model: loss in nats, in bits, accuracy, all on the test set."""
    unit = "bits a byte" if is_bytes(run) else "bits a target"
    columns = (
        scene.Column("predictor"),
        scene.Column("test loss (nats)", "right"),
        scene.Column(unit, "right"),
        scene.Column("accuracy", "right"),
    )
    rows = [_row(entry.name, entry.loss, entry.accuracy) for entry in run.baselines]
    if run.test_loss is not None:
        rows.append(_row(run.pattern, run.test_loss, run.test_accuracy))
    return scene.Table(columns, tuple(rows), "The test set, which no model and no baseline was fitted on.")


def facts(run: TrainingRun) -> scene.Facts:
    """Steps, tokens, parameters, speed and memory of a run."""
    found = [
        scene.Fact(count(len(run.steps)), "steps"),
        scene.Fact(count(run.parameters), "parameters"),
        scene.Fact(count(run.steps[-1].tokens if run.steps else 0), "tokens"),
    ]
    if (speed := tokens_per_second(run)) is not None:
        found.append(scene.Fact(count(round(speed)), "tokens a second"))
    found.append(scene.Fact(duration(math.fsum(step.seconds for step in run.steps)), "in steps"))
    if memory := max((step.memory_bytes or 0 for step in run.steps), default=0):
        found.append(scene.Fact(f"{count(round(memory / 2**20))} MiB", "memory"))
    return scene.Facts(tuple(found))


def tokens_per_second(run: TrainingRun) -> float | None:
    """Tokens of all steps but the first over the time they took; None for fewer than two steps."""
    timed = run.steps[_SKIPPED:]
    seconds = math.fsum(step.seconds for step in timed)
    return (timed[-1].tokens - run.steps[_SKIPPED - 1].tokens) / seconds if timed and seconds else None


def verdict(run: TrainingRun) -> str:
    """One sentence: how far the test loss is from the best baseline's."""
    if run.test_loss is None:
        return "not evaluated"
    if not run.baselines:
        return f"test loss {run.test_loss:.4f} nats"
    best = min(run.baselines, key=lambda entry: entry.loss)
    return f"{_against(best, run.test_loss)}"


def is_bytes(run: TrainingRun) -> bool:
    """Whether the run's tokens are bytes of text, so that bits a target are bits a byte."""
    return "train_bytes" in run.data


# ------------------------------------------------------------------------------------------------------


def _against(best: Baseline, loss: float) -> str:
    distance = best.loss - loss
    if math.isnan(distance):
        return f"the test loss is not a number; the {best.name} baseline's is {best.loss:.4f}"
    side = "below" if distance > 0 else "above"
    return f"{side} the {best.name} baseline by {abs(distance):.3f} nats"


def _row(name: str, loss: float, accuracy: float | None) -> tuple[str, str, str, str]:
    return name, f"{loss:.4f}", f"{loss / math.log(2):.4f}", "–" if accuracy is None else f"{accuracy:.1%}"
