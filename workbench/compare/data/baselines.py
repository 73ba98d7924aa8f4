"""What predictors that know only counts reach: uniform, unigram, bigram. Fitted on the train split, measured on the test targets.

The unigram adds one to every count: p(b) = (n(b) + 1) / (N + V). The bigram falls back on it with the weight of one observation:
p(b | a) = (n(a, b) + p(b)) / (n(a) + 1). So nothing has probability 0, and a context that was never seen is the unigram.
(Dirichlet prior smoothing: MacKay and Peto 1995, "A hierarchical Dirichlet language model".)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.compare.training.record import Baseline

Ids = NDArray[np.integer]

# Up to here a table of all pairs is counted directly; above, only the pairs that occur are kept.
_DENSE_PAIRS = 2**22


def ngram_baselines(train: Ids, inputs: Ids, targets: Ids, vocab_size: int) -> tuple[Baseline, ...]:
    """Uniform, unigram and bigram on `targets` [n], each with the token before it in `inputs` [n]; worst first.

    `train` [N] is one stream of token ids below `vocab_size`. Losses are in nats a target.
    """
    counts = np.bincount(train, minlength=vocab_size)
    unigram = (counts + 1) / (len(train) + vocab_size)
    pairs = _Pairs.of(train, vocab_size)
    probabilities = pairs.probability(inputs, targets, unigram)
    found = (
        uniform(vocab_size),
        Baseline(
            "unigram",
            float(-np.log(unigram[targets]).mean()),
            float((targets == counts.argmax()).mean()),
            "how often each token occurs in the train split, plus one",
        ),
        Baseline(
            "bigram",
            float(-np.log(probabilities).mean()),
            float((targets == pairs.most_probable(unigram)[inputs]).mean()),
            "how often each token follows the one before it in the train split, smoothed by the unigram with weight one",
        ),
    )
    return worst_first(found)


def uniform(vocab_size: int) -> Baseline:
    """Every token alike."""
    return Baseline("uniform", math.log(vocab_size), 1 / vocab_size, f"every one of {vocab_size} tokens alike")


def worst_first(baselines: tuple[Baseline, ...]) -> tuple[Baseline, ...]:
    """By loss, the largest first."""
    return tuple(sorted(baselines, key=lambda baseline: -baseline.loss))


# ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pairs:
    """Pairs that follow each other in the train split: `code` = a * V + b, sorted, and how often; `context` counts the a."""

    code: NDArray[np.int64]
    count: NDArray[np.int64]
    context: NDArray[np.int64]
    vocab_size: int

    @classmethod
    def of(cls, train: Ids, vocab_size: int) -> _Pairs:
        codes = train[:-1].astype(np.int64) * vocab_size + train[1:]
        if vocab_size**2 <= _DENSE_PAIRS:
            table = np.bincount(codes, minlength=vocab_size**2)
            code = np.flatnonzero(table)
            count = table[code]
        else:
            code, count = np.unique(codes, return_counts=True)
        return cls(code, count, np.bincount(train[:-1], minlength=vocab_size), vocab_size)

    def probability(self, inputs: Ids, targets: Ids, unigram: NDArray[np.float64]) -> NDArray[np.float64]:
        """p(target | input), [n]."""
        wanted = inputs.astype(np.int64) * self.vocab_size + targets
        places = np.minimum(np.searchsorted(self.code, wanted), len(self.code) - 1)
        seen = np.where(self.code[places] == wanted, self.count[places], 0)
        return (seen + unigram[targets]) / (self.context[inputs] + 1)

    def most_probable(self, unigram: NDArray[np.float64]) -> NDArray[np.int64]:
        """The most probable token after each token, [V]."""
        before, after = np.divmod(self.code, self.vocab_size)
        best = np.full(self.vocab_size, unigram.argmax(), np.int64)
        # A pair that was seen outweighs any that was not, since the prior weighs one in all: only seen ones can win.
        order = np.lexsort((-after, self.count + unigram[after], before))
        best[before[order]] = after[order]  # the last of each context, which is its largest, stays
        return best
