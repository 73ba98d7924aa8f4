"""A heat map as a canvas: a square a cell, darker where more is, on five levels; no cell that has something looks empty."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from workbench.render import canvas_svg
from workbench.render.canvas import LINE, QUIET, RAISED, Box, Canvas, Colour, Group, Shape, Text, Theme
from workbench.render.scene import HeatMap

# Shares up to each bound are one level. Each level's colour stands out from the paper by 3 and more.
BOUNDS = (0.001, 0.01, 0.1, 0.5, 1.0)
LABELS = ("up to 0.1 %", "up to 1 %", "up to 10 %", "up to 50 %", "more")
_COLOURS = (
    Colour("#D0703C", "#AC6136"),
    Colour("#C84E00", "#C9753F"),
    Colour("#9E3D00", "#DF9262"),
    Colour("#742C00", "#F0B48D"),
    Colour("#4A1B00", "#FFDCC2"),
)
_WIDE, _HIGH = 384, 288  # units that the grid may take
_LARGEST, _SMALLEST = 18, 3  # units of a cell
_SWATCH, _TYPE, _LEGEND = 11, 11, 88  # the legend: a box, its text, and the room of one entry
_TEXT = 0.56  # of its size: how wide a letter is


def svg(heat: HeatMap, theme: Theme = "light", ground: bool = False) -> str:
    """The map as an SVG element; `ground` paints the paper, for use as an image."""
    return canvas_svg.svg(draw(heat), theme, ground)


def level(share: float) -> int:
    """0 for nothing at all, else 1 to 5.

    >>> level(0), level(1e-12), level(0.01), level(0.7)
    (0, 1, 2, 5)
    """
    if not share > 0:
        return 0
    return next((place for place, bound in enumerate(BOUNDS, 1) if share <= bound), len(BOUNDS))


def draw(heat: HeatMap) -> Canvas:
    """The grid in a frame, and the legend below it."""
    rows, columns = len(heat.cells), max(map(len, heat.cells), default=0)
    # Whole units, so that no paper shines through between two cells.
    size = max(_SMALLEST, min(_LARGEST, _WIDE // max(columns, 1), _HIGH // max(rows, 1)))
    wide, high = size * columns, size * rows
    shapes: list[Shape | Group] = [Box(0, 0, wide, high, 2, RAISED, LINE, role="sheet")]
    for number, row in enumerate(heat.cells):
        shapes += _runs(row, number * size, size)
    legend, width, height = _legend(heat.scale, high + 14, max(wide, 5 * _LEGEND))
    return Canvas(width, height, heat.title, heat.description, (*shapes, *legend), "heat")


# ------------------------------------------------------------------------------------------------------


def _runs(row: Sequence[float], top: float, size: float) -> Iterator[Box]:
    """Neighbours of one level are one box: a picture of a whole tensor stays small."""
    at = 0
    for found, run in groupby(map(level, row)):
        length = len(list(run))
        if found:
            yield Box(at * size, top, length * size, size, 0, _COLOURS[found - 1], role=f"level-{found}")
        at += length


def _legend(scale: str, top: float, width: float) -> tuple[list[Shape | Group], float, float]:
    """The boxes with their words in as many lines as `width` asks for; how wide and how far down they reach."""
    shapes: list[Shape | Group] = []
    each = int(width // _LEGEND)
    for place, (colour, label) in enumerate(zip(_COLOURS, LABELS, strict=True)):
        x, y = place % each * _LEGEND, top + place // each * 18
        shapes.append(Box(x, y, _SWATCH, _SWATCH, 2, colour, role=f"level-{place + 1}"))
        shapes.append(Text(x + _SWATCH + 5, y + 9.5, label, _TYPE, QUIET, role="quiet"))
    below = top + (len(LABELS) - 1) // each * 18 + 30
    shapes.append(Text(0, below, scale, _TYPE, QUIET, role="quiet"))
    return shapes, max(width, len(scale) * _TYPE * _TEXT), below + 5
