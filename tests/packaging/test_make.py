"""`make setup` with a Python that only pretends: when it works, when it does not, and what a half-done one leaves."""

import os
import shutil
import subprocess
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on PATH")

# Answers find-python, makes a .venv of itself, and writes down what pip was asked.
PYTHON = """#!/bin/sh
case "$*" in
    '-c import pip' | '-c import sys, pip;'*) [ -f "$0.pip" ] ;;
    -c*) echo "12 $(cd "$(dirname "$0")" && pwd)/python3.12" ;;
    '-m venv --clear '*)
        rm -rf "$4" && mkdir -p "$4/bin" && cp "$0" "$4/bin/python"
        [ ! -f no-ensurepip ] || { echo 'ensurepip failed' >&2; exit 1; }
        : >"$4/bin/python.pip" ;;
    '-m pip install '*) echo "$*" >>pip.log; [ ! -f no-network ] || { echo 'ERROR: no network' >&2; exit 1; } ;;
    *) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""


@pytest.fixture
def checkout(tmp_path, repo_root):
    """A checkout with what `make setup` reads; `make(...)` runs it with the pretended Python alone."""
    folder = tmp_path / "a checkout"
    (folder / "tools").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "tools/find-python"):
        shutil.copy(repo_root / name, folder / name)
    python = tmp_path / "bin" / "python3.12"
    python.parent.mkdir()
    python.write_text(PYTHON, encoding="utf-8")
    python.chmod(0o755)

    def make(*targets):
        done = subprocess.run(
            ["make", *targets],
            cwd=folder,
            env={"PATH": f"{python.parent}{os.pathsep}/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return SimpleNamespace(status=done.returncode, out=done.stdout, err=done.stderr)

    def installs():
        log = folder / "pip.log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    return SimpleNamespace(folder=folder, python=python, make=make, installs=installs)


def test_setup_says_one_line_and_installs(checkout):
    done = checkout.make("setup")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"setup: making .venv with {checkout.python}; ")
    assert done.out.count("\n") == 1
    assert checkout.installs() == [
        "-m pip install --quiet --disable-pip-version-check -c constraints.txt -e .[test,dev]"
    ]


def test_second_setup_does_nothing(checkout):
    checkout.make("setup")
    assert checkout.make("setup").out == "make: Nothing to be done for 'setup'.\n"
    assert len(checkout.installs()) == 1


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed_over(checkout, name):
    checkout.make("setup")
    stamp = checkout.folder / ".venv" / ".setup-done"
    os.utime(checkout.folder / name, (stamp.stat().st_mtime + 1,) * 2)
    assert checkout.make("setup").out == "setup: bringing .venv up to date\n"
    assert len(checkout.installs()) == 2


def test_failed_install_leaves_no_stamp_and_is_tried_again(checkout):
    (checkout.folder / "no-network").touch()
    done = checkout.make("setup")
    assert done.status == 2
    assert "ERROR: no network" in done.err, "pip's own words are shown"
    assert not (checkout.folder / ".venv" / ".setup-done").exists()
    (checkout.folder / "no-network").unlink()
    assert checkout.make("setup").status == 0
    assert len(checkout.installs()) == 2


def test_failed_update_takes_the_stamp_away(checkout):
    checkout.make("setup")
    (checkout.folder / "no-network").touch()
    stamp = checkout.folder / ".venv" / ".setup-done"
    os.utime(checkout.folder / "constraints.txt", (stamp.stat().st_mtime + 1,) * 2)
    assert checkout.make("setup").status == 2
    assert not stamp.exists()


def test_venv_without_pip_is_made_anew(checkout):
    (checkout.folder / "no-ensurepip").touch()
    assert checkout.make("setup").status == 2
    assert checkout.installs() == []
    (checkout.folder / "no-ensurepip").unlink()
    assert checkout.make("setup").out.startswith("setup: making .venv")


def test_venv_whose_python_went_away_is_made_anew(checkout):
    checkout.make("setup")
    interpreter = checkout.folder / ".venv" / "bin" / "python"
    interpreter.unlink()
    interpreter.symlink_to("/nowhere/python3.12")
    assert checkout.make("setup").out.startswith("setup: making .venv")


def test_without_python_it_says_what_to_install(checkout):
    # The folders of `make` and `sh` may hold a Python that would do: a stand-in that never does is put in its place.
    (checkout.folder / "tools" / "find-python").write_text(
        "#!/bin/sh\necho 'no usable Python: …' >&2\nexit 1\n", encoding="utf-8"
    )
    done = checkout.make("setup")
    assert done.status == 2
    assert done.out == ""
    assert done.err.splitlines()[0] == "no usable Python: …"
    assert not (checkout.folder / ".venv").exists()


def test_plain_make_lists_every_target(checkout):
    done = checkout.make()
    assert (done.status, done.err) == (0, "")
    targets = [line.split()[1] for line in done.out.splitlines()]
    assert targets == ["help", "setup", "demo", "test", "lab", "check", "gallery", "bench"]
    assert checkout.make("help").out == done.out
    assert not (checkout.folder / ".venv").exists()
