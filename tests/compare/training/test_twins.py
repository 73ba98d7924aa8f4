"""Twins in lockstep: the same bits, told apart by their side; a difference is found where there is one."""

from __future__ import annotations

import signal
from dataclasses import replace
from math import isnan, nextafter

import pytest

from tests.compare.training.counting import Counting
from tests.compare.training.runs import SIZES, WITH_EXPERTS, bits, run, settings
from workbench.compare.training.record import Evaluation, Step
from workbench.compare.training.twin_runs import compared
from workbench.compare.training.twins import train_twins
from workbench.errors import WorkbenchError


def twins(pattern=WITH_EXPERTS, against=None, **arguments):
    return train_twins(pattern, against, data=Counting(), settings=settings(), sizes=SIZES, **arguments)


class Watcher:
    def __init__(self) -> None:
        self.starts, self.points = {}, {"left": [], "right": []}

    def begin(self, start, side) -> None:
        self.starts[side] = start.pattern

    def __call__(self, point, side) -> None:
        self.points[side].append(point)


def test_twins_are_the_runs_that_each_would_be_alone():
    watcher = Watcher()
    made = twins(watchers=[watcher])
    assert (made.identical, made.first_difference) == (True, None)
    assert (made.largest_loss_difference, made.largest_grad_norm_difference) == (0.0, 0.0)
    assert bits(made.left) == bits(made.right) == bits(run(WITH_EXPERTS))
    assert watcher.starts == {"left": "M[*E]", "right": "M*E"}
    for side, record in (("left", made.left), ("right", made.right)):
        assert [point for point in watcher.points[side] if isinstance(point, Step)] == list(record.steps)
        assert [point for point in watcher.points[side] if isinstance(point, Evaluation)] == list(record.evaluations)
    data = made.to_json()
    assert (data["schema"], data["identical"], data["right"]["pattern"]) == ("workbench.training-twins/1", True, "M*E")


def test_a_difference_is_found():
    left = run(changes={"steps": 4})
    last = left.steps[2]
    steps = [*left.steps[:2], replace(last, loss=nextafter(last.loss, 9.0)), left.steps[3]]
    found = compared(left, replace(left, steps=tuple(steps)))
    assert (found.identical, found.first_difference) == (False, 3)
    assert 0 < found.largest_loss_difference < 1e-12
    assert found.largest_grad_norm_difference == 0.0
    test = replace(left, evaluations=(replace(left.evaluations[0], loss=float("nan")), *left.evaluations[1:]))
    assert compared(left, test).first_difference == 3
    assert isnan(compared(left, test).largest_loss_difference)
    assert compared(test, test).identical


def test_what_is_not_the_same_without_brackets_is_refused():
    with pytest.raises(WorkbenchError, match=r"M\[\*E\] and M\* are no twins"):
        twins(against="M*")
    with pytest.raises(WorkbenchError, match=r"M\*E and its twin are one pattern"):
        twins("M*E")


def test_both_stop_after_the_same_step():
    def stop(point, side) -> None:
        if point.step == 2 and side == "right":
            signal.raise_signal(signal.SIGINT)

    made = twins(watchers=[stop])
    assert made.stopped_by == "SIGINT"
    assert len(made.left.steps) == len(made.right.steps) == 2
    assert made.identical
