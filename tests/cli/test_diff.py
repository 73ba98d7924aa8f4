"""`workbench diff`: what it passes on, prints and refuses, on an engine that says what it is told to, and then on real files."""

import contextlib
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from safetensors.numpy import save_file

from workbench.cli import main, progress
from workbench.errors import WorkbenchError

from ..render.pages import Page, assert_self_contained
from ..views.diffs import DIFFERENT, IDENTICAL, MANY, MISSING, NAMES_ONLY, OTHER_NAMES

DEFAULTS = {
    "rtol": 0.0, "atol": 0.0, "ulp": 0, "only": (), "ignore": (), "values": True, "as_written": False, "progress": None,
}  # fmt: skip


@pytest.fixture
def engine(monkeypatch):
    """`workbench.checkpoint.diff` replaced: `found` is what it returns or raises, `calls` what it was asked."""
    module = ModuleType("workbench.checkpoint.diff")
    module.found, module.calls = IDENTICAL, []

    def diff(left, right, **options):
        module.calls.append((left, right, options))
        if isinstance(module.found, BaseException):
            raise module.found
        if options["progress"] is not None:
            options["progress"](10, 2048)
            time.sleep(0.12)  # the bar is drawn ten times a second at most
            options["progress"](2048, 2048)
        return module.found

    module.diff = diff
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


# ---------------------------------------------------------------------------------------------- what it says


def test_identical(run, engine):
    done = run("diff", "a", "b")
    assert (done.status, done.err) == (0, "")
    assert "✓ IDENTICAL: 46 tensors, 118,272 elements: identical bits" in done.out
    assert engine.calls == [("a", "b", DEFAULTS)]


def test_different(run, engine):
    engine.found = DIFFERENT
    done = run("diff", "a", "b")
    assert (done.status, done.err) == (1, "")
    assert "✗ DIFFERENT: 9 differences in 46 tensors" in done.out
    assert "What is equal" not in done.out
    assert "What is equal" in run("diff", "a", "b", "--details").out


def test_equal_under_other_names_is_identical(run, engine):
    engine.found = OTHER_NAMES
    assert run("diff", "a", "b").status == 0


def test_names_alone_are_not_called_identical(run, engine):
    engine.found = NAMES_ONLY
    done = run("diff", "a", "b", "--names-only", "--quiet")
    assert (done.status, done.out) == (0, "– NOT COMPARED: 46 tensors: the same shapes and dtypes; no value was read\n")
    engine.found = replace(NAMES_ONLY, differences=(MISSING,))
    assert run("diff", "a", "b", "--names-only").status == 1
    assert [options["values"] for _, _, options in engine.calls] == [False, False]


def test_the_same_path_twice_is_fine(run, engine):
    assert run("diff", "a", "a").status == 0


def test_every_option_is_passed_on(run, engine):
    done = run(
        *("diff", "a", "b", "--rtol", "1e-3", "--atol", "0.5", "--ulp", "4", "--as-written", "--quiet"),
        *("--only", "decoder.*", "-*", "--only", "mtp.*", "--ignore", "*.bias"),
    )
    assert done.status == 0
    assert engine.calls[0][2] == DEFAULTS | {
        "rtol": 0.001, "atol": 0.5, "ulp": 4, "as_written": True, "only": ("decoder.*", "-*", "mtp.*"), "ignore": ("*.bias",),
    }  # fmt: skip


def test_json(run, engine):
    engine.found = DIFFERENT
    done = run("diff", "a", "b", "--json")
    data = json.loads(done.out)
    assert (done.status, done.err) == (1, "")
    assert data["schema"] == "workbench.diff/1"
    assert data["identical"] is False
    assert data["counts"]["value"] == 3
    assert {"kind", "name", "other_name", "sublayer"} <= set(data["differences"][0])
    assert data["differences"][4]["metrics"]["left"] == "nan"


def test_quiet(run, engine):
    engine.found = DIFFERENT
    done = run("diff", "a", "b", "--quiet")
    assert (done.status, len(done.out.splitlines()), done.err) == (1, 1, "")


