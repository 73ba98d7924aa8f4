import re
import zlib
from xml.etree import ElementTree

import pytest

from workbench.errors import WorkbenchError
from workbench.render import canvas_svg, canvas_xdot
from workbench.render.canvas import GROUND, INK, QUIET, Box, Canvas, Circle, Colour, Group, Line, Text
from workbench.render.colour import DARK, LIGHT
from workbench.render.engine import draw
from workbench.render.escape import visible
from workbench.render.graph import draw as draw_graph
from workbench.render.strip import draw as draw_strip

from .hostile import TEXTS, graph_of, strip_of

SVG = "{http://www.w3.org/2000/svg}"
RED = Colour("#AA0000", "#FF8888")
CANVAS = Canvas(
    100,
    50,
    "a title",
    "in words",
    (
        Box(0, 0, 40, 20, 5, RED, INK, 2, dashed=True, role="line"),
        Line(((0, 0), (10, 10)), QUIET),
        Line(((0, 0), (10, 10), (0, 10)), fill=RED),
        Group(
            (Circle(50, 25, 9, GROUND, INK), Text(50, 25, "here", 12, QUIET, "middle", 700)), "one", "cell", RED, INK
        ),
    ),
    "thing",
)


def test_every_shape_is_an_element():
    root = ElementTree.fromstring(canvas_svg.svg(CANVAS))
    assert [child.tag.removeprefix(SVG) for child in root] == ["title", "desc", "rect", "polyline", "polygon", "g"]
    assert root.get("class") == "thing"
    assert [child.tag.removeprefix(SVG) for child in root[-1]] == ["title", "circle", "text"]


@pytest.mark.parametrize(("theme", "red", "paper"), [("light", "#AA0000", LIGHT), ("dark", "#FF8888", DARK)])
def test_a_theme_is_one_of_two_colours(theme, red, paper):
    source = canvas_svg.svg(CANVAS, theme, ground=True)
    assert red in source
    assert f'fill="{paper.ground}"' in source
    assert "style=" not in source


def test_the_adaptive_drawing_is_light_and_carries_the_dark_colours():
    source = canvas_svg.svg(CANVAS, "adaptive")
    assert "#AA0000" in source
    assert f'style="--c:#FF8888;--t:{DARK.ink}"' in source


def test_operators_hold_every_shape_in_the_colours_of_the_theme():
    light, dark = canvas_xdot.source(CANVAS), canvas_xdot.source(CANVAS, "dark")
    for operator in ("b 25 ", "L 2 ", "P 3 ", "S 6 -dashed", "t 1", "4 -here"):
        assert operator in light
    assert "-#AA0000" in light
    assert "-#FF8888" in dark
    assert "-#AA0000" not in dark


def test_png_is_as_large_as_it_says_and_the_same_again():
    first = canvas_xdot.png(CANVAS, scale=2)
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    wide, high = (int.from_bytes(first[at : at + 4], "big") for at in (16, 20))
    assert abs(wide - 2 * 124) <= 2
    assert abs(high - 2 * 74) <= 2
    assert canvas_xdot.png(CANVAS, scale=2) == first


def test_pdf_is_one_page_without_the_time():
    first = canvas_xdot.pdf(CANVAS)
    assert first.startswith(b"%PDF-")
    assert b"/CreationDate (D:20000101000000" in first
    assert canvas_xdot.pdf(CANVAS) == first


@pytest.mark.parametrize(("width", "height"), [(20_000, 10), (10_000, 10_000)])
def test_a_png_that_is_too_large_is_refused(width, height):
    with pytest.raises(WorkbenchError, match=r"a PNG of .* pixels is too large; SVG and PDF have no such limit"):
        canvas_xdot.png(Canvas(width, height, "", "", (), "thing"))


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("drawn", [lambda text: draw_strip(strip_of(text)), lambda text: draw_graph(graph_of(text))])
def test_hostile_text_is_text_in_an_svg(text, drawn):
    canvas = drawn(text)
    for theme in ("light", "adaptive"):
        root = ElementTree.fromstring(canvas_svg.svg(canvas, theme, ground=True))
        tags = {element.tag.removeprefix(SVG) for element in root.iter()}
        assert tags <= {"svg", "title", "desc", "rect", "text", "g", "circle", "polyline", "polygon"}
        for element in root.iter():
            assert not [name for name in element.keys() if name.startswith("on") or "href" in name]  # noqa: SIM118
        assert root.find(f"{SVG}title").text == visible(text)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("drawn", [lambda text: draw_strip(strip_of(text)), lambda text: draw_graph(graph_of(text))])
def test_hostile_text_is_text_in_png_and_pdf(text, drawn, capfd):
    """The drawing is read to its end: its last shape is still there, whatever the texts before it hold."""
    canvas = drawn(text)
    last = Text(5, 5, "the-last-text", 10, INK)
    canvas = Canvas(canvas.width, canvas.height, "", "", (*canvas.shapes, last), "strip")
    if canvas.width < 30_000:
        assert canvas_xdot.png(canvas, scale=1).endswith(b"IEND\xaeB`\x82")
    shown = draw(canvas_xdot.source(canvas), "svg", "nop2").decode()
    root = ElementTree.fromstring(shown)
    assert [element.text for element in root.iter(f"{SVG}text")][-1] == "the-last-text"
    assert "<script" not in shown
    assert "<img" not in shown
    assert "href" not in re.sub(r"xmlns:xlink|http://www.w3.org/1999/xlink", "", shown)
    pdf = canvas_xdot.pdf(canvas)
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    assert any(b"BT" in _inflated(stream) for stream in streams)
    assert b"/URI" not in pdf
    assert b"/JavaScript" not in pdf
    assert capfd.readouterr().err == ""


def _inflated(stream):
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


def test_texts_of_a_picture_are_those_of_the_svg():
    """What the operators say is read by Graphviz as it was meant, quotation marks and all."""
    for text in TEXTS[:8]:
        canvas = Canvas(100, 20, "", "", (Text(0, 10, text, 10, INK), Text(0, 20, "end", 10, INK)), "x")
        root = ElementTree.fromstring(draw(canvas_xdot.source(canvas), "svg", "nop2"))
        first, second = [element.text for element in root.iter(f"{SVG}text")]
        assert first.replace("\u00a0", " ") == visible(text).replace("\\", "⧵")
        assert second == "end"
