"""A run that was interrupted, anywhere and however, goes on to the same bits. What is damaged or refused: `test_recovery`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.compare.training.counting import Counting
from tests.compare.training.runs import WITH_EXPERTS, Crash, bits, crash_at, run, uninterrupted
from workbench.compare.training import loop
from workbench.compare.training.record import Evaluation, Step
from workbench.compare.training.stopping import TrainingStopped


def stop_at(step: int, number: int = signal.SIGINT):
    """A watcher that asks the run to stop, as Ctrl-C does, when it is shown this step."""

    def watch(point) -> None:
        if isinstance(point, Step) and point.step == step:
            signal.raise_signal(number)

    return watch


@pytest.mark.parametrize("step", [1, 4, 8])
def test_a_run_that_died_is_resumed_to_the_same_bits(tmp_path, step):
    # Step 1 is before the first checkpoint, 4 is before its own, 8 is before the last evaluation.
    with pytest.raises(Crash):
        run(directory=tmp_path, watchers=[crash_at(step)])
    resumed = run(directory=tmp_path, resume=True)
    assert bits(resumed) == uninterrupted()
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [
        *(1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 8)
    ]
    assert sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir()) == ["iter_0000006", "iter_0000008"]


@pytest.mark.parametrize(("step", "number"), [(3, signal.SIGINT), (8, signal.SIGTERM)])
def test_a_run_that_was_asked_to_stop_is_saved_and_resumed(tmp_path, step, number):
    before = signal.getsignal(number)
    with pytest.raises(TrainingStopped, match=f"stopped by {number.name} after step {step} of 8") as stopped:
        run(directory=tmp_path, watchers=[stop_at(step, number)], changes={"save_every": 0})
    assert signal.getsignal(number) is before
    # The evaluation that was due is not made, so that the run ends at once; it is made when the run is resumed.
    assert [point.step for point in stopped.value.run.evaluations] == [point for point in (3, 6) if point < step]
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == [f"iter_{step:07d}"]
    assert bits(run(directory=tmp_path, resume=True)) == uninterrupted()


def test_a_run_in_memory_that_is_stopped_hands_out_what_it_has():
    with pytest.raises(TrainingStopped, match="in memory only") as stopped:
        run(watchers=[stop_at(3)])
    assert bits(stopped.value.run)[0] == uninterrupted()[0][:3]


def test_a_second_signal_ends_the_run_at_once(tmp_path):
    def impatient(point) -> None:
        if point.step == 3:
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as interrupted:
        run(directory=tmp_path, watchers=[impatient])
    assert not isinstance(interrupted.value, TrainingStopped)
    assert bits(run(directory=tmp_path, resume=True)) == uninterrupted()


def test_fused_goes_on_as_unfused_and_back(tmp_path):
    with pytest.raises(TrainingStopped):
        run(WITH_EXPERTS, directory=tmp_path, watchers=[stop_at(3)])
    with pytest.raises(TrainingStopped):
        run("M*E", directory=tmp_path, resume=True, watchers=[stop_at(5)])
    assert bits(run(WITH_EXPERTS, directory=tmp_path, resume=True)) == uninterrupted(WITH_EXPERTS)


def test_masked_losses_and_bf16_are_resumed_too(tmp_path):
    with pytest.raises(TrainingStopped):
        run(data=Counting(masked=True), directory=tmp_path / "masked", watchers=[stop_at(3)])
    assert bits(run(data=Counting(masked=True), directory=tmp_path / "masked", resume=True)) == uninterrupted(
        masked=True
    )
    half = {"dtype": "bf16"}
    with pytest.raises(TrainingStopped):
        run(changes=half, directory=tmp_path / "half", watchers=[stop_at(3)])
    assert bits(run(changes=half, directory=tmp_path / "half", resume=True)) == bits(run(changes=half))


def test_when_a_run_is_saved_changes_no_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "_SAVING", 1e9)
    assert bits(run(directory=tmp_path, changes={"save_every": 0})) == uninterrupted()
    names = sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir())
    assert names == ["iter_0000007", "iter_0000008"]


def test_a_finished_run_is_read_back(tmp_path):
    made = run(directory=tmp_path)
    assert run(directory=tmp_path, resume=True).steps == made.steps


def test_watchers_of_a_resumed_run_are_given_what_was_before(tmp_path):
    class Watcher:
        def __init__(self) -> None:
            self.seen: list[object] = []

        def begin(self, start) -> None:
            self.start = start

        def __call__(self, point) -> None:
            self.seen.append(point)

    with pytest.raises(TrainingStopped):
        run(directory=tmp_path, watchers=[stop_at(5)])
    watcher = Watcher()
    made = run(directory=tmp_path, resume=True, watchers=[watcher])
    assert (watcher.start.done, watcher.start.directory) == (5, str(tmp_path))
    points = [*watcher.start.before, *watcher.seen]
    assert [point for point in points if isinstance(point, Step)] == list(made.steps)
    assert [point for point in points if isinstance(point, Evaluation)] == list(made.evaluations)


# ------------------------------------------------------------------------------------------- kill -9

_CHILD = """
import time, torch
torch.set_num_threads(1)
import workbench.fusion
from tests.compare.training.runs import run
run(directory={directory!r}, watchers=[lambda point: time.sleep(0.05)])
"""


def test_a_killed_process_is_resumed_to_the_same_bits(tmp_path, repo_root):
    directory = tmp_path / "run"
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD.format(directory=str(directory))],
        cwd=repo_root,
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        stderr=subprocess.DEVNULL,
    )
    log = directory / "log.jsonl"
    try:
        deadline = time.monotonic() + 120
        while not (log.is_file() and log.read_bytes().count(b"\n") >= 5):
            assert child.poll() is None, "the run ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not (directory / "checkpoints/iter_0000008").exists()
    assert bits(run(directory=directory, resume=True)) == uninterrupted()
