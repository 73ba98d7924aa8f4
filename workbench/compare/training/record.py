"""What a training run recorded, as plain frozen data. Pure: imports the standard library only.

Life of a record: `workbench.compare.training` measures the points one by one and hands each to its watchers;
`workbench.views.curves` draws them; `TrainingRun.to_json` / `from_json` carry a finished run between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from workbench.errors import WorkbenchError

SCHEMA = "workbench.training/1"


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
                steps=tuple(Step(**point) for point in data["curve"]),
                evaluations=tuple(Evaluation(**point) for point in data["evaluations"]),
                baselines=tuple(Baseline(**entry) for entry in data["baselines"]),
                environment=dict(data["environment"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise WorkbenchError(f"not a training run: {error!s:.200}") from error

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if TrainingRun.view is None:
            return {"text/plain": repr(self)}
        return TrainingRun.view(self)
