"""What a model is trained on, whatever it is: batches that are a pure function of the step, a fixed test set, baselines.

A `Data` has no state. Step 7's batch is the same whenever and in whatever order it is asked for, so a run that is
resumed at step 7 needs to restore nothing of its data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from workbench.compare.training.record import Baseline


@dataclass(frozen=True)
class Batch:
    """`tokens` [b, s + 1] int64: inputs are `[:, :-1]`, targets `[:, 1:]`. On the CPU.

    `counted` [b, s] bool says which targets the loss and the accuracy are taken over (a recalled value, not the random
    keys before it); None counts all. A batch counts at least one target.
    """

    tokens: Tensor
    counted: Tensor | None = None


class Data(Protocol):
    """A source of batches of `sequence` tokens over a vocabulary of `vocab_size`."""

    @property
    def name(self) -> str:
        """One or two words: "stdlib", "mqar"."""
        ...

    @property
    def vocab_size(self) -> int:
        """Token ids are below it."""
        ...

    @property
    def sequence(self) -> int:
        """Tokens a model sees at once: s of `Batch`."""
        ...

    def train_batch(self, number: int, rows: int) -> Batch:
        """The micro-batch `number` (from 0) of the run, `rows` sequences; the same for the same arguments, always."""
        ...

    def test_batches(self, rows: int) -> Iterator[Batch]:
        """The whole test set, `rows` sequences at a time (the last may have fewer); the same sequences for any `rows`."""
        ...

    def baselines(self) -> tuple[Baseline, ...]:
        """What predictors without a model reach on the test set, worst first."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """JSON values that identify the data: a run is resumed only on data with the same facts (files, digests, seed)."""
        ...
