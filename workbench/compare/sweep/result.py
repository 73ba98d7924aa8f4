"""What a sweep over patterns found, as plain frozen data. Pure: imports the standard library and the training record only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from workbench.compare.training.record import Baseline, TrainingRun
from workbench.errors import WorkbenchError

SCHEMA = "workbench.sweep/1"

QUALITIES = ("accuracy", "loss")


@dataclass(frozen=True)
class Quality:
    """One number of an entrant over its seeds, in the order of the runs."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the seeds, not a number where a seed's is not."""
        mean = statistics.fmean(self.values)
        # Rounding can put the mean of equal numbers a bit beside them, and error bars have no negative length.
        return min(max(mean, self.low), self.high) if not math.isnan(mean) else mean

    @property
    def low(self) -> float:
        """The smallest of the seeds: error bars are the range, which with three seeds says more than a deviation.

        Not a number where a seed's is not.
        """
        return _unless_nan(min, self.values)

    @property
    def high(self) -> float:
        """The largest of the seeds."""
        return _unless_nan(max, self.values)


@dataclass(frozen=True)
class Entrant:
    """One pattern of a sweep: what it costs, and one run a seed. `sizes` were solved so that costs are equal."""

    pattern: str
    sizes: Mapping[str, Any]
    parameters: int
    flops_per_token: float
    runs: tuple[TrainingRun, ...]

    def quality(self, name: str) -> Quality:
        """The test set's "accuracy" (0 to 1) or "loss" (nats a counted target) after the last step, over the seeds."""
        if name not in QUALITIES:
            raise WorkbenchError(f"quality {name!r} is not one of {', '.join(map(repr, QUALITIES))}")
        values = [run.test_accuracy if name == "accuracy" else run.test_loss for run in self.runs]
        found = tuple(value for value in values if value is not None)
        if len(found) < len(values) or not found:
            raise WorkbenchError(f"{self.pattern!r}: a run of the sweep was not evaluated")
        return Quality(found)


@dataclass(frozen=True)
class Sweep:
    """Patterns trained alike on one data. `equal` is what was held equal: "parameters", "flops" or "sizes"."""

    # How a notebook shows a sweep; the views set it (`workbench/__init__.py`).
    view: ClassVar[Callable[[Sweep], dict[str, str]] | None] = None

    equal: str
    entrants: tuple[Entrant, ...]
    data: Mapping[str, Any]
    baselines: tuple[Baseline, ...]
    environment: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, pattern: str) -> Entrant:
        """The entrant of a pattern's text; `WorkbenchError` when it did not take part."""
        for entrant in self.entrants:
            if entrant.pattern == pattern:
                return entrant
        raise WorkbenchError(f"{pattern!r} is not in the sweep: {', '.join(e.pattern for e in self.entrants)}")

    def to_json(self) -> dict[str, Any]:
        """JSON data, every run with all its points."""
        return {
            "schema": SCHEMA,
            "equal": self.equal,
            "entrants": [
                {
                    "pattern": entrant.pattern,
                    "sizes": dict(entrant.sizes),
                    "parameters": entrant.parameters,
                    "flops_per_token": entrant.flops_per_token,
                    "runs": [run.to_json() for run in entrant.runs],
                }
                for entrant in self.entrants
            ],
            "data": dict(self.data),
            "baselines": [asdict(baseline) for baseline in self.baselines],
            "environment": dict(self.environment),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Sweep:
        """A sweep from `to_json` data; raises `WorkbenchError` when it is not one."""
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, Mapping) else data
            raise WorkbenchError(f"not a sweep: expected schema {SCHEMA!r}, found {found!r:.100}")
        try:
            return cls(
                equal=str(data["equal"]),
                entrants=tuple(
                    Entrant(
                        pattern=str(entry["pattern"]),
                        sizes=dict(entry["sizes"]),
                        parameters=int(entry["parameters"]),
                        flops_per_token=float(entry["flops_per_token"]),
                        runs=tuple(map(TrainingRun.from_json, entry["runs"])),
                    )
                    for entry in data["entrants"]
                ),
                data=dict(data["data"]),
                baselines=tuple(Baseline(**entry) for entry in data["baselines"]),
                environment=dict(data["environment"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise WorkbenchError(f"not a sweep: {error!s:.200}") from error

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if Sweep.view is None:
            return {"text/plain": repr(self)}
        return Sweep.view(self)


# ------------------------------------------------------------------------------------------------------


def _unless_nan(choice: Callable[[tuple[float, ...]], float], values: tuple[float, ...]) -> float:
    """`min` and `max` leave out a value that is not a number, or do not, by its place among the others."""
    return math.nan if any(map(math.isnan, values)) else choice(values)
