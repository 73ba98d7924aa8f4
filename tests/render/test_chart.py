"""Charts: the same chart is the same bytes, its text is text, and nothing of pyplot's state is touched."""

import subprocess
import sys
from xml.etree import ElementTree

import pytest

from workbench.render import chart, html, notebook, text
from workbench.render.colour import DARK, LIGHT, contrast
from workbench.render.scene import Chart, Document
from workbench.render.scene_chart import Level, Panel, Series

from .hostile import TEXTS
from .pages import Page

FALLING = Series("M[*-]", ((1, 5.0), (2, 4.5), (3, 4.25)))
MARKS = Series("test", ((2, 4.6),), ((4.5, 4.75),), joined=False)
CHART = Chart(
    "Training",
    "M[*-]: loss 4.25 at step 3",
    "step",
    (Panel("loss", (FALLING, MARKS), (Level("bigram", 4.4),), weight=3), Panel("tokens a second", (FALLING,))),
)
SVG = "{http://www.w3.org/2000/svg}"


def test_every_colour_stands_out_from_light_and_dark_paper():
    for colour in chart.PALETTE:
        for paper in (LIGHT.ground, LIGHT.raised, DARK.ground, DARK.raised):
            assert contrast(colour, paper) >= 3, (colour, paper)


def test_the_same_chart_is_the_same_bytes_and_another_is_not():
    assert chart.svg(CHART) == chart.svg(CHART)
    other = Chart(CHART.title, CHART.description, CHART.label, CHART.panels[:1])
    assert chart.svg(other) != chart.svg(CHART)


def test_a_chart_holds_its_words_as_text():
    drawn = ElementTree.fromstring(chart.svg(CHART))
    assert drawn.get("role") == "img"
    assert [drawn[place].text for place in (0, 1)] == ["Training", "M[*-]: loss 4.25 at step 3"]
    words = {element.text for element in drawn.iter(f"{SVG}text")}
    assert {"step", "loss", "tokens a second", "bigram", "M[*-]", "test"} <= words


def test_it_names_no_address():
    drawn = chart.svg(CHART)
    assert drawn.count("http") == drawn.count('xmlns="http://www.w3.org/2000/svg"') == 1
    assert "xlink" not in drawn
    assert ' href="#' in drawn


def test_its_style_sheet_reaches_no_other_drawing():
    (sheet,) = ElementTree.fromstring(chart.svg(CHART)).iter(f"{SVG}style")
    assert sheet.text.strip().startswith(".chart *{")
    assert sheet.text.count("{") == 1


def test_in_a_page_the_neutral_colours_are_the_pages():
    drawn = chart.svg(CHART, "adaptive")
    assert "var(--ink, " in drawn
    assert "var(--" not in chart.svg(CHART)
    assert LIGHT.ground.lower() in chart.svg(CHART, "light", ground=True).lower()
    assert DARK.ground.lower() in chart.svg(CHART, "dark", ground=True).lower()


@pytest.mark.parametrize("hostile", [*TEXTS, "$x_1$", "_hidden", "$"])
def test_hostile_texts_are_only_texts(hostile):
    shown = Chart(hostile, hostile, hostile, (Panel(hostile, (Series(hostile, ((0, 1.0), (1, 2.0))),)),))
    drawn = ElementTree.fromstring(chart.svg(shown))
    assert not list(drawn.iter(f"{SVG}script"))
    assert Page(html.render(Document("t", (shown,))))


def test_a_long_curve_is_thinned_and_keeps_its_end():
    long = Series("a", tuple((step, 1.0 + step) for step in range(100_001)))
    few = Series("a", tuple((step, 1.0 + step) for step in range(2_000)))
    drawn, small = (chart.svg(Chart("t", "d", "x", (Panel("y", (series,)),))) for series in (long, few))
    assert len(drawn) < 2 * len(small)


def test_nothing_to_draw_and_numbers_that_are_none_are_drawn():
    empty = Chart("t", "no steps yet", "x", (Panel("y", (Series("a", ()),)),))
    gap = Chart("t", "d", "x", (Panel("y", (Series("a", ((0, 1.0), (1, float("nan")), (2, 2.0))),)),))
    for shown in (empty, gap):
        ElementTree.fromstring(chart.svg(shown))
        assert text.render(Document("t", (shown,)))


def test_a_notebook_gets_an_image_with_the_description():
    (image,) = Page(notebook.render(Document("t", (CHART,)))).all("img")
    assert image["alt"] == "Training: M[*-]: loss 4.25 at step 3"


def test_the_chart_as_text_is_its_numbers():
    assert text.render(Document("t", (CHART,)), 60).splitlines()[2:] == [
        "  Training: M[*-]: loss 4.25 at step 3",
        "",
        "  loss",
        "  step  M[*-]             test",
        "  ────  ─────  ───────────────",
        "     1      5                –",
        "     2    4.5  4.6 [4.5, 4.75]",
        "     3   4.25                –",
        "  bigram: 4.4",
        "",
        "  tokens a second",
        "  step  M[*-]",
        "  ────  ─────",
        "     1      5",
        "     2    4.5",
        "     3   4.25",
    ]


def test_a_long_curve_as_text_is_eight_rows():
    long = Series("a", tuple((step, float(step)) for step in range(1_000)))
    lines = text.render(Document("t", (Chart("t", "d", "x", (Panel("y", (long,)),)),)), 60).splitlines()
    assert [line.split()[0] for line in lines[-8:]] == ["0", "143", "285", "428", "571", "714", "856", "999"]


def test_pyplot_and_its_settings_are_left_alone():
    code = (
        "import sys; from workbench.render import chart; from workbench.render.scene_chart import *\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import matplotlib; import matplotlib.pyplot as plt; figure = plt.figure(); before = dict.copy(matplotlib.rcParams)\n"
        "chart.svg(Chart('t', 'd', 'x', (Panel('y', (Series('a', ((0, 1.0), (1, 2.0))),)),)))\n"
        "assert dict.copy(matplotlib.rcParams) == before and plt.gcf() is figure and plt.get_fignums() == [1]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"MPLBACKEND": "agg"})
