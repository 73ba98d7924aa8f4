"""What a run directory survives, and what is refused: damaged ends, damaged checkpoints, another run, another process."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.compare.training import runs
from tests.compare.training.counting import Counting
from tests.compare.training.runs import PATTERN, SIZES, Crash, bits, crash_at, run, uninterrupted
from workbench.compare.training.directory import RunDirectory, open_directory
from workbench.errors import WorkbenchError


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
        b"1\n",
        b"[" * 100_000 + b"\n",
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
