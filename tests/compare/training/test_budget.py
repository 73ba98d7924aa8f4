"""Minutes become steps once, before step 1; a resumed run keeps them."""

from __future__ import annotations

import json

import pytest
import torch

from tests.compare.training.counting import Counting
from tests.compare.training.runs import PATTERN, SIZES, Crash, bits, crash_at, run, settings
from workbench.compare.training import budget
from workbench.compare.training.budget import evaluate_every, planned, seconds_by_threads
from workbench.compare.training.learner import sizes_for
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

FREE = settings(evaluate_every=0)


def test_what_fits():
    plan = planned(2.0, 0.125, 1.0, 10.0, FREE)
    # 120 s, 3 % of them kept back, 10 s measured, 8 evaluations of 1 s.
    assert (plan.steps, plan.evaluations) == (787, 8)
    assert str(plan) == "about 787 steps in 2 min: 125 ms a step, 8 evaluation(s) of 1.0 s"
    assert (plan.settings(FREE).steps, plan.settings(FREE).evaluate_every) == (787, 99)


def test_a_long_evaluation_is_made_less_often():
    assert planned(2.0, 0.1, 6.0, 0.0, FREE).evaluations == 3
    assert planned(2.0, 0.1, 100.0, 0.0, FREE).evaluations == 1


def test_evaluations_that_were_asked_for_cost_steps():
    plan = planned(1.0, 0.125, 1.0, 0.0, settings(evaluate_every=10))
    assert (plan.steps, plan.evaluations) == (258, 26)
    assert plan.settings(settings(evaluate_every=10)).evaluate_every == 10


def test_there_is_always_a_step():
    assert planned(0.01, 5.0, 1.0, 30.0, FREE).steps == 1


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (8, 1), (9, 2), (500, 63)])
def test_evaluations_are_spread_over_the_run(steps, every):
    assert evaluate_every(steps) == every


@pytest.mark.parametrize("minutes", [0, -1.0, float("nan"), float("inf"), 1e308])
def test_a_time_that_is_none_is_refused(minutes):
    with pytest.raises(WorkbenchError, match="minutes must be more than 0"):
        run(minutes=minutes)


def test_a_planned_run_is_that_run_and_is_resumed_as_planned(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "_MEASURE_SECONDS", 0.0)
    monkeypatch.setattr(budget, "planned", lambda *measured: budget.Plan(1.0, 6, 2, *measured[1:4]))
    with pytest.raises(Crash):
        run(minutes=1.0, changes={"evaluate_every": 0}, directory=tmp_path, watchers=[crash_at(5)])
    stored = json.loads((tmp_path / "run.json").read_text())
    assert (stored["settings"]["steps"], stored["settings"]["evaluate_every"]) == (6, 3)
    assert stored["plan"]["step_seconds"] > 0
    resumed = run(minutes=1.0, changes={"evaluate_every": 0}, directory=tmp_path, resume=True)
    # Measuring has left no trace in the numbers.
    assert bits(resumed) == bits(run(changes={"steps": 6, "evaluate_every": 3}))
    assert resumed.environment["plan"] == stored["plan"]


def test_thread_counts_are_measured_in_turns_and_left_as_they_were(monkeypatch):
    monkeypatch.setattr(budget, "_MEASURE_SECONDS", 0.0)
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    data = Counting()
    measured = seconds_by_threads(Pattern(PATTERN), sizes_for(SIZES, data), data, FREE, (2, 1))
    assert list(measured) == [2, 1]
    assert all(seconds > 0 for seconds in measured.values())
    assert asked == [1, 2, 1, torch.get_num_threads()]
