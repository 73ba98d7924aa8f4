import math
from itertools import permutations

import numpy as np
import pytest

from tests.compare.data.checks import check_data, whole_test_set
from workbench.compare.data.tasks.state_tracking import StateTracking, composition
from workbench.compare.data.tasks.task import TaskData
from workbench.errors import WorkbenchError


@pytest.mark.parametrize(("group", "size"), [("parity", 2), ("Z3", 3), ("Z5", 5), ("S3", 6), ("S4", 24), ("S5", 120)])
def test_compositions_are_groups(group: str, size: int) -> None:
    table = composition(group)
    everything = list(range(size))
    assert table.shape == (size, size)
    assert table[0].tolist() == table[:, 0].tolist() == everything
    assert all(sorted(row.tolist()) == everything for row in (*table, *table.T))
    assert (table[table] == table[:, table]).all(), "(ab)c is not a(bc)"
    assert (table == table.T).all() == (group[0] != "S")


@pytest.mark.parametrize("group", ["S3", "S5"])
def test_symmetric_groups_permute_things(group: str) -> None:
    """Doing a, then b, on real things is the element that the table says."""
    things = tuple("abcde"[: int(group[1])])
    orders = list(permutations(range(len(things))))
    for a, b in [(0, 3), (1, 2), (4, 1), (5, 5)]:
        moved = tuple(things[place] for place in orders[a])
        moved = tuple(moved[place] for place in orders[b])
        assert moved == tuple(things[place] for place in orders[composition(group)[a, b]])


@pytest.mark.parametrize("task", [StateTracking(), StateTracking("parity", 1, 20), StateTracking("S5", 7, 20)], ids=str)
def test_every_answer_is_the_product_of_its_word(task: StateTracking) -> None:
    data = TaskData(task, seed=3)
    table = composition(task.group)
    for batch in (data.train_batch(0, 8), *data.test_batches(40)):
        for tokens, counted in zip(batch.tokens.tolist(), batch.counted.tolist(), strict=True):  # type: ignore[union-attr]
            state, length, asked = 0, 0, []
            place = 0
            while place < len(tokens):
                if tokens[place] == 0:
                    assert length
                    assert tokens[place + 1] == state + 1
                    asked.append(place)
                    state, length, place = 0, 0, place + 1
                else:
                    state, length = int(table[state, tokens[place] - 1]), length + 1
                place += 1
            assert length == 0
            assert len(asked) == task.words
            assert [place for place, answer in enumerate(counted) if answer] == asked


def test_it_keeps_the_protocol() -> None:
    check_data(TaskData(StateTracking(words=2, length=16), seed=1))


def test_what_a_short_view_knows_is_counted() -> None:
    data = TaskData(StateTracking("Z3", words=2, length=12), seed=1, test_rows=30)
    tokens, _ = whole_test_set(data, 30)
    words = [word for row in tokens.tolist() for word in _words(row)]
    short = sum(len(word) <= 4 for word in words) / len(words)
    assert 0 < short < 1
    found = {baseline.name: baseline for baseline in data.baselines()}
    assert found["chance"].accuracy == 1 / 3
    assert found["last 4"].accuracy == pytest.approx(short + (1 - short) / 3)
    assert found["last 4"].loss == pytest.approx((1 - short) * math.log(3))


def _words(row: list[int]) -> list[list[int]]:
    words: list[list[int]] = [[]]
    tokens = iter(row)
    for token in tokens:
        if token:
            words[-1].append(token)
        else:
            next(tokens)  # the answer
            words.append([])
    return words[:-1]


def test_words_are_as_long_as_the_sequence_allows() -> None:
    tokens, _ = whole_test_set(TaskData(StateTracking("S3", words=2, length=12), seed=1), 256)
    assert {len(word) for row in tokens.tolist() for word in _words(row)} == set(range(1, 9))


def test_all_products_are_alike_where_an_element_is_not_seen() -> None:
    table = composition("S3")
    assert all(np.array_equal(np.sort(table[table[a], b]), np.arange(6)) for a in range(6) for b in range(6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "S6"}, "group must be one of parity, Z3, Z5, S3, S4, S5, not 'S6'"),
        ({"words": 0}, "words must be a whole number of at least 1"),
        ({"length": 10}, "4 words of one element take 11 tokens, more than the sequence of 10"),
    ],
)
def test_impossible_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(WorkbenchError, match=message):
        StateTracking(**options)  # type: ignore[arg-type]
