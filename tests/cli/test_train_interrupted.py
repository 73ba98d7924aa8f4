"""A real `workbench train`, interrupted by Ctrl-C in a process of its own, and resumed as it says itself."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time

from workbench.compare.training.record import TrainingRun

REAL = (
    *(
        "train",
        "[*-]",
        "--data",
        "text.txt",
        "--sizes",
        "sizes.json",
        "--sequence",
        "16",
        "--rows",
        "2",
        "--steps",
        "400",
    ),
    *("--evaluate-every", "80", "--threads", "1"),
)


def points(path):
    """Every number of a written run but times and memory."""
    made = TrainingRun.from_json(json.loads(path.read_text()))
    steps = [(point.step, point.loss, point.grad_norm, point.learning_rate) for point in made.steps]
    return steps, [(point.step, point.loss, point.accuracy) for point in made.evaluations]


def test_interrupted_by_ctrl_c_and_resumed_the_curve_is_the_same_bits(run, tmp_path):
    (tmp_path / "text.txt").write_text("".join(f"{number * number} is {number} squared\n" for number in range(400)))
    (tmp_path / "sizes.json").write_text('{"hidden_size": 16, "ffn_hidden_size": 16}')
    command = [sys.executable, "-m", "workbench", *REAL, "--directory", "run"]
    child = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    log = tmp_path / "run/log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.is_file() and log.read_bytes().count(b"\n") >= 20):
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "stopped by SIGINT after step" in said
    assert f"workbench {shlex.join(REAL)} --directory run --resume" in said

    resumed = run(*REAL, "--directory", "run", "--resume", "--output", "resumed.json")
    assert (resumed.status, resumed.out.splitlines()[2].split(" of ")[0][:18]) == (0, "resumed after step")
    assert run(*REAL, "--output", "whole.json", "--quiet").status == 0
    assert points(tmp_path / "resumed.json") == points(tmp_path / "whole.json")
    refused = run(*REAL, "--directory", "run", "--resume", "--seed", "7")
    assert refused.status == 2
    assert "settings.seed: 1234 there, 7 here" in refused.err
