import re
import subprocess
import sys

import pytest

from workbench.errors import WorkbenchError
from workbench.render import engine

DOT = 'digraph { a [label="one"]; a -> b }'


@pytest.fixture
def no_library(monkeypatch):
    monkeypatch.setattr(engine, "_library", lambda: None)


def test_formats():
    assert b"<svg" in engine.draw(DOT, "svg")
    assert engine.draw(DOT, "png").startswith(b"\x89PNG")
    assert engine.draw(DOT, "pdf").startswith(b"%PDF")
    assert engine.draw(DOT, "plain").startswith(b"graph ")


def test_nop2_takes_positions_as_they_are():
    lines = engine.draw('graph { a [pos="0,0"]; b [pos="144,72"] }', "plain", "nop2").decode().splitlines()
    places = {line.split()[1]: line.split()[2:4] for line in lines if line.startswith("node")}
    across, up = (float(places["b"][at]) - float(places["a"][at]) for at in (0, 1))
    assert (across, up) == (2, 1)


@pytest.mark.parametrize(
    ("dot", "format", "message"),
    [
        ("digraph {", "svg", "could not read the DOT"),
        ("", "svg", "could not read the DOT"),
        (DOT + "\0", "svg", "NUL"),
        (DOT, "docx", "cannot write docx"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(dot, format, message):
    with pytest.raises(WorkbenchError, match=message):
        engine.draw(dot, format)


def test_it_works_with_an_empty_path_and_leaves_no_file(tmp_path):
    """In a fresh process without PATH, HOME and a temporary folder that exists; nothing is said either."""
    program = (
        "from workbench.render.engine import draw\n"
        f"for format in ('plain', 'svg', 'png', 'pdf'): assert draw({DOT!r}, format)\n"
        "import sys; assert not {'torch', 'numpy', 'IPython'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PATH": "", "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    left = [path for path in tmp_path.rglob("*") if path.is_file() and "fontconfig" not in str(path)]
    assert left == []


def test_the_same_bytes_in_another_process():
    program = "import sys; from workbench.render.engine import draw; sys.stdout.buffer.write(draw(sys.argv[1], 'pdf'))"
    done = subprocess.run([sys.executable, "-c", program, DOT], capture_output=True, check=True)
    assert done.stdout == engine.draw(DOT, "pdf")


def test_no_engine_says_what_to_install(no_library, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(WorkbenchError) as caught:
        engine.draw(DOT, "svg")
    assert str(caught.value) == (
        "drawing needs Graphviz: `pip install 'pygraphviz>=2.0.4'` brings it along; "
        "or install Graphviz itself, so that `dot` is on PATH"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for `dot`")
def test_a_system_dot_is_used_where_the_library_is_missing(no_library, monkeypatch, tmp_path):
    for name in ("dot", "neato"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert engine.draw(DOT, "svg").split() == [b"dot", b"-Kdot", b"-Tsvg"]
    # One argument or two, as the package likes: `neato -n2` is what takes positions as they are.
    assert re.match(rb"dot -Kneato -Tpng -n2", engine.draw(DOT, "png", "nop2"))


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for `dot`")
def test_a_system_dot_that_fails_is_an_error(no_library, monkeypatch, tmp_path):
    (tmp_path / "dot").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(WorkbenchError, match="could not draw the graph as svg"):
        engine.draw(DOT, "svg")


def test_without_a_font_there_is_no_picture_but_a_layout(monkeypatch):
    monkeypatch.setattr(engine, "_fonts", lambda library: 0)
    for format in ("png", "pdf"):
        with pytest.raises(WorkbenchError, match=r"needs a font.*write SVG"):
            engine.draw(DOT, format)
    assert engine.draw(DOT, "plain")


@pytest.mark.skipif(sys.platform != "linux", reason="fontconfig's own folder of nothing")
def test_a_machine_without_fonts_is_found_out(tmp_path):
    (tmp_path / "fonts.conf").write_text(
        f'<?xml version="1.0"?><fontconfig><dir>{tmp_path}/none</dir><cachedir>{tmp_path}</cachedir></fontconfig>'
    )
    program = (
        "from workbench.render import engine\n"
        "if engine._fonts(engine._library()) is None: raise SystemExit('unknown')\n"
        f"engine.draw({DOT!r}, 'png')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={"FONTCONFIG_FILE": str(tmp_path / "fonts.conf"), "PATH": ""},
    )
    if done.stderr.strip() == "unknown":
        pytest.skip("this build of pygraphviz does not bring fontconfig")
    assert "this machine has none" in done.stderr


def test_held_back_lines_are_handed_on(capfd):
    import os

    with engine._without_lines(b"Fontconfig warning:"):
        os.write(2, b"kept\nFontconfig warning: dropped\nkept too\n")
    assert capfd.readouterr().err == "kept\nkept too\n"
