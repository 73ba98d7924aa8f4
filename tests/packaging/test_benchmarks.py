"""The one command for benchmarks knows scripts that are there, and keeps what it has when one of them fails."""

import subprocess
import sys


def test_every_script_that_it_runs_is_there(repo_root, monkeypatch):
    monkeypatch.syspath_prepend(str(repo_root))
    from benchmarks.run import HERE, SCRIPTS

    assert all((HERE / f"{script.name}.py").exists() for script in SCRIPTS)
    page = (HERE / "README.md").read_text(encoding="utf-8")
    assert [script.name for script in SCRIPTS if f"python benchmarks/{script.name}.py" not in page] == []


def test_a_script_that_fails_says_so_in_its_place(repo_root, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(repo_root))
    from benchmarks import run

    (tmp_path / "broken.py").write_text("print('| a |')\nraise SystemExit('it broke')")
    monkeypatch.setattr(run, "HERE", tmp_path)
    text, status = run.measured(run.Script("broken", "What breaks"), quick=False)
    assert status == 1
    assert "## What breaks: `python benchmarks/broken.py`" in text
    assert "| a |" in text
    assert "it broke" in text


def test_what_it_can_be_asked(repo_root):
    done = subprocess.run(
        [sys.executable, str(repo_root / "benchmarks" / "run.py"), "--only", "nothing"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "invalid choice: 'nothing'" in done.stderr
