"""The watchers that come with training: what the bar shows, what the lines hold."""

from __future__ import annotations

import io
import json

from workbench.compare.training.progress import JsonLines, ProgressBar
from workbench.compare.training.record import Evaluation, Step
from workbench.compare.training.watching import Start, begin

POINTS = (Step(1, 2.5, 1.0, 1e-3, 64, 0.1), Evaluation(1, 2.25, 0.5, 0.1), Step(2, 0.1 + 0.2, 1.0, 1e-3, 128, 0.1))


def start(steps: int = 2, before=()) -> Start:
    return Start("M", 10, steps, {}, {}, (), before=before)


def test_a_bar_shows_steps_and_losses():
    shown = io.StringIO()
    progress = ProgressBar(file=shown, mininterval=0, ascii=True)
    begin([progress, print], start())
    for point in POINTS:
        progress(point)
    assert progress.bar is None
    last = shown.getvalue().split("\r")[-1]
    assert "2/2" in last
    assert "loss 0.300, test 2.250" in last


def test_a_resumed_bar_begins_where_it_was():
    progress = ProgressBar(file=io.StringIO())
    progress.begin(start(5, POINTS))
    assert (progress.bar.n, progress.bar.total) == (2, 5)
    progress.close()


def test_twins_have_one_bar():
    shown = io.StringIO()
    progress = ProgressBar(file=shown, mininterval=0)
    for side in ("left", "right"):
        begin([progress], start(), side)
    for point in POINTS[:2]:
        for side in ("left", "right"):
            progress(point, side)
    assert progress.bar.n == 1
    progress.close()


def test_lines_give_the_same_bits_back():
    stream = io.StringIO()
    write = JsonLines(stream)
    for point in POINTS:
        write(point)
    write(POINTS[0], "right")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line.pop("kind") for line in lines] == ["step", "evaluation", "step", "step"]
    assert lines[3].pop("side") == "right"
    assert (Step(**lines[0]), Evaluation(**lines[1]), Step(**lines[2]), Step(**lines[3])) == (*POINTS, POINTS[0])
