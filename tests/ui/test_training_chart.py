"""The training chart without a browser: what is drawn when, what is displayed, what the page is told."""

import time

import pytest

from workbench.compare.training.record import Baseline, Evaluation, Step
from workbench.compare.training.watching import Start
from workbench.ui import training_chart
from workbench.ui.training_chart import TrainingChart


def start(pattern="M[*-]", steps=3, before=()):
    return Start(pattern, 10, steps, {}, {}, (Baseline("bigram", 2.0),), before)


def step(number, loss):
    return Step(number, loss, 1.0, 1e-3, number * 100, 0.5, 2**20)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless a test moves it; drawing takes 0.1 s of it."""

    class Clock:
        now = 100.0

    compute = training_chart.chart_state.compute

    def slow(chart):
        Clock.now += 0.1
        return compute(chart)

    monkeypatch.setattr(training_chart.chart_state, "compute", slow)
    monkeypatch.setattr(time, "monotonic", lambda: Clock.now)
    return Clock


def test_it_is_drawn_when_time_has_passed_and_at_the_end(clock):
    chart = TrainingChart(seconds=1.0)
    chart.begin(start())
    assert chart.state["places"] == []
    chart(step(1, 3.0))
    assert chart.state["places"] == []
    clock.now += 1.5  # more than a second, and less than a drawing is worth
    chart(step(2, 2.5))
    assert chart.state["places"] == []
    clock.now += 1.0
    chart(Evaluation(2, 2.75, 0.5, 0.1))
    assert chart.state["places"] == [1, 2]
    chart(step(3, 2.25))
    assert chart.state["places"] == [1, 2, 3]


def test_the_page_is_told_every_number():
    chart = TrainingChart()
    chart.begin(start(steps=2))
    chart(step(1, 3.0))
    chart(step(2, 2.123456789))
    curves = {(panel, name): texts for panel, name, texts in chart.state["curves"]}
    assert curves["loss (nats a token)", "M[*-]"] == ["3", "2.12345679"]
    assert curves["tokens a second", "M[*-]"] == ["", "200"]
    assert chart.state["said"] == "Training: M[*-]: loss 2.1235 at step 2"
    assert len(chart.state["frames"]) == 3
    for left, top, width, height, low, high in chart.state["frames"]:
        assert 0 < left < left + width <= 1
        assert 0 < top < top + height <= 1
        assert low <= 1 <= 2 <= high


def test_twins_are_two_curves():
    chart = TrainingChart()
    chart.begin(start("M[*-]", steps=1), "left")
    chart.begin(start("M*-", steps=1), "right")
    chart(step(1, 3.0), "left")
    chart(step(1, 3.0), "right")
    assert [name for panel, name, _ in chart.state["curves"] if panel.startswith("loss")] == ["M[*-]", "M*-"]
    assert ["difference of loss", "M[*-] − M*-", ["0"]] in chart.state["curves"]


def test_a_resumed_run_shows_what_was_recorded_before():
    chart = TrainingChart()
    chart.begin(start(before=(step(1, 3.0), step(2, 2.5), Evaluation(2, 2.75, 0.5, 0.1))))
    assert chart.state["places"] == [1, 2]
    assert "test loss 2.7500" in chart.state["said"]


def test_outside_of_a_notebook_nothing_is_displayed(capsys):
    chart = TrainingChart()
    chart.begin(start(steps=1))
    chart(step(1, 3.0))
    assert capsys.readouterr().out == ""


def test_without_widgets_there_is_a_picture_and_its_numbers():
    chart = TrainingChart()
    chart.begin(start(steps=1))
    chart(step(1, 3.0))
    data, _ = chart._repr_mimebundle_()
    assert "<img" in data["text/html"]
    assert "M[*-]: loss 3.0000 at step 1" in data["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in data


def test_a_long_run_sends_no_more_than_a_thousand_places():
    chart = TrainingChart(seconds=1e9)
    chart.begin(start(steps=5_000))
    for number in range(1, 5_001):
        chart(step(number, 3.0))
    assert len(chart.state["places"]) <= 1001
    assert chart.state["places"][-1] == 5_000
