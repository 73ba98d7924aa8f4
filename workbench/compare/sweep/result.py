"""What a sweep over patterns found, as plain frozen data. Pure: imports the standard library and the training record only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.compare.training.record import Baseline, TrainingRun


@dataclass(frozen=True)
class Entrant:
    """One pattern of a sweep: what it costs, and one run a seed. `sizes` were solved so that costs are equal."""

    pattern: str
    sizes: Mapping[str, Any]
    parameters: int
    flops_per_token: float
    runs: tuple[TrainingRun, ...]


@dataclass(frozen=True)
class Sweep:
    """Patterns trained alike on one data. `equal` is what was held equal: "parameters", "flops" or "sizes"."""

    equal: str
    entrants: tuple[Entrant, ...]
    data: Mapping[str, Any]
    baselines: tuple[Baseline, ...]
    environment: Mapping[str, Any] = field(default_factory=dict)
