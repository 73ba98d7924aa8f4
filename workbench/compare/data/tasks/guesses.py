"""Predictors without a model, as `Baseline`s: one of several at random, or one of a bag that is known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from workbench.compare.training.record import Baseline


def any_of(choices: int, what: str) -> Baseline:
    """Each of `choices` answers alike."""
    return Baseline("chance", math.log(choices), 1 / choices, f"any of {choices} {what}, all alike")


def from_bags(name: str, asked: Iterable[tuple[Counter[int], int]], explanation: str) -> Baseline:
    """Every answer is guessed from a bag that holds it, in proportion to how often each token is in it.

    The accuracy is of the most frequent token; where several are, one of them at random (the expectation, not a draw).
    """
    losses, hits = [], []
    for bag, answer in asked:
        losses.append(math.log(bag.total() / bag[answer]))
        most = max(bag.values())
        hits.append((bag[answer] == most) / sum(count == most for count in bag.values()))
    return Baseline(name, sum(losses) / len(losses), sum(hits) / len(hits), explanation)
