"""What a throughput comparison of twins measured, as plain frozen data. Pure: imports the standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA = "workbench.throughput/1"

PHASES = ("forward", "backward", "optimizer", "step")


@dataclass(frozen=True)
class Interval:
    """A median with its 95 % bootstrap interval."""

    median: float
    low: float
    high: float

    @property
    def holds_one(self) -> bool:
        """True when 1 lies in the interval: of a ratio, that no difference was measured."""
        return self.low <= 1.0 <= self.high


@dataclass(frozen=True)
class Phase:
    """One part of a training step: milliseconds of both twins, and the speedup (unfused / fused) of paired trials."""

    name: str
    fused_ms: Interval
    unfused_ms: Interval
    speedup: Interval


@dataclass(frozen=True)
class Work:
    """What one step of one twin does: counts, and the most memory that its tensors took (bytes; weights not counted).

    `kernels` are GPU kernel launches (None on a CPU), `operators` torch's operator calls.
    """

    pattern: str
    blocks: int
    module_calls: int
    python_calls: int
    operators: int
    kernels: int | None
    peak_memory_bytes: int


@dataclass(frozen=True)
class Regime:
    """One size of the problem, tiny (the host is what limits) or large (the arithmetic is).

    `host_share` is the part of a step in which no matrix product runs, 0 to 1: near 1 the host is the limit.
    """

    name: str
    sizes: Mapping[str, Any]
    rows: int
    sequence: int
    trials: int
    host_share: float
    phases: tuple[Phase, ...]
    fused: Work
    unfused: Work

    def phase(self, name: str) -> Phase:
        """The phase of a name out of `PHASES`."""
        return next(phase for phase in self.phases if phase.name == name)


@dataclass(frozen=True)
class Throughput:
    """Twins side by side, in one regime or several."""

    fused: str
    unfused: str
    regimes: tuple[Regime, ...]
    environment: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON data; `speedup`, `fused_ms`, `unfused_ms` and `peak_memory` are of a whole step in the first regime."""
        first = self.regimes[0]
        step = first.phase("step")
        return {
            "schema": SCHEMA,
            "speedup": asdict(step.speedup),
            "fused_ms": step.fused_ms.median,
            "unfused_ms": step.unfused_ms.median,
            "peak_memory": {"fused": first.fused.peak_memory_bytes, "unfused": first.unfused.peak_memory_bytes},
            **asdict(self),
        }
