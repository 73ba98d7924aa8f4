"""The chart of training runs: what is in which panel, and what it says in words."""

from workbench.compare.training.record import Baseline, Evaluation, Step, TrainingRun
from workbench.views.curves import Curve, live_chart, loss_chart, svg


def a_run(pattern: str, losses: list[float], memory: int | None = 2**20) -> TrainingRun:
    steps = tuple(
        Step(number, loss, 1.0, 1e-3, number * 100, 0.5, memory) for number, loss in enumerate(losses, start=1)
    )
    return TrainingRun(
        pattern, 10, {}, {}, steps, (Evaluation(len(steps), losses[-1] + 0.5, 0.25, 0.1),), (Baseline("bigram", 2.0),)
    )


def test_one_run_has_no_difference():
    chart = loss_chart([a_run("M[*-]", [3.0, 2.5, 2.25])])
    assert [panel.label for panel in chart.panels] == ["loss (nats a token)", "tokens a second", "memory (MiB)"]
    assert chart.description == "M[*-]: loss 2.2500 at step 3, test loss 2.7500"
    assert [(level.label, level.value) for level in chart.panels[0].levels] == [("bigram", 2.0)]


def test_twins_are_drawn_over_each_other_with_their_difference():
    chart = loss_chart([a_run("M[*-]", [3.0, 2.5, 2.25]), a_run("M*-", [3.0, 2.0, 2.25])])
    fused, fused_test, unfused, unfused_test = chart.panels[0].series
    assert [fused.dashed, unfused.dashed] == [False, True]
    assert [fused_test.joined, unfused_test.joined] == [False, False]
    (difference,) = chart.panels[1].series
    assert difference.points == ((1, 0.0), (2, 0.5), (3, 0.0))


def test_the_rate_is_of_the_steps_after_the_first():
    chart = loss_chart([a_run("M", [3.0, 2.5, 2.25])])
    assert chart.panels[1].series[0].points == ((2, 200.0), (3, 200.0))


def test_memory_that_is_not_known_is_no_panel():
    assert len(loss_chart([a_run("M", [3.0, 2.0], None)]).panels) == 2


def test_a_run_before_its_first_step():
    curve = Curve("M")
    assert live_chart([curve]).description == "M: no steps yet"
    curve.add(Step(1, 3.0, 1.0, 1e-3, 100, 0.5))
    curve.add(Evaluation(1, 3.5, 0.1, 0.1))
    assert live_chart([curve]).description == "M: loss 3.0000 at step 1, test loss 3.5000"


def test_a_chart_of_runs_is_one_svg():
    assert svg([a_run("M", [3.0, 2.0])]).startswith("<svg ")
