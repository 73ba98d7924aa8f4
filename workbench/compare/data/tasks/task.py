"""What a synthetic task is, and the `Data` made of one: a test set that is the same for all runs, and training without it.

A task says how one sequence is drawn and what a predictor without a model reaches. Everything else is here, once: sequences
are drawn per row, a train sequence that is in the test set is drawn again, and the facts carry a digest of what is drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.compare.data import draws
from workbench.compare.data.baselines import worst_first
from workbench.compare.data.batch import Batch
from workbench.compare.training.record import Baseline
from workbench.errors import WorkbenchError, check_whole

Tokens = NDArray[np.int64]
Mask = NDArray[np.bool_]

# A task whose sequences are in the test set this often in a row has hardly any others.
_REDRAWS = 1000


@dataclass(frozen=True)
class Example:
    """One sequence: `tokens` [s + 1], and which of its targets `tokens[1:]` are answers: `counted` [s]."""

    tokens: Tokens
    counted: Mask


class Task(Protocol):
    """A frozen dataclass whose fields are the task's options."""

    @property
    def name(self) -> str:
        """As it is written to open the task: "mqar"."""
        ...

    @property
    def sequence(self) -> int:
        """Tokens a model sees of one sequence."""
        ...

    @property
    def vocab_size(self) -> int:
        """Token ids are below it."""
        ...

    def draw(self, generator: np.random.Generator) -> Example:
        """One sequence, of the generator alone."""
        ...

    def guesses(self, tokens: Tokens, counted: Mask) -> tuple[Baseline, ...]:
        """What predictors without a model reach on sequences [n, s + 1] with their answers [n, s]."""
        ...


@dataclass(frozen=True)
class TaskData:
    """A task as a `Data`: `test_rows` test sequences, which depend on the task alone; train sequences are none of them."""

    task: Task
    seed: int
    test_rows: int = 256

    def __post_init__(self) -> None:
        draws.check_seed(self.seed)
        check_whole("test_rows", self.test_rows)

    @property
    def name(self) -> str:
        """The task's."""
        return self.task.name

    @property
    def vocab_size(self) -> int:
        """The task's."""
        return self.task.vocab_size

    @property
    def sequence(self) -> int:
        """The task's."""
        return self.task.sequence

    def train_batch(self, number: int, rows: int) -> Batch:
        """`rows` sequences, each drawn on its own."""
        return _batch([self._train_example(number, row) for row in range(rows)])

    def test_batches(self, rows: int) -> Iterator[Batch]:
        """The test sequences, in order."""
        for first in range(0, self.test_rows, rows):
            yield _batch(self._test[first : first + rows])

    def baselines(self) -> tuple[Baseline, ...]:
        """What the task's own guesses reach on the test sequences."""
        return self._baselines

    def facts(self) -> Mapping[str, Any]:
        """The options, and a digest of the test set and of what training starts with."""
        return {
            "name": self.name,
            **asdict(self.task),  # type: ignore[call-overload]
            "sequence": self.sequence,
            "seed": self.seed,
            "test_rows": self.test_rows,
            "sha256": self._digest,
        }

    def _train_example(self, number: int, row: int) -> Example:
        generator = draws.generator(draws.TRAIN, self.seed, number, row)
        for _ in range(_REDRAWS):
            example = self.task.draw(generator)
            if example.tokens.tobytes() not in self._held_out:
                return example
        raise WorkbenchError(
            f"{self.name}: {_REDRAWS} sequences drawn for training were all in the test set of {self.test_rows}, so the task has "
            "hardly any others; make it longer or its vocabulary larger"
        )

    @cached_property
    def _test(self) -> list[Example]:
        rows = range(self.test_rows)
        return [self.task.draw(draws.generator(draws.TEST, draws.TEST_SEED, 0, row)) for row in rows]

    @cached_property
    def _held_out(self) -> frozenset[bytes]:
        return frozenset(example.tokens.tobytes() for example in self._test)

    @cached_property
    def _baselines(self) -> tuple[Baseline, ...]:
        tokens = np.stack([example.tokens for example in self._test])
        return worst_first(self.task.guesses(tokens, np.stack([example.counted for example in self._test])))

    @cached_property
    def _digest(self) -> str:
        examples = [*self._test, *(self._train_example(0, row) for row in range(4))]
        return hashlib.sha256(b"".join(example.tokens.tobytes() for example in examples)).hexdigest()


def _batch(examples: list[Example]) -> Batch:
    tokens = torch.from_numpy(np.stack([example.tokens for example in examples]))
    return Batch(tokens, torch.from_numpy(np.stack([example.counted for example in examples])))
