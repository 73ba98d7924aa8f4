import subprocess
import sys

import pytest

from workbench.cli import lab


@pytest.fixture
def calls(monkeypatch):
    found = []
    monkeypatch.setattr(subprocess, "call", lambda command, cwd: found.append((command, cwd)) or 0)
    return found


def test_lab_opens_the_notebooks(run, calls, tmp_path):
    (tmp_path / "notebooks").mkdir()
    assert run("lab").status == 0
    assert run("lab", "--", "--no-browser", "--port", "8889").status == 0
    jupyter = [sys.executable, "-m", "jupyterlab"]
    assert calls == [
        (jupyter, tmp_path / "notebooks"),
        ([*jupyter, "--no-browser", "--port", "8889"], tmp_path / "notebooks"),
    ]


def test_lab_without_notebooks(run, calls, monkeypatch, tmp_path):
    monkeypatch.setattr(lab, "__file__", str(tmp_path / "a" / "b" / "lab.py"))
    done = run("lab")
    assert (done.status, calls) == (2, [])
    assert done.err == "workbench: error: no notebooks folder here; run it in the project's folder\n"
