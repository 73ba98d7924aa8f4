"""Heat maps: no cell that has something looks empty, in every form."""

from xml.etree import ElementTree

import pytest

from workbench.render import heat, notebook, text
from workbench.render.colour import DARK, LIGHT, contrast
from workbench.render.scene import Document, HeatMap

from .hostile import TEXTS
from .pages import Page

CELLS = ((0.0, 1e-9, 1e-9), (0.005, 0.05, 0.3), (0.0, 0.7, 1.0))
MAP = HeatMap("Where a differs", "8 cells", CELLS, "of a cell's 16 entries")


def test_levels_grow_and_nothing_is_not_a_level():
    assert [heat.level(share) for row in CELLS for share in row] == [0, 1, 1, 2, 3, 4, 0, 5, 5]
    assert heat.level(float("nan")) == 0


def test_every_level_stands_out_from_the_paper():
    for colour in heat._COLOURS:
        assert contrast(colour.light, LIGHT.raised) >= 3
        assert contrast(colour.dark, DARK.raised) >= 3


def test_neighbours_of_one_level_are_one_box():
    drawn = ElementTree.fromstring(heat.svg(MAP))
    boxes = [box.get("class") for box in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    legend = [f"level-{number}" for number in range(1, 6)]
    assert boxes == ["sheet", "level-1", "level-2", "level-3", "level-4", "level-5", *legend]


def test_a_large_map_stays_small():
    large = HeatMap("t", "d", tuple((0.5,) * 256 for _ in range(256)), "s")
    canvas = heat.draw(large)
    assert len(canvas.shapes) < 300
    assert canvas.height < 900


def test_a_map_says_in_words_what_it_shows():
    drawn = heat.svg(MAP)
    assert "<title>Where a differs</title><desc>8 cells</desc>" in drawn
    (image,) = Page(notebook.render(Document("t", (MAP,)))).all("img")
    assert image["alt"] == "Where a differs: 8 cells"


def test_the_map_as_text():
    assert text.render(Document("t", (MAP,)), 60).splitlines()[2:] == [
        "  Where a differs: 8 cells",
        "  │ --│",
        "  │░▒▓│",
        "  │ ██│",
        "  - up to 0.1 % · ░ up to 1 % · ▒ up to 10 % · ▓ up to 50 %",
        "  · █ more",
        "  of a cell's 16 entries",
    ]
    assert "│" not in text.render(Document("t", (HeatMap("t", "d", ((1.0,) * 100,), "s"),)), 60)


@pytest.mark.parametrize("said", TEXTS, ids=range(len(TEXTS)))
def test_hostile_texts_are_texts(said):
    drawn = heat.svg(HeatMap(said, said, CELLS, said))
    ElementTree.fromstring(drawn)
    assert "<script" not in drawn


def test_an_empty_map_is_drawn():
    ElementTree.fromstring(heat.svg(HeatMap("t", "d", (), "s")))
