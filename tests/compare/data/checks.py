"""What holds for every `Data`, whatever it is of."""

import json
import math

import torch

from workbench.compare.data.batch import Batch, Data


def check_data(data: Data) -> None:
    """The protocol of `workbench.compare.data.batch`, for a data set of at least three test sequences."""
    later = data.train_batch(7, 4)
    for batch in (data.train_batch(0, 4), later):
        check_batch(batch, data, 4)
    assert same(later, data.train_batch(7, 4)), "a batch depends on what was drawn before it"
    assert not same(later, data.train_batch(8, 4))

    whole = whole_test_set(data, 10_000)
    for rows in (1, 3):
        assert all(torch.equal(one, other) for one, other in zip(whole_test_set(data, rows), whole, strict=True))
    for batch in data.test_batches(3):
        check_batch(batch, data, batch.tokens.shape[0])
    assert [batch.tokens.shape[0] for batch in data.test_batches(2)][:-1] == [2] * ((len(whole[0]) - 1) // 2)

    baselines = data.baselines()
    assert baselines == data.baselines()
    assert [one.loss for one in baselines] == sorted((one.loss for one in baselines), reverse=True)
    for one in baselines:
        assert math.isfinite(one.loss)
        assert one.accuracy is None or 0 <= one.accuracy <= 1
        assert one.explanation

    assert json.loads(json.dumps(data.facts())) == data.facts()
    assert data.facts()["name"] == data.name


def check_batch(batch: Batch, data: Data, rows: int) -> None:
    assert batch.tokens.shape == (rows, data.sequence + 1)
    assert batch.tokens.dtype == torch.int64
    assert 0 <= int(batch.tokens.min()) <= int(batch.tokens.max()) < data.vocab_size
    if batch.counted is not None:
        assert batch.counted.shape == (rows, data.sequence)
        assert batch.counted.dtype == torch.bool
        assert batch.counted.any(1).all()


def whole_test_set(data: Data, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The whole test set: tokens [n, s + 1], counted [n, s]."""
    batches = list(data.test_batches(rows))
    return torch.cat([batch.tokens for batch in batches]), torch.cat([counted(batch) for batch in batches])


def counted(batch: Batch) -> torch.Tensor:
    return torch.ones_like(batch.tokens[:, 1:], dtype=torch.bool) if batch.counted is None else batch.counted


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.tokens, other.tokens) and torch.equal(counted(one), counted(other))
