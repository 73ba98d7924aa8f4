import math

import pytest

from tests.compare.data.checks import check_data, whole_test_set
from workbench.compare.data.tasks.mqar import MultiQueryAssociativeRecall
from workbench.compare.data.tasks.task import TaskData
from workbench.errors import WorkbenchError


@pytest.mark.parametrize(
    "task",
    [
        MultiQueryAssociativeRecall(),
        MultiQueryAssociativeRecall(pairs=1, vocabulary=40, length=10),
        MultiQueryAssociativeRecall(pairs=5, vocabulary=10, length=50),
    ],
    ids=str,
)
def test_every_answer_is_what_followed_the_key_before(task: MultiQueryAssociativeRecall) -> None:
    data = TaskData(task, seed=3)
    for batch in (data.train_batch(0, 8), data.train_batch(5, 8), *data.test_batches(40)):
        for tokens, counted in zip(batch.tokens.tolist(), batch.counted.tolist(), strict=True):  # type: ignore[union-attr]
            pairs = dict(zip(tokens[0 : 2 * task.pairs : 2], tokens[1 : 2 * task.pairs : 2], strict=True))
            asked = [place for place, answer in enumerate(counted) if answer]
            assert sorted(tokens[place] for place in asked) == sorted(pairs), "every key is asked for once"
            assert all(pairs[tokens[place]] == tokens[place + 1] for place in asked)
            assert min(asked) >= 2 * task.pairs
            rest = set(range(2 * task.pairs, len(tokens))) - {place + step for place in asked for step in (0, 1)}
            assert all(tokens[place] == 0 for place in rest)


def test_it_keeps_the_protocol() -> None:
    check_data(TaskData(MultiQueryAssociativeRecall(pairs=4, vocabulary=16, length=24), seed=1))


def test_questions_reach_every_place() -> None:
    _, counted = whole_test_set(TaskData(MultiQueryAssociativeRecall(pairs=2, vocabulary=8, length=12), seed=1), 256)
    assert counted.any(0).tolist() == [False] * 4 + [True] * 8


def test_guesses_equal_their_definition() -> None:
    task = MultiQueryAssociativeRecall(pairs=3, vocabulary=12)
    data = TaskData(task, seed=1, test_rows=20)
    losses: dict[str, list[float]] = {"values seen": [], "values left": []}
    tokens, counted = whole_test_set(data, 20)
    for row, answers in zip(tokens.tolist(), counted.tolist(), strict=True):
        left = row[1:6:2]
        for place in (place for place, answer in enumerate(answers) if answer):
            answer = row[place + 1]
            losses["values seen"].append(-math.log(row[1:6:2].count(answer) / 3))
            losses["values left"].append(-math.log(left.count(answer) / len(left)))
            left.remove(answer)
    found = {baseline.name: baseline for baseline in data.baselines()}
    assert found["chance"].loss == pytest.approx(math.log(6))
    for name, expected in losses.items():
        assert found[name].loss == pytest.approx(sum(expected) / len(expected))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": 0}, "pairs must be a whole number of at least 1, not 0"),
        ({"pairs": 2.5}, "pairs must be a whole number"),
        ({"pairs": 33}, "vocabulary 64 must be even and at least 66: half of it are keys"),
        ({"vocabulary": 63}, "vocabulary 63 must be even"),
        ({"length": 63}, "16 pairs and as many questions take 64 tokens, more than the sequence of 63"),
        ({"length": -1}, "length must be a whole number of at least 0"),
    ],
)
def test_impossible_options(options: dict[str, int], message: str) -> None:
    with pytest.raises(WorkbenchError, match=message):
        MultiQueryAssociativeRecall(**options)
