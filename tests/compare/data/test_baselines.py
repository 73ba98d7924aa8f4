import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from workbench.compare.data import baselines
from workbench.compare.data.baselines import ngram_baselines


def by_hand(train: list[int], inputs: list[int], targets: list[int], vocab: int) -> list[tuple[float, float]]:
    """Loss and accuracy of uniform, unigram and bigram, from the formulas, token by token."""
    singles, pairs = Counter(train), Counter(pairwise(train))
    contexts = Counter(train[:-1])

    def unigram(a: int, b: int) -> float:
        return (singles[b] + 1) / (len(train) + vocab)

    def bigram(a: int, b: int) -> float:
        return (pairs[a, b] + unigram(a, b)) / (contexts[a] + 1)

    found = [(math.log(vocab), 1 / vocab)]
    for predict in (unigram, bigram):
        for a in range(vocab):
            assert sum(predict(a, b) for b in range(vocab)) == pytest.approx(1)
        losses = [-math.log(predict(a, b)) for a, b in zip(inputs, targets, strict=True)]
        right = [
            b == max(range(vocab), key=lambda c, a=a: (predict(a, c), -c)) for a, b in zip(inputs, targets, strict=True)
        ]
        found.append((sum(losses) / len(losses), sum(right) / len(right)))
    return found


@pytest.mark.parametrize("dense_pairs", [2**22, 0], ids=["a table of all pairs", "only pairs that occur"])
@pytest.mark.parametrize("vocab", [3, 7, 20])
def test_ngrams_equal_the_formulas_counted_one_by_one(vocab: int, dense_pairs: int, monkeypatch) -> None:
    monkeypatch.setattr(baselines, "_DENSE_PAIRS", dense_pairs)
    draw = np.random.default_rng(vocab)
    train, test = draw.integers(vocab, size=40), draw.integers(vocab, size=30)
    found = ngram_baselines(train, test[:-1], test[1:], vocab)
    expected = sorted(by_hand(train.tolist(), test[:-1].tolist(), test[1:].tolist(), vocab), reverse=True)
    assert [one.loss for one in found] == pytest.approx([loss for loss, _ in expected])
    assert [one.accuracy for one in found] == pytest.approx([accuracy for _, accuracy in expected])


def test_bytes_do_not_overflow_in_the_pairs() -> None:
    train = np.array([255, 254] * 50, np.uint8)
    *_, bigram = ngram_baselines(train, np.array([255], np.uint8), np.array([254], np.uint8), 256)
    assert bigram.name == "bigram"
    assert bigram.accuracy == 1
    assert bigram.loss == pytest.approx(-math.log((50 + 51 / 356) / 51))
