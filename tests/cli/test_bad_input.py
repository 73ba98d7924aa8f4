import json

import pytest

from workbench.cli import main

HINT = "this looks like file names: the shell expanded an unquoted pattern; quote it: 'M*-'"

REFUSED = {
    "M[*": """\
  M[*
   ^
error unclosed-group at 1: '[' is never closed
  hint: write [*-] or [*E], or remove '['
""",
    "M[-*]": ("group-order",),
    "[M-": ("unclosed-group",),
    "M[*-|M-": ("unclosed-group",),
    "M[*|-]": ("group-crosses-stage",),
    "M[*/-]": ("group-crosses-mtp",),
    "M-/[M": ("unclosed-group",),
    "Q": ("unknown-symbol",),
    "Q[": ("2 problems", "unknown-symbol", "unclosed-group"),
    "m-\x1b[31m": ("unknown-symbol",),
}


@pytest.mark.parametrize("command", ["explain", "fuse", "unfuse", "verify"])
@pytest.mark.parametrize("pattern", REFUSED)
def test_bad_patterns(run, command, pattern):
    done = run(command, pattern)
    assert (done.status, done.out) == (2, "")
    if isinstance(REFUSED[pattern], str):
        assert done.err == REFUSED[pattern]
    for said in REFUSED[pattern]:
        assert said in done.err
    assert "^" in done.err
    assert "Traceback" not in done.err
    assert "\x1b" not in done.err


@pytest.mark.parametrize("command", ["explain", "fuse", "verify"])
def test_bad_pattern_as_json(run, command):
    done = run(command, "M[*", "--json")
    data = json.loads(done.out)
    assert done.status == 2
    assert data["schema"] == "workbench.error/1"
    assert data["diagnostics"][0] == {
        "code": "unclosed-group",
        "severity": "error",
        "start": 1,
        "end": 2,
        "message": "'[' is never closed",
        "hint": "write [*-] or [*E], or remove '['",
    }
    assert done.err == REFUSED["M[*"]


def test_many_arguments_are_an_expanded_pattern(run):
    done = run("explain", "Makefile", "Mamba.py", "M-")
    assert (done.status, done.out) == (2, "")
    assert done.err == (
        "workbench: error: workbench explain takes one pattern, 3 were given: 'Makefile' 'Mamba.py' 'M-'\n"
        f"  hint: {HINT}\n"
    )


def test_very_many_arguments_are_not_all_listed(run):
    done = run("explain", *[f"file{number}" for number in range(1000)])
    assert len(done.err) < 400
    assert HINT in done.err


def test_one_expanded_file_name(run, tmp_path):
    (tmp_path / "Model.py").write_text("")
    done = run("explain", "Model.py")
    assert done.status == 2
    assert done.err == f"workbench: error: 'Model.py' is not a pattern\n  hint: {HINT}\n"


def test_a_pattern_is_a_pattern_even_when_a_file_has_its_name(run, tmp_path):
    (tmp_path / "M-").write_text("")
    assert run("fuse", "M-").out == "[M-]\n"


def test_no_pattern(run):
    done = run("explain")
    assert (done.status, done.out) == (2, "")
    assert done.err == "workbench: error: workbench explain needs a pattern, such as: workbench explain 'M[*-]M-'\n"


def test_existing_output_is_refused_and_kept(run, tmp_path):
    (tmp_path / "a.html").write_text("mine")
    done = run("explain", "M", "-o", "a.html")
    assert (done.status, done.out) == (2, "")
    assert done.err == "workbench: error: a.html exists already; choose another name, or --force to replace it\n"
    assert (tmp_path / "a.html").read_text() == "mine"
    assert run("explain", "M", "-o", "a.html", "--force").status == 0
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")


def test_unwritable_output(run, tmp_path):
    (tmp_path / "file").write_text("")
    done = run("explain", "M", "-o", "file/a.html")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("workbench: error: cannot write file/a.html: ")


def test_unknown_command(run):
    done = run("explian", "M")
    assert done.status == 2
    assert "invalid choice: 'explian'" in done.err


def test_interruption_is_one_line(run, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.cli.parse", interrupted)
    assert main(["explain", "M"]) == 130
    assert capsys.readouterr().err == "workbench: interrupted\n"
