"""A sweep: equal costs, one run a seed, a result that survives JSON and shows itself."""

import pytest

from tests.compare.training.counting import Counting
from tests.compare.training.runs import SIZES, settings
from workbench.compare.sweep.result import Quality, Sweep
from workbench.compare.sweep.run import sweep
from workbench.errors import WorkbenchError
from workbench.render import text
from workbench.views import sweep as view

PATTERNS = ["MM", "M*", "[M-][*-]"]


@pytest.fixture(scope="module")
def swept():
    told = []
    found = sweep(
        PATTERNS,
        Counting(),
        settings(steps=4, evaluate_every=2),
        sizes=SIZES,
        seeds=(5, 6),
        tolerance=0.1,
        progress=lambda *said: told.append(said),
    )
    return found, told


def test_every_pattern_is_trained_once_a_seed_at_equal_parameters(swept):
    found, told = swept
    assert [entrant.pattern for entrant in found.entrants] == PATTERNS
    for entrant in found.entrants:
        assert [run.settings["seed"] for run in entrant.runs] == [5, 6]
        assert {run.parameters for run in entrant.runs} == {entrant.parameters}
        assert abs(entrant.parameters / found.entrants[0].parameters - 1) <= 0.1
        assert entrant.quality("loss").values == tuple(run.test_loss for run in entrant.runs)
        assert entrant.runs[0].steps != entrant.runs[1].steps
    assert [done for done, _, _ in told] == list(range(7))
    assert told[0] == (0, 6, "MM, seed 5")
    assert told[-1] == (6, 6, "")


def test_the_result_survives_json(swept):
    found, _ = swept
    assert Sweep.from_json(found.to_json()) == found
    for data in ({}, {**found.to_json(), "schema": "x"}, {**found.to_json(), "entrants": [1]}, []):
        with pytest.raises(WorkbenchError, match="not a sweep"):
            Sweep.from_json(data)


def test_it_is_shown_with_every_number(swept):
    found, _ = swept
    shown = text.render(view.document(found, "loss"), 160)
    for entrant in found.entrants:
        for value in entrant.quality("loss").values:
            assert f"{value:.3f}" in shown
    assert "Equal parameters; test loss (nats a counted token) after 4 steps." in shown
    curves = view.learning(found, "loss").panels[0].series
    assert [[step for step, _ in series.points] for series in curves] == [[2, 4]] * 3
    marks = view.against_cost(found, "loss").panels[0].series
    assert [series.points[0][0] for series in marks] == [entrant.flops_per_token for entrant in found.entrants]
    assert "<img" in view.mimebundle(found)["text/html"]


def test_an_entrant_is_found_by_its_pattern(swept):
    found, _ = swept
    assert found["M*"].pattern == "M*"
    with pytest.raises(WorkbenchError, match="'MMM' is not in the sweep: MM, M"):
        found["MMM"]
    with pytest.raises(WorkbenchError, match="quality 'speed'"):
        found["M*"].quality("speed")


def test_the_error_bar_is_the_range():
    quality = Quality((0.5, 1.0, 0.75))
    assert (quality.low, quality.mean, quality.high) == (0.5, 0.75, 1.0)


@pytest.mark.parametrize("wrong", [{"patterns": []}, {"patterns": ["M", "M"]}, {"seeds": ()}, {"seeds": (1, 1)}])
def test_what_is_no_sweep_is_refused_before_anything_is_trained(wrong):
    arguments = {"patterns": ["M", "*"], "seeds": (1,)} | wrong
    with pytest.raises(WorkbenchError, match="a sweep needs every"):
        sweep(arguments["patterns"], Counting(), settings(), sizes=SIZES, seeds=arguments["seeds"])
