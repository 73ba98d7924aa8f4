import json
import os
import subprocess
import sys

import pytest

from ..render.pages import assert_self_contained

MODEL = "M[*-]M[ME]|M-*-/[*-]"


def test_explain_prints_counts_first(run):
    done = run("explain", MODEL)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[:3] == [
        MODEL,
        "",
        "8 blocks · 10 sub-layers · 2 fused pairs · 2 stages · 1 MTP depth",
    ]


def test_explain_json_has_the_fields_of_the_design(run):
    data = json.loads(run("explain", MODEL, "--json").out)
    assert {"pattern", "stages", "blocks", "sublayers", "counts", "mtp", "diagnostics"} <= set(data)
    assert data["schema"] == "workbench.explain/1"
    assert {"blocks", "sublayers", "fused", "by_kind"} <= set(data["counts"])


def test_explain_html_to_standard_output_and_to_a_file(run, tmp_path):
    printed = run("explain", MODEL, "--html")
    assert_self_contained(printed.out)
    for arguments in (["--html", "-o", "new/a.page"], ["-o", "new/b.html"]):
        done = run("explain", MODEL, *arguments)
        assert (done.status, done.out, done.err) == (0, "", f"wrote {arguments[-1]}\n")
        assert (tmp_path / arguments[-1]).read_text() == printed.out


def test_output_is_text_or_json_where_html_is_not_asked_for(run, tmp_path):
    run("explain", "M", "--output", "a.txt")
    run("explain", "M", "--json", "--output", "a.json")
    assert (tmp_path / "a.txt").read_text().startswith("M\n\n1 block · 1 sub-layer")
    assert json.loads((tmp_path / "a.json").read_text())["pattern"] == "M"


@pytest.mark.parametrize(
    ("command", "pattern", "printed"),
    [
        ("fuse", "M-M*-ME|-/*-", "[M-]M[*-][ME]|-/[*-]\n"),
        ("unfuse", "[M-]M[*-]/[*-]", "M-M*-/*-\n"),
        ("fuse", "", "\n"),
    ],
)
def test_rewrites(run, command, pattern, printed):
    done = run(command, pattern)
    assert (done.status, done.out, done.err) == (0, printed, "")


def test_rewrite_json(run):
    assert json.loads(run("fuse", "M-", "--json").out) == {
        "schema": "workbench.rewrite/1",
        "given": "M-",
        "pattern": "[M-]",
        "counts": {"blocks": 1, "sublayers": 2, "fused": 1, "stages": 1},
    }


@pytest.mark.parametrize("pattern", ["-", "-M", "-M*", "---", "-/-", "-|M", "-E", "[M-]-"])
@pytest.mark.parametrize("separator", [[], ["--"]])
def test_patterns_that_look_like_options(run, pattern, separator):
    done = run("unfuse", *separator, pattern)
    assert (done.status, done.out, done.err) == (0, pattern.replace("[", "").replace("]", "") + "\n", "")


def test_options_beside_patterns_that_look_like_options(run):
    assert json.loads(run("explain", "-M*", "--json").out)["pattern"] == "-M*"
    assert json.loads(run("explain", "--json", "--", "--").out)["pattern"] == "--"


@pytest.mark.parametrize("option", ["--jsn", "-x", "--js"])
def test_misspelt_options_are_reported_as_options(run, option):
    done = run("explain", "M", option)
    assert done.status == 2
    assert f"unrecognized arguments: {option}" in done.err


def test_empty_pattern_is_a_warning(run):
    done = run("explain", "")
    assert done.status == 0
    assert "empty-pattern" in done.out


def test_no_command_shows_the_help(run):
    done = run()
    assert done.status == 0
    assert "workbench explain 'M[*-]M[ME]|M-*-/[*-]'" in done.out


@pytest.mark.parametrize("command", ["explain", "fuse", "unfuse", "verify"])
def test_help_quotes_every_pattern(run, command):
    done = run(command, "--help")
    assert done.status == 0
    examples = done.out[done.out.index("examples:") :]
    assert examples.count("'") >= 2
    assert f"workbench {command} '" in examples


def test_version(run):
    done = run("--version")
    assert done.status == 0
    assert done.out.startswith("workbench ")
    assert "megatron-core" in done.out


@pytest.mark.parametrize("arguments", [["explain", "M[*-]"], ["fuse", "M-"], ["explain", "M", "--html"], ["--help"]])
def test_no_torch_is_loaded(arguments):
    """In a fresh interpreter; the last line of standard error lists what must not be there."""
    program = (
        "import sys; from workbench.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'megatron', 'numpy', 'IPython'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def test_python_m_workbench():
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "fuse", "M-"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[M-]\n", "")


def test_a_closed_pipe_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "explain", "M-" * 500], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a device that is always full")
def test_a_full_disk_is_one_line():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "workbench", "explain", "M"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (2, b"workbench: error: No space left on device\n")


def test_a_page_is_utf_8_whatever_the_terminal():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "cost", "M-", "--html"], capture_output=True, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "×" in done.stdout.decode("utf-8")


def test_a_terminal_without_unicode_shows_question_marks():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "explain", "M"], capture_output=True, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
