import math

import pytest

from tests.compare.data.checks import check_data, whole_test_set
from workbench.compare.data.tasks.induction import Induction
from workbench.compare.data.tasks.task import TaskData
from workbench.errors import WorkbenchError


@pytest.mark.parametrize(
    "task", [Induction(), Induction(repeats=1), Induction(vocabulary=2000, repeats=4, length=9)], ids=str
)
def test_the_mark_is_always_followed_by_the_same_token(task: Induction) -> None:
    data = TaskData(task, seed=3)
    for batch in (data.train_batch(0, 8), *data.test_batches(40)):
        for tokens, counted in zip(batch.tokens.tolist(), batch.counted.tolist(), strict=True):  # type: ignore[union-attr]
            marks = [place for place, token in enumerate(tokens) if token == 0]
            assert len(marks) == task.repeats + 1
            assert marks[-1] == task.length - 1
            assert len({tokens[place + 1] for place in marks}) == 1
            assert [place for place, answer in enumerate(counted) if answer] == marks[1:]


def test_it_keeps_the_protocol() -> None:
    check_data(TaskData(Induction(repeats=2, length=16), seed=1))


def test_marks_reach_every_place() -> None:
    tokens, _ = whole_test_set(TaskData(Induction(repeats=2, length=12), seed=1), 256)
    assert (tokens == 0).any(0).tolist() == [True] * 10 + [False, True, False]


def test_guesses_equal_their_definition() -> None:
    data = TaskData(Induction(vocabulary=3, repeats=2, length=12), seed=1, test_rows=20)
    tokens, counted = whole_test_set(data, 20)
    losses = []
    for row, answers in zip(tokens.tolist(), counted.tolist(), strict=True):
        for place in (place for place, answer in enumerate(answers) if answer):
            seen = [token for token in row[:place] if token]
            losses.append(-math.log(seen.count(row[place + 1]) / len(seen)))
    found = {baseline.name: baseline for baseline in data.baselines()}
    assert found["tokens seen"].loss == pytest.approx(sum(losses) / len(losses))
    assert found["chance"].loss == pytest.approx(math.log(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": 1}, "vocabulary must be a whole number of at least 2"),
        ({"repeats": 0}, "repeats must be a whole number of at least 1"),
        ({"length": 8}, "the mark and 4 repeats take 9 tokens, more than the sequence of 8"),
    ],
)
def test_impossible_options(options: dict[str, int], message: str) -> None:
    with pytest.raises(WorkbenchError, match=message):
        Induction(**options)
