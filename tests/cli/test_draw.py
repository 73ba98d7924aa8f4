import subprocess
import sys
from xml.etree import ElementTree

import pytest

from workbench.cli.draw import FORMATS

from ..render.pages import assert_self_contained

MODEL = "M[*-]M[ME]|M-*-/[*-]"
STARTS = {
    "svg": b"<svg ",
    "png": b"\x89PNG\r\n\x1a\n",
    "pdf": b"%PDF-",
    "html": b"<!doctype html>",
    "dot": b"digraph {",
    "txt": MODEL.encode(),
}


@pytest.mark.parametrize("format", FORMATS)
def test_the_suffix_decides(run, tmp_path, format):
    done = run("draw", MODEL, "-o", f"new/a.{format}")
    assert (done.status, done.out, done.err) == (0, "", f"wrote new/a.{format}\n")
    data = (tmp_path / "new" / f"a.{format}").read_bytes()
    assert data.startswith(STARTS[format])
    run("draw", MODEL, "-o", f"b.{format}")
    assert (tmp_path / f"b.{format}").read_bytes() == data, "the same bytes for the same pattern"


@pytest.mark.parametrize(("name", "format"), [("a.SVG", "svg"), ("a.htm", "html"), ("a.gv", "dot")])
def test_other_spellings_of_a_suffix(run, tmp_path, name, format):
    assert run("draw", MODEL, "-o", name).status == 0
    assert (tmp_path / name).read_bytes().startswith(STARTS[format])


def test_format_wins_over_the_suffix(run, tmp_path):
    assert run("draw", "M", "-o", "a.txt", "--format", "svg").status == 0
    assert (tmp_path / "a.txt").read_bytes().startswith(b"<svg ")


@pytest.mark.parametrize("arguments", [["-o", "-"], []])
@pytest.mark.parametrize("format", FORMATS)
def test_standard_output(capsysbinary, arguments, format):
    from workbench.cli import main

    assert main(["draw", MODEL, "--format", format, *arguments]) == 0
    captured = capsysbinary.readouterr()
    assert captured.out.startswith(STARTS[format])
    assert captured.err == b""


def test_views_and_themes_differ(run, tmp_path):
    drawn = {}
    for view in ("strip", "graph"):
        for theme in ("light", "dark"):
            for format in ("svg", "png", "pdf"):
                name = f"{view}-{theme}.{format}"
                assert run("draw", MODEL, "--view", view, "--theme", theme, "-o", name).status == 0
                drawn[name] = (tmp_path / name).read_bytes()
    assert len(set(drawn.values())) == len(drawn)
    for name, data in drawn.items():
        if name.endswith("svg"):
            assert ElementTree.fromstring(data).get("class") == name.split("-")[0]


def test_page_has_strip_and_graph(run, tmp_path):
    run("draw", MODEL, "-o", "a.html")
    page = assert_self_contained((tmp_path / "a.html").read_text())
    kinds = [one.get("class") for one in page.all("svg")]
    assert kinds.count("graph") == 1
    assert "strip" in kinds
    run("draw", MODEL, "-o", "b.html", "--view", "strip")
    assert "graph" not in [
        one.get("class") for one in assert_self_contained((tmp_path / "b.html").read_text()).all("svg")
    ]


def test_fold(run, tmp_path):
    run("draw", "M-" * 59, "--fold", "-o", "a.svg")
    source = (tmp_path / "a.svg").read_text()
    assert "×59" in source
    assert "0–117" in source
    assert source.count('class="cell') == 2


def test_presets_and_what_of_them_is_not_expressible(run, tmp_path):
    assert run("draw", "Qwen3-Next-80B-A3B", "-o", "a.svg").status == 0
    assert (tmp_path / "a.svg").read_text().count('class="cell') == 96 + 2, "its layers, and one MTP depth"
    assert run("draw", "jamba-v0.1", "-o", "b.svg").status == 0, "its sizes cannot be said, its pattern can"
    done = run("draw", "zamba2-2.7b", "-o", "c.svg")
    assert done.status == 2
    assert "Zamba2-2.7B cannot be written as a pattern:" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["M", "-o", "a.gif"], "no form of a drawing ends in .gif: use one of .svg, .png, .pdf, .html, .dot, .txt"),
        (["M", "-o", "a"], "a file's suffix says what to draw: use one of .svg"),
        (["M"], "to write to standard output, say which form: --format svg|png|pdf|html|dot|txt"),
        (["M", "-o", "-"], "to write to standard output, say which form"),
        (["M", "-o", "a.html", "--theme", "dark"], "--theme is for pictures"),
        (["M", "-o", "a.dot", "--view", "strip"], "DOT is a form of the graph"),
        (["M", "-o", "a.dot", "--fold"], "--fold is for the strip"),
        (["M", "-o", "a.svg", "--fold", "--view", "graph"], "--fold is for the strip"),
        (["", "-o", "a.svg"], "nothing to draw"),
        ([], "workbench draw needs a pattern, a preset's name"),
        (["-o", "a.svg"], "such as: workbench draw nemotron-h-8b -o pattern.svg"),
        (["M", "-", "-o", "a.svg"], "takes one pattern, 2 were given"),
        (["M[*", "-o", "a.svg"], "^"),
        (["M", "-o", "a\0.svg"], "NUL"),
    ],
)
def test_bad_input_is_status_2_and_nothing_written(run, tmp_path, arguments, said):
    done = run("draw", *arguments)
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_refused_without_force(run, tmp_path):
    (tmp_path / "a.svg").write_text("mine")
    done = run("draw", "M", "-o", "a.svg")
    assert done.status == 2
    assert "a.svg exists already" in done.err
    assert (tmp_path / "a.svg").read_text() == "mine"
    assert run("draw", "M", "-o", "a.svg", "--force").status == 0
    assert (tmp_path / "a.svg").read_text().startswith("<svg ")


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", '"><img onerror=x>', "javascript:x", "M\u202e-", "M\0"]
)
def test_hostile_patterns_are_errors_whose_text_is_text(run, tmp_path, hostile):
    done = run("draw", hostile, "-o", "a.svg")
    assert done.status == 2
    assert not set(done.err) & set("\0\x1b\u202e")
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_gets_no_binary(monkeypatch, capsys):
    from workbench.cli import main

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["draw", "M", "--format", "png"]) == 2
    assert "a PNG is no text for a terminal" in capsys.readouterr().err


def test_a_thousand_sublayers_in_every_format(run, tmp_path):
    for format in FORMATS:
        assert run("draw", "M-M*-" * 200, "-o", f"a.{format}").status == 0


def test_nothing_heavy_is_loaded(tmp_path):
    program = (
        "import sys; from workbench.cli import main; main(sys.argv[1:]); "
        "print(sorted({'torch', 'megatron', 'numpy', 'IPython'} & set(sys.modules)))"
    )
    for name in ("a.png", "a.html"):
        done = subprocess.run(
            [sys.executable, "-c", program, "draw", "M[*-]", "-o", name],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={"PATH": "", "HOME": str(tmp_path)},
        )
        assert (done.stdout, done.stderr) == ("[]\n", f"wrote {name}\n")
