"""A sweep's numbers over its seeds, where they are hard: equal ones, and a seed that diverged."""

from __future__ import annotations

import json
import math

from workbench.cli.output import json_text
from workbench.compare.sweep.result import Entrant, Quality, Sweep
from workbench.compare.training.record import Evaluation, Step, TrainingRun
from workbench.render import chart
from workbench.views.sweep import against_cost

# fmean of three of it is one bit more.
BESIDE = 0.49026315372853413
NAN = math.nan


def entrant(*losses: float) -> Entrant:
    runs = (
        TrainingRun(
            "M", 10, {"seed": seed}, {}, (Step(1, loss, loss, 0.1, 8, 0.1),), (Evaluation(1, loss, 0.5, 0.1),), ()
        )
        for seed, loss in enumerate(losses)
    )
    return Entrant("M", {}, 10, 100.0, tuple(runs))


def test_the_mean_of_equal_seeds_is_drawn():
    quality = Quality((BESIDE,) * 3)
    assert sum(quality.values) / 3 > BESIDE
    assert quality.low == quality.mean == quality.high
    shown = Sweep("parameters", (entrant(BESIDE, BESIDE, BESIDE),), {}, ())
    assert chart.svg(against_cost(shown, "loss"))


def test_a_seed_that_diverged_is_not_left_out_of_the_range_whatever_its_place():
    for values in ((1.0, NAN, 2.0), (NAN, 1.0, 2.0), (1.0, 2.0, NAN)):
        quality = Quality(values)
        assert all(map(math.isnan, (quality.mean, quality.low, quality.high)))


def test_a_seed_that_diverged_comes_back_from_json():
    shown = Sweep("parameters", (entrant(1.0, NAN, math.inf),), {}, ())
    read = Sweep.from_json(json.loads(json_text(shown.to_json())))
    (first, second, third) = read["M"].runs
    assert (first.test_loss, third.test_loss) == (1.0, math.inf)
    assert math.isnan(second.test_loss)
    assert math.isnan(second.steps[0].grad_norm)
