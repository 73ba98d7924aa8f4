"""What a training run recorded, as plain frozen data. Pure: imports the standard library only.

Life of a record: `workbench.compare.training` measures the points one by one and hands each to its watchers;
`workbench.views.curves` draws them; `TrainingRun.to_json` / `from_json` carry a finished run between the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from workbench.errors import WorkbenchError

SCHEMA = "workbench.training/1"

# JSON has no infinities: they are written as these texts.
_NOT_FINITE = ("nan", "inf", "-inf")


@dataclass(frozen=True)
class Baseline:
    """What a predictor without a model reaches on the test set: `loss` in nats a counted target, `accuracy` from 0 to 1."""

    name: str
    loss: float
    accuracy: float | None = None
    explanation: str = ""


@dataclass(frozen=True)
class Step:
    """One optimizer step, counted from 1. `loss` (nats a counted target) is of the batch before the update.

    `tokens` counts all tokens seen so far, `seconds` is the step's own wall time, `memory_bytes` what the process (on a
    GPU: torch) held when it ended, or None where that is not known.
    """

    step: int
    loss: float
    grad_norm: float
    learning_rate: float
    tokens: int
    seconds: float
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """The test set after `step` steps: `loss` in nats a counted target; `accuracy` (0 to 1) of the most probable token."""

    step: int
    loss: float
    accuracy: float
    seconds: float


def point_to_json(point: Step | Evaluation) -> dict[str, Any]:
    """A point's fields and its `kind`, "step" or "evaluation"; what is no finite number is the text "nan", "inf" or "-inf"."""
    kind = "step" if isinstance(point, Step) else "evaluation"
    fields = asdict(point).items()
    return {"kind": kind, **{name: str(value) if _is_not_finite(value) else value for name, value in fields}}


def point_from_json(data: Any) -> Step | Evaluation:
    """A point from `point_to_json` data, the same bits; raises `WorkbenchError` when it is none."""
    kinds: dict[object, type[Step] | type[Evaluation]] = {"step": Step, "evaluation": Evaluation}
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise WorkbenchError(f"not a point of a run: {data!r:.100}")
    return _read(kinds[kind], {name: value for name, value in data.items() if name != "kind"})


@dataclass(frozen=True)
class TrainingRun:
    """One model, trained. `steps` and `evaluations` in order; `environment` and `settings` say what it was obtained with."""

    # How a notebook shows a run; the views set it (`workbench/__init__.py`).
    view: ClassVar[Callable[[TrainingRun], dict[str, str]] | None] = None

    pattern: str
    parameters: int
    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    steps: tuple[Step, ...]
    evaluations: tuple[Evaluation, ...]
    baselines: tuple[Baseline, ...]
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def train_loss(self) -> float | None:
        """The mean training loss of the last twentieth of the steps (at least one); None without steps."""
        last = self.steps[-max(1, len(self.steps) // 20) :]
        return sum(step.loss for step in last) / len(last) if last else None

    @property
    def test_loss(self) -> float | None:
        """The last evaluation's loss; None without one."""
        return self.evaluations[-1].loss if self.evaluations else None

    @property
    def test_accuracy(self) -> float | None:
        """The last evaluation's accuracy; None without one."""
        return self.evaluations[-1].accuracy if self.evaluations else None

    def to_json(self) -> dict[str, Any]:
        """JSON data; `steps` is the number of steps, the points themselves are in `curve`."""
        data = asdict(self)
        curve = data.pop("steps")
        return {
            "schema": SCHEMA,
            "steps": len(self.steps),
            "train_loss": self.train_loss,
            "test_loss": self.test_loss,
            "test_accuracy": self.test_accuracy,
            **data,
            "curve": curve,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrainingRun:
        """A run from `to_json` data; raises `WorkbenchError` when it is not one."""
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, Mapping) else data
            raise WorkbenchError(f"not a training run: expected schema {SCHEMA!r}, found {found!r:.100}")
        try:
            return cls(
                pattern=str(data["pattern"]),
                parameters=int(data["parameters"]),
                settings=dict(data["settings"]),
                data=dict(data["data"]),
                steps=tuple(_read(Step, point) for point in data["curve"]),
                evaluations=tuple(_read(Evaluation, point) for point in data["evaluations"]),
                baselines=tuple(Baseline(**entry) for entry in data["baselines"]),
                environment=dict(data["environment"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise WorkbenchError(f"not a training run: {error!s:.200}") from error

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if TrainingRun.view is None:
            return {"text/plain": repr(self)}
        return TrainingRun.view(self)


# ------------------------------------------------------------------------------------------------------


def _is_not_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _read[T: Step | Evaluation](kind: type[T], data: Mapping[str, Any]) -> T:
    """A point from its fields, which are numbers; only the memory may be unknown."""
    found: dict[str, Any] = {name: float(value) if value in _NOT_FINITE else value for name, value in data.items()}
    for name, value in found.items():
        unknown = name == "memory_bytes" and value is None
        if not unknown and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise WorkbenchError(f"not a point of a run: {name} is {value!r:.100}")
    try:
        point = kind(**found)
    except TypeError as error:
        raise WorkbenchError(f"not a point of a run: {error!s:.200}") from error
    if not isinstance(point.step, int):
        raise WorkbenchError(f"not a point of a run: step is {point.step!r}")
    return point
