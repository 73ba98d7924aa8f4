"""Data for the tests of training: a sequence counts up by a fixed stride, so that a tiny model learns it in few steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from workbench.compare.data.batch import Batch
from workbench.compare.training.record import Baseline


@dataclass(frozen=True)
class Counting:
    """Rows that count up from a random start, modulo the vocabulary. `masked` counts only the second half of the targets of
    every second row, so that batches count different numbers."""

    sequence: int = 16
    vocab_size: int = 32
    masked: bool = False
    seed: int = 0
    test_set: int = 6

    name = "counting"

    def _batch(self, seed: int, rows: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        starts = torch.randint(0, self.vocab_size, (rows, 1), generator=generator)
        tokens = (starts + torch.arange(self.sequence + 1)) % self.vocab_size
        if not self.masked:
            return Batch(tokens)
        counted = torch.rand(rows, self.sequence, generator=generator) < 0.3
        counted[0, -1] = True
        return Batch(tokens, counted)

    def train_batch(self, number: int, rows: int) -> Batch:
        return self._batch(1000 * (self.seed + 1) + number, rows)

    def test_batches(self, rows: int) -> Iterator[Batch]:
        whole = self._batch(self.seed, self.test_set)
        for start in range(0, self.test_set, rows):
            part = slice(start, start + rows)
            yield Batch(whole.tokens[part], None if whole.counted is None else whole.counted[part])

    def baselines(self) -> tuple[Baseline, ...]:
        return (Baseline("uniform", float(torch.tensor(float(self.vocab_size)).log())),)

    def facts(self) -> Mapping[str, Any]:
        return {"name": self.name, "sequence": self.sequence, "seed": self.seed, "masked": self.masked}
