from xml.etree import ElementTree

import pytest

from workbench.pattern.symbols import SYMBOLS
from workbench.render.colour import DARK, LIGHT, contrast, ink_on
from workbench.render.scene import Strip, StripCell, StripFrame, StripGroup, StripRepeat
from workbench.render.strip import svg
from workbench.render.strip_layout import SHEET, lay_out
from workbench.render.text_strip import strip_lines

from .test_text import STRIP

SVG = "{http://www.w3.org/2000/svg}"


def long_strip(count, stages=1):
    cells = [StripCell("M", index, "#0072B2", "#0072B2", True, "") for index in range(count)]
    groups = [StripGroup(tuple(cells[at : at + 2]), fused=True) for at in range(0, count, 2)]
    share = len(groups) // stages
    return Strip(
        "t", "d", tuple(StripFrame(f"stage {n}", tuple(groups[n * share : (n + 1) * share])) for n in range(stages))
    )


@pytest.mark.parametrize("theme", ["light", "dark", "adaptive"])
def test_drawing_is_well_formed_and_named(theme):
    root = ElementTree.fromstring(svg(STRIP, theme, ground=True))
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == "strip"
    assert root.find(f"{SVG}desc").text == "described"


def test_cells_are_filled_or_outlined_and_numbered_below():
    root = ElementTree.fromstring(svg(STRIP))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts == ["STAGE 0", "M", "8", "∗", "9", "–", "10", "STAGE 1", "MTP ×2", "M", "0"]
    boxes = [group.find(f"{SVG}rect") for group in root.iter(f"{SVG}g")]
    assert [box.get("fill") == "none" for box in boxes] == [False, False, True, False]


def test_only_mtp_is_dashed_and_only_pairs_share_a_frame():
    source = svg(STRIP)
    assert source.count("stroke-dasharray") == 1
    assert source.count('class="pair"') == 1


@pytest.mark.parametrize("width", [300, 520, 1000])
@pytest.mark.parametrize(("count", "stages"), [(118, 1), (118, 2), (60, 10), (2, 1)])
def test_nothing_leaves_the_drawing(count, stages, width):
    layout = lay_out(long_strip(count, stages), width)
    assert layout.width <= width
    for frame in layout.frames:
        assert frame.x >= 0
        assert frame.x + frame.width <= layout.width
        assert frame.y + frame.height <= layout.height
        for group in frame.groups:
            assert frame.x < group.x
            assert group.x + group.width < frame.x + frame.width
            assert group.y + group.height + layout.metrics.index_size < frame.y + frame.height


def test_frames_do_not_overlap():
    frames = lay_out(long_strip(60, 6), 600).frames
    for place, one in enumerate(frames):
        for other in frames[place + 1 :]:
            beside = one.x + one.width < other.x or other.x + other.width < one.x
            above = one.y + one.height < other.y or other.y + other.height < one.y
            assert beside or above


def test_a_symbol_does_not_change_its_place_when_stages_are_many():
    layout = lay_out(long_strip(118), 1000)
    cells = [placed.cell.index for frame in layout.frames for group in frame.groups for placed in group.cells]
    assert cells == list(range(118))


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize(("theme", "paper"), [("light", LIGHT), ("dark", DARK)])
def test_symbols_can_be_read_on_their_cells(symbol, theme, paper):
    """A filled cell's symbol stands on its colour; an outlined cell's on the page and on the tint of a pair."""
    row = SYMBOLS[symbol]
    colour = getattr(row, theme)
    if row.role == "sequence mixer":
        assert contrast(ink_on(colour), colour) >= 4.5
        assert contrast(colour, paper.ground) >= 3, "the cell itself must stand out from the page"
    else:
        assert contrast(colour, paper.ground) >= 4.5
        assert contrast(colour, paper.tint) >= 4.5


@pytest.mark.parametrize("paper", [LIGHT, DARK])
def test_quiet_text_can_be_read(paper):
    for ground in (paper.ground, paper.tint):
        assert contrast(paper.quiet, ground) >= 4.5


def test_contrast_check_can_fail():
    assert contrast("#FFFFFF", "#3A9BD9") < 4.5


def test_same_strip_same_bytes():
    assert svg(STRIP, "adaptive") == svg(STRIP, "adaptive")


REPEAT = StripRepeat(long_strip(4).frames[0].groups, 12, 0, 47)
FOLDED = Strip("t", "d", (StripFrame("stage 0", (REPEAT, *long_strip(2).frames[0].groups)), StripFrame("stage 1", ())))


def test_a_repeat_shows_its_cells_once_and_says_how_often_and_where():
    root = ElementTree.fromstring(svg(FOLDED))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert texts == ["STAGE 0", "M", "M", "M", "M", "×12", "0–47", "M", "0", "M", "1", "STAGE 1"]
    (group,) = [group for group in root.iter(f"{SVG}g") if group.get("class") == "repeat"]
    assert group.find(f"{SVG}title").text == "12 times [MM][MM], sub-layers 0 to 47"


@pytest.mark.parametrize("width", [520, 1000])
def test_a_repeat_stays_in_its_frame(width):
    layout = lay_out(FOLDED, width)
    frame = layout.frames[0]
    repeat, group = frame.groups
    assert repeat.x + repeat.width < group.x
    assert frame.y < repeat.y < repeat.y + repeat.height + 2 * SHEET < frame.y + frame.height
    assert group.y == repeat.groups[0].y, "cells in and beside a repeat stand level"
    inner = repeat.groups[-1]
    assert inner.x + inner.width < repeat.times_x < repeat.x + repeat.width


def test_a_repeat_as_text():
    assert strip_lines(FOLDED, 80) == [
        "stage 0                    stage 1",
        "([M M] [M M])×12 [M M]  │",
        "      0–47        0 1",
    ]
