"""Placing stages: optimal by comparison with every possible placement, and quick on long patterns."""

from __future__ import annotations

from itertools import combinations_with_replacement, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.cost.balance import Balance, balance, stage_balance
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

ITEMS = st.lists(st.sampled_from(["M", "-", "E", "*", "[M-]", "[*E]"]), min_size=1, max_size=7)


def every_split(costs, stages, first, last):
    """(slowest, sum of squares) of every way to place the ends, empty stages included."""
    for cuts in combinations_with_replacement(range(len(costs) + 1), stages - 1):
        ends = (0, *cuts, len(costs))
        loads = [sum(costs[a:b]) for a, b in pairwise(ends)]
        loads[0] += first
        loads[-1] += last
        yield max(loads), sum(load * load for load in loads)


@given(ITEMS, st.integers(1, 5), st.data())
@settings(max_examples=300)
def test_no_placement_is_better(items, stages, data):
    number = st.integers(0, 12)
    costs = data.draw(st.lists(number, min_size=len(items), max_size=len(items)))
    first, last = data.draw(number), data.draw(number)
    found = balance("".join(items), stages, costs, first=first, last=last)
    loads = found.stage_costs
    assert (max(loads), sum(load * load for load in loads)) == min(every_split(costs, stages, first, last))
    assert [str(block) for block in found.pattern.blocks] == items
    assert len(found.pattern.stages) == stages
    assert stage_balance(found.pattern, costs, first=first, last=last) == found


@given(ITEMS, st.integers(1, 4), st.data())
def test_floats_are_exact_too(items, stages, data):
    number = st.floats(0, 1e6)
    costs = data.draw(st.lists(number, min_size=len(items), max_size=len(items)))
    whole = balance("".join(items), stages, [cost * 2**40 for cost in costs])
    assert balance("".join(items), stages, costs).pattern == whole.pattern


def test_filling_stages_up_to_the_mean_would_do_worse():
    """The mean is 4: 3 | 1+3 | 1+4 is what filling up gives, 3+1 | 3+1 | 4 is possible."""
    found = balance("M" * 5, 3, [3, 1, 3, 1, 4])
    assert (str(found.pattern), found.stage_costs) == ("MM|MM|M", (4, 4, 4))
    assert (found.slowest, found.efficiency) == (0, 1.0)


def test_a_group_is_never_split_and_mtp_stays():
    found = balance("[*-][*-]M|M/[*E]/[*E]", 2, [4, 4, 1, 1], last=3)
    assert (str(found.pattern), found.stage_costs) == ("[*-][*-]|MM/[*E]/[*E]", (8, 5))


def test_a_heavy_output_layer_may_have_a_stage_to_itself():
    found = balance("MM", 2, [1, 1], last=9)
    assert (str(found.pattern), found.stage_costs) == ("MM|", (2, 9))


def test_among_equals_the_most_even_split():
    assert balance("MMMM", 3, [4, 1, 1, 1]).stage_costs in ((4, 1, 2), (4, 2, 1))


def test_a_model_of_118_sublayers_into_16_stages():
    pattern = Pattern("M-M-M-M*-M-M-M-M-M*-" * 5 + "M-M-M-M*-M-M-M-M-M")
    costs = [3 + index % 5 for index in range(len(pattern.blocks))]
    found = balance(pattern, 16, costs)
    assert len(pattern.sublayers) == 118
    assert sum(found.stage_costs) == sum(costs)
    assert max(found.stage_costs) < sum(costs) / 16 + max(costs)


def test_efficiency_with_and_without_the_bubble():
    found = stage_balance(Pattern("M|MM"), [1, 1, 1])
    assert found.efficiency == 0.75
    assert found.bubble_efficiency(3) == pytest.approx(0.75 * 3 / 4)
    assert stage_balance(Pattern("M|M"), [0, 0]).efficiency == 1.0
    assert found.to_json() == {
        "pattern": "M|MM",
        "by": "",
        "stage_costs": [1, 2],
        "slowest_stage": 1,
        "efficiency": 0.75,
    }


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: balance("MM", 0, [1, 1]), "stages must be a whole number of at least 1, not 0"),
        (lambda: balance("MM", True, [1, 1]), "stages must be a whole number of at least 1, not True"),
        (lambda: balance("M[*-]", 2, [1, 1, 1]), "3 costs for 2 blocks of M[*-]"),
        (lambda: balance("MM", 2, [1, -1]), "costs must be finite numbers of at least 0"),
        (lambda: balance("MM", 2, [1, float("nan")]), "costs must be finite numbers of at least 0"),
        (
            lambda: Balance(Pattern("M"), (1,)).bubble_efficiency(0),
            "micro_batches must be a whole number of at least 1, not 0",
        ),
    ],
)
def test_bad_arguments(call, said):
    with pytest.raises(WorkbenchError) as caught:
        call()
    assert str(caught.value) == said


def test_an_empty_pattern():
    assert balance("", 2, []).stage_costs == (0, 0)
