"""`train` in memory: points, watchers, twins, dropout, what is refused."""

from __future__ import annotations

import pytest

from tests.compare.training.counting import Counting
from tests.compare.training.runs import WITH_EXPERTS, bits, run
from workbench.compare.training.record import Evaluation, Step, TrainingRun
from workbench.compare.training.watching import Start
from workbench.errors import WorkbenchError


def test_a_model_learns_what_can_be_learnt():
    made = run(changes={"steps": 40, "rows": 8, "micro_batches": 1, "evaluate_every": 20})
    assert [point.step for point in made.steps] == list(range(1, 41))
    assert [point.step for point in made.evaluations] == [20, 40]
    assert made.steps[-1].tokens == 40 * 8 * 16
    assert made.test_loss < made.baselines[0].loss - 1.0
    assert made.test_accuracy > 0.5
    assert TrainingRun.from_json(made.to_json()) == made
    assert made.environment["sizes"]["vocab_size"] == 32


@pytest.mark.parametrize("masked", [False, True])
def test_brackets_and_watchers_change_no_bit(masked):
    seen = []
    fused = run(WITH_EXPERTS, data=Counting(masked=masked), watchers=[seen.append])
    plain = run("M*E", data=Counting(masked=masked))
    assert bits(fused) == bits(plain)
    assert [point for point in seen if isinstance(point, Step)] == list(fused.steps)
    assert [point for point in seen if isinstance(point, Evaluation)] == list(fused.evaluations)
    assert bits(run(WITH_EXPERTS, changes={"seed": 5}, data=Counting(masked=masked))) != bits(fused)


def test_a_watcher_is_told_what_begins():
    class Watcher:
        def begin(self, start: Start) -> None:
            self.start = start

        def __call__(self, point) -> None:
            assert self.start.steps == 2

    watcher = Watcher()
    made = run(changes={"steps": 2}, watchers=[watcher])
    assert (watcher.start.pattern, watcher.start.parameters) == (made.pattern, made.parameters)
    assert (watcher.start.baselines, watcher.start.done) == (made.baselines, 0)


def test_an_empty_pattern_is_refused():
    with pytest.raises(WorkbenchError, match="nothing to train"):
        run("|")
