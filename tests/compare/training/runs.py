"""Short runs for the tests of training, and what of a run must be the same bits however it was interrupted."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from tests.compare.training.counting import Counting
from workbench.arch.sizes import ModelSizes
from workbench.compare.training.loop import train
from workbench.compare.training.record import Step, TrainingRun
from workbench.compare.training.settings import TrainingSettings

# With dropout: a stream that is not restored changes every loss after it.
SIZES = ModelSizes(
    hidden_size=32,
    ffn_hidden_size=32,
    moe_ffn=16,
    mamba_head_dim=32,
    mamba_num_groups=1,
    hidden_dropout=0.1,
    attention_dropout=0.1,
)
PATTERN = "[M-]*"
WITH_EXPERTS = "M[*E]"


def settings(**changes: Any) -> TrainingSettings:
    values: dict[str, Any] = {"steps": 8, "rows": 2, "micro_batches": 2, "warmup_steps": 2, "evaluate_every": 3}
    return TrainingSettings(**({**values, "test_rows": 4, "save_every": 2, **changes}))


def run(pattern: str = PATTERN, *, data: Any = None, changes: Any = None, **arguments: Any) -> TrainingRun:
    return train(pattern, data or Counting(), settings(**(changes or {})), sizes=SIZES, **arguments)


def bits(made: TrainingRun) -> Any:
    """Every number of a run but times and memory."""
    steps = [(point.step, point.loss, point.grad_norm, point.learning_rate, point.tokens) for point in made.steps]
    return steps, [(point.step, point.loss, point.accuracy) for point in made.evaluations]


class Crash(Exception):
    """What a test's watcher raises: the run ends there and then, as if the process had died between two lines of the log."""


def crash_at(step: int) -> Any:
    """A watcher that raises when it is shown this step."""

    def watch(point: Any) -> None:
        if isinstance(point, Step) and point.step == step:
            raise Crash

    return watch


@cache
def uninterrupted(pattern: str = PATTERN, masked: bool = False) -> Any:
    """The bits of a whole run in memory."""
    torch.set_num_threads(1)
    return bits(run(pattern, data=Counting(masked=masked)))
