"""What a throughput comparison of twins measured, as plain frozen data. Pure: imports the standard library only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from workbench.errors import WorkbenchError

SCHEMA = "workbench.throughput/1"

# Pairs from which on an interval can have 95 %: five values all lie on one side of their median in 1 of 16 cases.
FEWEST_PAIRS = 6

# `forward` ends when the model returns, `backward` when the gradients are accumulated, `optimizer` with the step.
PHASES = ("forward", "backward", "forward_backward", "optimizer", "step")


class NotTheSame(WorkbenchError):
    """The two compute different functions, so that their speeds say nothing about fusion."""

    def __init__(self, text: str, measured: Mapping[str, Any]) -> None:
        super().__init__(text)
        self.measured = dict(measured)

    def to_json(self) -> dict[str, Any]:
        """JSON data: what is not the same, and the numbers that say so."""
        return {"schema": SCHEMA, "error": str(self), "measured": self.measured}


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

    @property
    def outcome(self) -> str:
        """What a speedup comes to: "faster", "slower" or "no measurable difference"."""
        if self.holds_one:
            return "no measurable difference"
        return "faster" if self.low > 1.0 else "slower"


@dataclass(frozen=True)
class Phase:
    """One part of a training step: milliseconds of both twins, and the speedup (unfused / fused) of paired trials.

    The speedup is the median over pairs of the ratio of their two times, not the ratio of the two medians.
    """

    name: str
    fused_ms: Interval
    unfused_ms: Interval
    speedup: Interval


@dataclass(frozen=True)
class Work:
    """What one step of one twin does: counts, and the most memory that its tensors took.

    `module_calls` are calls of `nn.Module`s, `python_calls` of all Python functions, `operators` torch's operator calls,
    `kernels` GPU kernel launches (None on a CPU). `peak_memory_bytes` counts what a step allocates, at its highest: weights,
    gradient buffers and optimizer state were there before and are not in it. `lean_blocks` of the blocks, MTP's included,
    run upstream's arithmetic without its host work (`workbench.fusion.lean`).
    """

    pattern: str
    blocks: int
    module_calls: int
    python_calls: int
    operators: int
    kernels: int | None
    peak_memory_bytes: int
    lean_blocks: int = 0


@dataclass(frozen=True)
class Regime:
    """One size of the problem, tiny (the host is what limits) or large (the arithmetic is).

    A step takes `rows` × `sequence` tokens. `trials` counts timed pairs, `equal_steps` the steps (those and the ones before)
    whose loss and gradient norm were the same bits in both twins: all that were run, and so were the weights after the
    last. `host_share` is the part of the
    unfused twin's step in which no matrix product runs (on a GPU: no kernel at all), 0 to 1: near 1 the host is the limit.
    `plain`, where it was asked for, is what fusing alone gives: the phases of a fused twin whose blocks run upstream's own
    forward and not the lean one (`workbench.fusion.lean`), against the unfused twin, in pairs of their own.
    """

    name: str
    sizes: Mapping[str, Any]
    rows: int
    sequence: int
    threads: int
    trials: int
    equal_steps: int
    loss: float
    host_share: float
    phases: tuple[Phase, ...]
    fused: Work
    unfused: Work
    plain: tuple[Phase, ...] = ()

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

    # How a notebook shows it. The views set it (`workbench/__init__.py`), so that this package need not know them.
    view: ClassVar[Callable[[Throughput], dict[str, str]] | None] = None

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

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if Throughput.view is None:
            return {"text/plain": repr(self)}
        return Throughput.view(self)