def test_files(run, engine, tmp_path):
    engine.found = DIFFERENT
    done = run("diff", "a", "b", "--html", "d.html", "--output", "d.json", "--quiet")
    assert done.err == "wrote d.html\nwrote d.json\n"
    page = assert_self_contained((tmp_path / "d.html").read_text(encoding="utf-8"), scripts=1)
    assert "9 differences in 46 tensors" in page.text
    assert json.loads((tmp_path / "d.json").read_text())["counts"]["tensors"] == 46


# ------------------------------------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "workbench diff needs two checkpoints, such as: workbench diff before.safetensors after.safetensors"),
        (("--only", "a", "b"), "hint: --only and --ignore take every word after them: write A and B first"),
        (("a",), "workbench diff compares two checkpoints; what is a to be compared with?"),
        (("a",), "to look at one, workbench inspect a"),
        (("a", "b", "c"), "workbench diff takes two checkpoints, 3 were given"),
        (("a", "b", "--html", "x", "--output", "./x"), "--html and --output are both x"),
        (("a", "b", "--rtol", "-1"), "expected a number of at least 0, not '-1'"),
        (("a", "b", "--ulp", "1.5"), "expected a whole number of at least 0, not '1.5'"),
        (("a", "b", "--html", "."), "cannot write .: it is a folder"),
    ],
)
def test_what_is_refused_before_the_work(run, engine, argv, said):
    done = run("diff", *argv)
    assert (done.status, done.out, engine.calls) == (2, "", [])
    assert said in done.err
    assert "Traceback" not in done.err


def test_an_unwritable_file_is_refused_before_the_work(run, engine, tmp_path):
    (tmp_path / "mine.html").write_text("mine")
    (tmp_path / "file").write_text("")
    for option, target in (("--html", "mine.html"), ("--output", "mine.html"), ("--html", "file/d.html")):
        done = run("diff", "a", "b", option, target)
        assert (done.status, done.out, engine.calls) == (2, "", [])
    assert (tmp_path / "mine.html").read_text() == "mine"
    assert run("diff", "a", "b", "--html", "mine.html", "--force").status == 0
    assert (tmp_path / "mine.html").read_text().startswith("<!doctype html>")


