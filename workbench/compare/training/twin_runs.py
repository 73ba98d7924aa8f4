"""Twins in lockstep as plain frozen data: which patterns are twins, what they recorded, whether any number of theirs differs. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from workbench.compare.training.record import TrainingRun
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

SCHEMA = "workbench.training-twins/1"


@dataclass(frozen=True)
class Twins:
    """Both runs, step for step on the same batches. Differences are largest absolute ones over all steps and evaluations, not
    a number where one side is none and the other is; `first_difference` is the step where a loss or a gradient norm first had
    other bits, None where none had."""

    # How a notebook shows them; the views set it (`workbench/__init__.py`).
    view: ClassVar[Callable[[Twins], dict[str, str]] | None] = None

    left: TrainingRun
    right: TrainingRun
    identical: bool
    largest_loss_difference: float
    largest_grad_norm_difference: float
    first_difference: int | None
    stopped_by: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON data; each run as `TrainingRun.to_json` gives it."""
        return {
            "schema": SCHEMA,
            "identical": self.identical,
            "largest_loss_difference": self.largest_loss_difference,
            "largest_grad_norm_difference": self.largest_grad_norm_difference,
            "first_difference": self.first_difference,
            "stopped_by": self.stopped_by,
            "left": self.left.to_json(),
            "right": self.right.to_json(),
        }

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if Twins.view is None:
            return {"text/plain": repr(self)}
        return Twins.view(self)


def twin_patterns(pattern: Pattern, against: Pattern | None = None) -> tuple[Pattern, Pattern]:
    """The pattern and its twin (default: itself without brackets); `WorkbenchError` where the two are no twins."""
    twin = pattern.unfused() if against is None else against
    if pattern.unfused() != twin.unfused():
        raise WorkbenchError(
            f"{pattern} and {twin} are no twins: without brackets they are {pattern.unfused()} and {twin.unfused()}"
        )
    if pattern == twin:
        fused = pattern.fused()
        hint = f"; with brackets it is {fused}" if fused != pattern else ""
        raise WorkbenchError(f"{pattern} and its twin are one pattern, and equal bits would say nothing{hint}")
    return pattern, twin


def compared(left: TrainingRun, right: TrainingRun, stopped_by: str | None = None) -> Twins:
    """Two runs of the same settings on the same data, compared point by point."""
    losses = [(one.step, one.loss, other.loss) for one, other in zip(left.steps, right.steps, strict=True)]
    losses += [(one.step, one.loss, other.loss) for one, other in zip(left.evaluations, right.evaluations, strict=True)]
    norms = [(one.step, one.grad_norm, other.grad_norm) for one, other in zip(left.steps, right.steps, strict=True)]
    different = [step for step, one, other in losses + norms if not _same(one, other)]
    return Twins(
        left,
        right,
        identical=not different,
        largest_loss_difference=_largest(losses),
        largest_grad_norm_difference=_largest(norms),
        first_difference=min(different, default=None),
        stopped_by=stopped_by,
    )


# ------------------------------------------------------------------------------------------------------


def _same(one: float, other: float) -> bool:
    return one.hex() == other.hex()


def _largest(pairs: list[tuple[int, float, float]]) -> float:
    """The largest distance; not a number where one is none, which `max` alone would leave out or not by its place."""
    distances = [0.0 if _same(one, other) else abs(one - other) for _, one, other in pairs]
    return math.nan if any(map(math.isnan, distances)) else max(distances, default=0.0)
