"""A run that was interrupted, anywhere and however, goes on to the same bits; and what is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.compare.training import runs
from tests.compare.training.counting import Counting
from tests.compare.training.runs import PATTERN, SIZES, WITH_EXPERTS, Crash, bits, crash_at, run
from workbench.compare.training import loop
from workbench.compare.training.directory import RunDirectory, open_directory
from workbench.compare.training.record import Evaluation, Step
from workbench.compare.training.stopping import TrainingStopped
from workbench.errors import WorkbenchError


@cache
def uninterrupted(pattern=PATTERN, masked: bool = False):
    torch.set_num_threads(1)
    return bits(run(pattern, data=Counting(masked=masked)))


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


# ------------------------------------------------------------------------------------------ damage


@pytest.fixture(scope="module")
def dead(tmp_path_factory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("dead") / "run"
    with pytest.raises(Crash):
        run(directory=folder, watchers=[crash_at(5)])
    return folder


@pytest.fixture
def died(dead, tmp_path) -> Path:
    """A run that died at step 5: checkpoints of steps 2 and 4, a log up to 5."""
    return Path(shutil.copytree(dead, tmp_path / "run"))


def test_a_damaged_end_of_the_log_is_dropped(died):
    with (died / "log.jsonl").open("ab") as log:
        log.write(b'{"kind": "step", "st')
    assert bits(run(directory=died, resume=True)) == uninterrupted()


@pytest.mark.parametrize(
    "tail",
    [
        b'{"kind": "step", "st',
        b"\xff\xfe\n",
        b"\n",
        b"[]\n",
        b'{"kind": "other", "step": 6, "loss": 1.0}\n',
        b'{"kind": "step", "step": 6, "loss": 1.0}\n',
        b'{"kind": "evaluation", "step": 6, "loss": 1.0, "accuracy": 0.5, "seconds": 0.1}\n',
    ],
)
def test_the_log_is_read_up_to_what_is_damaged_or_out_of_order(dead, tmp_path, tail):
    whole = RunDirectory(dead).points()
    assert [point.step for point in whole] == [1, 2, 3, 3, 4, 5]
    text = (dead / "log.jsonl").read_bytes()
    # What comes after the damage is not taken either, although it is whole.
    (tmp_path / "log.jsonl").write_bytes(text + tail + text)
    assert RunDirectory(tmp_path).points() == whole


def test_a_checkpoint_that_is_ahead_of_the_log_is_not_used(died):
    lines = (died / "log.jsonl").read_text().splitlines(keepends=True)
    (died / "log.jsonl").write_text("".join(lines[:3]))
    with pytest.warns(UserWarning, match=r"resumed from step 2; .*the log ends at step 3"):
        assert bits(run(directory=died, resume=True)) == uninterrupted()


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(died):
    (died / "checkpoints/iter_0000004/metadata.json").unlink()
    with pytest.warns(UserWarning, match="resumed from step 2"):
        assert bits(run(directory=died, resume=True)) == uninterrupted()
    assert (died / "checkpoints/unusable-iter_0000004").is_dir()


def test_a_checkpoint_under_another_name_is_refused(died):
    shutil.rmtree(died / "checkpoints/iter_0000004")
    (died / "checkpoints/iter_0000002").rename(died / "checkpoints/iter_0000003")
    with pytest.raises(WorkbenchError, match=r"iter_0000003 says that it was written after step 2"):
        run(directory=died, resume=True)


def test_what_a_killed_process_left_half_written_is_removed(died):
    (died / "checkpoints/.iter_0000006.partial").mkdir()
    (died / "checkpoints/.iter_0000006.partial/__0_0.distcp").write_bytes(b"half")
    (died / ".log.jsonl.1.part").write_text("half")
    assert bits(run(directory=died, resume=True)) == uninterrupted()
    assert not [*died.glob(".*"), *(died / "checkpoints").glob(".*")]


def test_without_a_usable_checkpoint_nothing_is_thrown_away(died):
    for step in (2, 4):
        (died / f"checkpoints/iter_{step:07d}/metadata.json").unlink()
    before = sorted(died.rglob("*")), (died / "log.jsonl").read_bytes()
    with pytest.raises(WorkbenchError, match=r"no checkpoint of .* can be used"):
        run(directory=died, resume=True)
    assert (sorted(died.rglob("*")), (died / "log.jsonl").read_bytes()) == before


# ----------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("pattern", "arguments", "said"),
    [
        ("M*-", {}, r"pattern: M-\* there, M\*- here"),
        (PATTERN, {"changes": {"learning_rate": 0.5}}, "settings.learning_rate: 0.003 there, 0.5 here"),
        (PATTERN, {"changes": {"steps": 9}}, "settings.steps: 8 there, 9 here"),
        (PATTERN, {"data": Counting(seed=1)}, "data.seed: 0 there, 1 here"),
        (PATTERN, {"minutes": 1.0}, "begun with a number of steps, not with minutes"),
    ],
)
def test_another_run_is_not_resumed(died, pattern, arguments, said):
    before = {path: path.is_file() and path.read_bytes() for path in died.rglob("*")}
    with pytest.raises(WorkbenchError, match=said):
        run(pattern, directory=died, resume=True, **arguments)
    assert {path: path.is_file() and path.read_bytes() for path in died.rglob("*")} == before


def test_when_it_is_saved_may_change_when_a_run_is_resumed(died):
    assert bits(run(directory=died, resume=True, changes={"save_every": 5})) == uninterrupted()


def test_other_sizes_are_not_resumed(died, monkeypatch):
    monkeypatch.setattr(runs, "SIZES", replace(SIZES, moe_ffn=32))
    with pytest.raises(WorkbenchError, match=r"sizes\.moe_ffn: 16 there, 32 here"):
        run(directory=died, resume=True)


def test_a_run_is_not_begun_over_another(died):
    # Said before anything is measured or built.
    with pytest.raises(WorkbenchError, match="holds a run already"):
        run(directory=died, minutes=1000.0)


def test_a_place_that_cannot_hold_a_run_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WorkbenchError, match="file cannot hold a run: File exists"):
        run(directory=tmp_path / "file")


@pytest.mark.parametrize("content", [None, "{", "[]", '{"schema": "other"}', '{"schema": "workbench.run/1"}'])
def test_what_is_no_run_is_not_resumed(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(WorkbenchError, match=re.escape(str(tmp_path))):
        run(directory=tmp_path, resume=True)


def test_a_directory_that_is_not_there_is_not_resumed(tmp_path):
    with pytest.raises(WorkbenchError, match="no such directory"):
        run(directory=tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()
    with pytest.raises(WorkbenchError, match="resume needs the directory"):
        run(resume=True)


def test_two_processes_do_not_share_a_directory(died):
    with open_directory(died, resume=True), pytest.raises(WorkbenchError, match="is in use"):
        run(directory=died, resume=True)


def test_another_thread_count_is_said(died):
    stored = json.loads((died / "run.json").read_text())
    stored["environment"]["threads"] = 64
    (died / "run.json").write_text(json.dumps(stored))
    with pytest.warns(UserWarning, match=r"environment\.threads: 64 there, 1 here"):
        run(directory=died, resume=True)


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