def test_an_input_is_never_replaced(run, engine, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").write_text("mine")
    (tmp_path / "a.pt").write_text("mine")
    for inputs, target in ((("folder", "b"), "folder/model.safetensors"), (("b", "a.pt"), "a.pt")):
        done = run("diff", *inputs, "--output", target, "--force")
        assert (done.status, engine.calls) == (2, [])
        assert "which is only read" in done.err
        assert (tmp_path / target).read_text() == "mine"


def test_bad_input_is_one_line_and_json_says_it_too(run, engine):
    engine.found = WorkbenchError("a\x1b[31m does not exist")
    done = run("diff", "a", "b", "--json")
    assert done.status == 2
    assert json.loads(done.out)["schema"] == "workbench.error/1"
    assert done.err == "workbench: error: a\\x1b[31m does not exist\n"


def test_an_interruption(engine, capsys):
    engine.found = KeyboardInterrupt()
    assert main(["diff", "a", "b"]) == 130
    assert capsys.readouterr().err == "workbench: interrupted\n"


# ------------------------------------------------------------------------------------------------ progress


class Terminal:
    """Standard error that says it is a terminal."""

    def __init__(self):
        self.written = ""

    def isatty(self):
        return True

    def write(self, text):
        self.written += text
        return len(text)

    def flush(self):
        pass


def test_a_bar_of_bytes_where_a_terminal_shows_it(run, engine, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    assert run("diff", "a", "b").status == 0
    assert "comparing:" in terminal.written
    assert "2.00k/2.00k" in terminal.written
    for options in (("--no-progress",), ("--quiet",)):
        terminal.written = ""
        assert run("diff", "a", "b", *options).status == 0
        assert terminal.written == ""


BAR = """
import time
from workbench.cli.progress import byte_bar
with byte_bar(True, "comparing") as progress:
    progress(1, 4096)
    time.sleep(0.3)
    progress(2048, 4096)
"""


@pytest.mark.parametrize(("lines", "columns"), [(24, 80), (0, 0), (0, 80), (24, 0)])
def test_a_real_terminal_shows_the_bar(lines, columns):
    """A container's terminal may say that it has no lines: tqdm would take that for no room, and draw nothing."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    running = subprocess.Popen([sys.executable, "-c", BAR], stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while data := os.read(ours, 4096):
            seen += data
    os.close(ours)
    assert running.wait() == 0
    assert b"comparing:  50%" in seen
    assert b"2.00k/4.00k" in seen


# ---------------------------------------------------------------------------------------------- real files


@pytest.fixture
def files(tmp_path):
    """Two real files, alike but for the least that can differ in one entry."""
    names = ("mixer.A_log", "mixer.D", "mixer.dt_bias", "mixer.norm.weight")
    before = {f"decoder.layers.{layer}.{name}": np.arange(8, dtype=np.float32) for layer in range(3) for name in names}
    after = {name: value.copy() for name, value in before.items()}
    after["decoder.layers.1.mixer.D"][5] = np.nextafter(np.float32(5), np.float32(6))
    save_file(before, tmp_path / "before.safetensors")
    save_file(after, tmp_path / "after.safetensors")


def test_one_unit_in_the_last_place_of_a_real_file(run, files, tmp_path):
    done = run("diff", "before.safetensors", "after.safetensors", "--html", "d.html")
    assert (done.status, done.err) == (1, "wrote d.html\n")
    assert "1 of 8 differ, by up to" in " ".join(done.out.split())
    assert "(1 ULP)" in done.out
    source = (tmp_path / "d.html").read_text(encoding="utf-8")
    assert_self_contained(source, scripts=1)
    assert "The entries that are furthest apart." in Page(source).text
    assert 'class="heat"' in source


def test_a_real_file_is_itself_and_equal_within_a_tolerance(run, files):
    assert run("diff", "before.safetensors", "before.safetensors").status == 0
    assert run("diff", "before.safetensors", "after.safetensors", "--ulp", "1").status == 0
    assert run("diff", "before.safetensors", "after.safetensors", "--ignore", "*.1.mixer.D").status == 0
    assert run("diff", "before.safetensors", "after.safetensors", "--names-only").status == 0


def test_real_json(run, files):
    data = json.loads(run("diff", "before.safetensors", "after.safetensors", "--json").out)
    (found,) = data["differences"]
    assert (found["kind"], found["name"], found["sublayer"]) == ("value", "decoder.layers.1.mixer.D", 1)
    assert (found["metrics"]["mismatched"], found["metrics"]["max_ulp"], found["metrics"]["first"]) == (1, 1, [5])
    assert data["counts"]["tensors"] == 12


@pytest.mark.parametrize(
    ("name", "content"),
    [("none.safetensors", None), ("text.txt", b"no checkpoint"), ("empty.pt", b""), ("folder", ...)],
)
def test_what_is_no_checkpoint(run, files, tmp_path, name, content):
    if content is ...:
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    done = run("diff", "before.safetensors", name)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("workbench: error: ")
    assert name in done.err
    assert "Traceback" not in done.err


def test_many_differences_are_the_same_json_without_indents(run, engine):
    engine.found = MANY
    done = run("diff", "a", "b", "--json")
    assert done.out.count("\n") == 1
    assert len(json.loads(done.out)["differences"]) == 5000


def test_names_of_a_real_file_are_text(run, tmp_path):
    evil = "<script>alert(1)</script>\x1b[31m\u202e"
    save_file({evil: np.zeros(4, np.float32)}, tmp_path / "a.safetensors")
    save_file({evil: np.ones(4, np.float32)}, tmp_path / "b.safetensors")
    done = run("diff", "a.safetensors", "b.safetensors", "--html", "d.html", "--details")
    assert (done.status, "Traceback" in done.err) == (1, False)
    source = (tmp_path / "d.html").read_text(encoding="utf-8")
    assert_self_contained(source, scripts=1)
    for hidden in ("\x1b", "\u202e"):
        assert hidden not in done.out + source
