"""A strip as a canvas. Sequence mixers are filled, channel mixers outlined, the canonical index below each cell.

A folded repeat is a stack of sheets: its cells once, how many times beside them, and below the range of its indices.
"""

from __future__ import annotations

from workbench.render import canvas_svg
from workbench.render.canvas import (
    INK,
    LINE,
    QUIET,
    RAISED,
    TINT,
    Box,
    Canvas,
    Colour,
    Group,
    Shape,
    Text,
    Theme,
    edge,
)
from workbench.render.colour import ink_on
from workbench.render.escape import markup
from workbench.render.scene import Strip, StripCell
from workbench.render.strip_layout import SHEET, Metrics, PlacedCell, PlacedFrame, PlacedGroup, PlacedRepeat, lay_out

WIDTH = 1000  # units before a strip is wrapped

# The keyboard's star hangs high and its hyphen is a stump; these are the same characters as type.
GLYPHS = str.maketrans({"*": "∗", "-": "–"})


def svg(strip: Strip, theme: Theme = "light", width: float = WIDTH, ground: bool = False) -> str:
    """The strip as an SVG element, at most `width` units wide. `ground` paints the paper, for use as an image."""
    return canvas_svg.svg(draw(strip, width - 2 * edge(ground)), theme, ground)


def draw(strip: Strip, width: float = WIDTH) -> Canvas:
    """The strip as shapes, at most `width` units wide unless one block alone is wider."""
    layout = lay_out(strip, width)
    shapes = tuple(shape for frame in layout.frames for shape in _frame(frame, layout.metrics))
    return Canvas(layout.width, layout.height, strip.title, strip.description, shapes, "strip")


def cell_svg(cell: StripCell, theme: Theme = "adaptive") -> str:
    """One cell without its number, for a legend; its meaning stands beside it in words."""
    metrics = Metrics(cell_width=24, cell_height=26, symbol_size=13, index_size=0, group_gap=0)
    drawn = canvas_svg.element(_cell(PlacedCell(cell, 1, 1), metrics), theme)
    return (
        '<svg class="strip" aria-hidden="true" width="26" height="28" viewBox="0 0 26 28" '
        f'font-family="{markup(canvas_svg.FONT)}">{drawn}</svg>'
    )


def mixer_box(
    x: float, y: float, width: float, height: float, colour: Colour, filled: bool, radius: float = 6
) -> tuple[Box, Colour]:
    """The box of a layer kind, filled or outlined, and the colour of text in it: the same in every drawing."""
    if filled:
        return Box(x, y, width, height, radius, colour), Colour(ink_on(colour.light), ink_on(colour.dark))
    # The line of an outlined box runs inside of it, so that both kinds are equally large.
    return Box(x + 1, y + 1, width - 2, height - 2, radius - 1, None, colour, 2), colour


# ------------------------------------------------------------------------------------------------------


def _frame(frame: PlacedFrame, metrics: Metrics) -> list[Shape | Group]:
    x, y = frame.x, frame.y
    label = frame.label.upper()
    shapes: list[Shape | Group] = [
        Box(x, y, frame.width, frame.height, 10, None, LINE, dashed=frame.dashed, role="line"),
        Text(x + metrics.frame_padding, y + 18, label, metrics.label_size, QUIET, "start", 650, 0.9, role="quiet"),
    ]
    for placed in frame.groups:
        shapes += _repeat(placed, metrics) if isinstance(placed, PlacedRepeat) else _group(placed, metrics)
    return shapes


def _group(group: PlacedGroup, metrics: Metrics, numbered: bool = True) -> list[Shape | Group]:
    shapes: list[Shape | Group] = []
    if group.fused:
        shapes.append(Box(group.x, group.y, group.width, group.height, 10, TINT, INK, 1.75, role="pair"))
    for placed in group.cells:
        shapes.append(_cell(placed, metrics))
        if numbered:
            middle = placed.x + metrics.cell_width / 2
            shapes.append(_index(middle, placed.y, str(placed.cell.index), metrics))
    return shapes


def _repeat(repeat: PlacedRepeat, metrics: Metrics) -> list[Shape | Group]:
    x, y, width, height = repeat.x, repeat.y, repeat.width - 2 * SHEET, repeat.height
    shapes: list[Shape | Group] = [
        Box(x + out, y + out, width, height, 11, RAISED, LINE, role="sheet") for out in (2 * SHEET, SHEET, 0)
    ]
    for group in repeat.groups:
        shapes += _group(group, metrics, numbered=False)
    # Where a cell's middle is, whatever stands in the frame.
    top = repeat.y + metrics.repeat_padding + metrics.group_padding
    middle = top + metrics.cell_height / 2 + 0.36 * metrics.symbol_size
    shapes.append(Text(repeat.times_x, middle, f"×{repeat.times}", metrics.symbol_size, INK, weight=700, role="ink"))
    shapes.append(_index(x + width / 2, top, f"{repeat.first}–{repeat.last}", metrics))
    return [Group(tuple(shapes), repeat.title, "repeat")]


def _index(middle: float, top: float, text: str, metrics: Metrics) -> Text:
    below = top + metrics.cell_height + metrics.group_padding + metrics.index_size + 2
    return Text(middle, below, text, metrics.index_size, QUIET, "middle", role="quiet")


def _cell(placed: PlacedCell, metrics: Metrics) -> Group:
    cell = placed.cell
    own = Colour(cell.light, cell.dark)
    box, upon = mixer_box(placed.x, placed.y, metrics.cell_width, metrics.cell_height, own, cell.filled)
    text = Text(
        placed.x + metrics.cell_width / 2,
        placed.y + metrics.cell_height / 2 + 0.36 * metrics.symbol_size,
        cell.symbol.translate(GLYPHS),
        metrics.symbol_size,
        upon,
        "middle",
        700,
    )
    role = "cell filled" if cell.filled else "cell outlined"
    return Group((box, text), cell.title, role, own, upon, (("index", str(cell.index)),))
