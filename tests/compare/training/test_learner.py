"""The learner: megatron's schedule, evaluation over what is counted, streams of each step, memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from tests.compare.training.counting import Counting
from tests.compare.training.runs import PATTERN, SIZES, run, settings
from workbench.compare.data.batch import Batch
from workbench.compare.training.defaults import TRAINING_SIZES
from workbench.compare.training.learner import Learner, sizes_for, stream_seed
from workbench.errors import WorkbenchError
from workbench.fusion.model import forward_logits
from workbench.pattern.model import Pattern


def learner(data=None, **changes) -> Learner:
    data = data or Counting()
    return Learner.build(Pattern(PATTERN), sizes_for(SIZES, data), data, settings(**changes))


def rates(**changes) -> list[float]:
    made = learner(learning_rate=1.0, min_learning_rate=0.2, **changes)
    found = []
    for _ in range(made.settings.steps):
        made.schedule.step(1)
        (rate,) = {group["lr"] for group in made.trainer.optimizer.param_groups}
        found.append(rate)
    return found


def test_the_cosine_ends_at_the_smallest_rate():
    expected = [0.5, 1.0, *(0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * done / 4)) for done in (1, 2, 3, 4))]
    assert rates(steps=6, warmup_steps=2) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("decay", "warmup", "expected"),
    [
        ("linear", 2, [0.5, 1.0, 0.8, 0.6, 0.4, 0.2]),
        ("linear", 0, [1 - 0.8 * step / 6 for step in range(1, 7)]),
        ("constant", 4, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]),
        # Longer than the run: it ends one step before the last.
        ("cosine", 99, [0.2, 0.4, 0.6, 0.8, 1.0, 0.2]),
    ],
)
def test_the_other_schedules(decay, warmup, expected):
    assert rates(steps=6, warmup_steps=warmup, decay=decay) == pytest.approx(expected, rel=1e-12)


def test_a_run_of_one_step():
    assert rates(steps=1) == [0.2]
    assert [point.learning_rate for point in run(changes={"steps": 1, "decay": "constant"}).steps] == [3e-3]


def test_weight_decay_is_for_matrices():
    decays = {
        group["wd_mult"]: group["weight_decay"] for group in learner(weight_decay=0.25).trainer.optimizer.param_groups
    }
    assert decays == {0.0: 0.0, 1.0: 0.25}


@pytest.mark.parametrize("masked", [False, True])
def test_an_evaluation_is_over_what_is_counted(masked):
    data = Counting(masked=masked)
    made = learner(data)
    for _ in range(3):
        made.step()
    (whole,) = data.test_batches(data.test_set)
    with torch.no_grad():
        made.trainer.model.eval()
        logits = forward_logits(made.trainer.model, whole.tokens[:, :-1])
    targets = whole.tokens[:, 1:]
    counted = torch.ones_like(targets, dtype=torch.bool) if whole.counted is None else whole.counted
    assert 0 < int(counted.sum()) < targets.numel() + (not masked)
    for rows in (1, 4, 6):
        found = learner(data, test_rows=rows)
        for _ in range(3):
            found.step()
        evaluation = found.evaluate()
        assert evaluation.step == 3
        assert evaluation.loss == pytest.approx(float(F.cross_entropy(logits[counted], targets[counted])), rel=1e-5)
        assert evaluation.accuracy == float((logits[counted].argmax(-1) == targets[counted]).double().mean())


def test_an_evaluation_changes_nothing_that_follows():
    evaluated, plain = learner(), learner()
    for made in (evaluated, plain):
        made.step()
    evaluated.evaluate()
    one, other = evaluated.step(), plain.step()
    assert (one.loss, one.grad_norm) == (other.loss, other.grad_norm)


def test_a_test_set_that_counts_nothing_is_refused():
    class Nothing(Counting):
        def test_batches(self, rows):
            yield Batch(
                torch.zeros(1, self.sequence + 1, dtype=torch.int64), torch.zeros(1, self.sequence, dtype=torch.bool)
            )

    with pytest.raises(WorkbenchError, match="counts no target"):
        learner(Nothing()).evaluate()


def test_streams_differ_from_step_to_step_and_from_seed_to_seed():
    seeds = {stream_seed(seed, step) for seed in range(20) for step in range(100)}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_what_a_step_records():
    made = learner()
    steps = [made.step() for _ in range(2)]
    assert [point.tokens for point in steps] == [64, 128]
    assert all(point.seconds > 0 and point.memory_bytes > 10_000_000 for point in steps)


def test_without_clipping_the_norm_is_measured_all_the_same():
    free, loose = learner(clip_grad=0.0).step(), learner(clip_grad=1e9).step()
    assert (free.loss, free.grad_norm) == (loose.loss, loose.grad_norm)
    assert free.grad_norm > 0.01


@pytest.mark.parametrize("pattern", ["MG*-E", "[D-]", "[+E]/M"])
def test_the_default_sizes_fit_every_symbol(pattern):
    data = Counting()
    made = Learner.build(Pattern(pattern), sizes_for(TRAINING_SIZES, data), data, settings())
    assert made.step().loss == pytest.approx(math.log(32), rel=0.1)
