import pytest

from tests.compare.data.checks import check_data, whole_test_set
from workbench.compare.data.tasks.selective_copying import SelectiveCopying
from workbench.compare.data.tasks.task import TaskData
from workbench.errors import WorkbenchError


@pytest.mark.parametrize("task", [SelectiveCopying(), SelectiveCopying(copied=5, vocabulary=20, length=10)], ids=str)
def test_what_follows_the_mark_is_what_was_not_noise(task: SelectiveCopying) -> None:
    data = TaskData(task, seed=3)
    for batch in (data.train_batch(0, 8), *data.test_batches(40)):
        for tokens, counted in zip(batch.tokens.tolist(), batch.counted.tolist(), strict=True):  # type: ignore[union-attr]
            mark = tokens.index(1)
            kept = [token for token in tokens[:mark] if token]
            assert len(kept) == task.copied
            assert tokens[mark + 1 :] == kept
            assert counted == [place >= mark for place in range(task.length)]


def test_it_keeps_the_protocol() -> None:
    check_data(TaskData(SelectiveCopying(copied=4, length=20), seed=1))


def test_tokens_reach_every_place_before_the_mark() -> None:
    tokens, _ = whole_test_set(TaskData(SelectiveCopying(copied=3, length=12), seed=1), 256)
    assert (tokens[:, :9] > 1).any(0).all()
    assert (tokens[:, :9] == 0).any(0).all()


def test_the_last_token_left_is_known() -> None:
    chance, left = TaskData(SelectiveCopying(copied=1, vocabulary=7, length=12), seed=1).baselines()
    assert (chance.accuracy, left.accuracy, left.loss) == (1 / 7, 1, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"copied": 0}, "copied must be a whole number of at least 1"),
        ({"vocabulary": 1}, "vocabulary must be a whole number of at least 2"),
        ({"copied": 33}, "33 tokens, the mark and their copies take 66 tokens, more than the sequence of 64"),
    ],
)
def test_impossible_options(options: dict[str, int], message: str) -> None:
    with pytest.raises(WorkbenchError, match=message):
        SelectiveCopying(**options)
