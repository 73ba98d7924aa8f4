import numpy as np
import pytest
import torch

from tests.compare.data.checks import whole_test_set
from workbench.compare.data.batch import Data
from workbench.compare.data.tasks.mqar import MultiQueryAssociativeRecall
from workbench.compare.data.tasks.state_tracking import StateTracking
from workbench.compare.data.tasks.task import TaskData
from workbench.errors import WorkbenchError

SMALL = MultiQueryAssociativeRecall(
    pairs=1, vocabulary=8, length=4
)  # 32 different sequences of a pair and its question


def test_training_never_sees_a_test_sequence() -> None:
    data = TaskData(SMALL, seed=1, test_rows=12)
    held_out = {tuple(row) for row in whole_test_set(data, 5)[0].tolist()}
    trained = {tuple(row) for row in data.train_batch(0, 2000).tokens.tolist()}
    assert 1 < len(held_out) <= 12
    assert len(trained) == 32 - len(held_out)
    assert not trained & held_out


def test_the_check_that_training_never_sees_a_test_sequence_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    data = TaskData(SMALL, seed=1, test_rows=12)
    monkeypatch.setitem(data.__dict__, "_held_out", frozenset())
    held_out = {tuple(row) for row in whole_test_set(data, 5)[0].tolist()}
    assert held_out & {tuple(row) for row in data.train_batch(0, 2000).tokens.tolist()}


def test_a_task_that_the_test_set_exhausts_is_refused() -> None:
    data = TaskData(StateTracking("parity", words=1, length=3), seed=1)
    with pytest.raises(WorkbenchError, match=r"state-tracking: 1000 sequences .* were all in the test set of 256"):
        data.train_batch(0, 1)


def test_the_test_set_is_of_the_task_not_of_the_seed() -> None:
    one, other = (TaskData(MultiQueryAssociativeRecall(), seed) for seed in (1, 2))
    assert torch.equal(whole_test_set(one, 100)[0], whole_test_set(other, 100)[0])
    assert one.baselines() == other.baselines()
    assert not torch.equal(one.train_batch(0, 1).tokens, other.train_batch(0, 1).tokens)
    assert one.facts()["sha256"] != other.facts()["sha256"]


def test_facts_name_every_option() -> None:
    facts = TaskData(MultiQueryAssociativeRecall(pairs=4), seed=5, test_rows=9).facts()
    digest = facts.pop("sha256")  # type: ignore[attr-defined]
    assert facts == {
        "name": "mqar",
        "pairs": 4,
        "vocabulary": 64,
        "length": 0,
        "sequence": 16,
        "seed": 5,
        "test_rows": 9,
    }
    assert digest == TaskData(MultiQueryAssociativeRecall(pairs=4), seed=5, test_rows=9).facts()["sha256"]


def test_a_row_depends_on_its_number_not_on_how_many_rows_there_are() -> None:
    data: Data = TaskData(MultiQueryAssociativeRecall(), seed=1)
    assert np.array_equal(data.train_batch(2, 3).tokens, data.train_batch(2, 9).tokens[:3])


@pytest.mark.parametrize(("field", "value"), [("seed", -1), ("test_rows", 0)])
def test_impossible_settings(field: str, value: int) -> None:
    with pytest.raises(WorkbenchError, match=f"{field} must be a whole number"):
        TaskData(SMALL, **{"seed": 1, field: value})
