"""A canvas as PNG or PDF, by the cairo inside of Graphviz.

A graph may have a background of drawing operators ("xdot"). The whole drawing is the background of a graph with one
unseen node, so what comes out is the canvas, shape by shape: nothing is laid out, and no other library is needed.
"""

from __future__ import annotations

from workbench.errors import WorkbenchError
from workbench.render.canvas import GROUND, Box, Canvas, Circle, Colour, Group, Line, Shape, Text, Theme, edge
from workbench.render.engine import draw
from workbench.render.escape import one_line

_FONT = "DejaVu Sans"
_BEND = 0.5522847  # of a radius: where a cubic curve's handle makes a quarter of a circle
_LONGEST_STRING = 4_000  # characters of one DOT string; the parser takes 16,384 bytes
_MOST_PIXELS = 100_000_000  # 400 MB while it is drawn
_LONGEST_SIDE = 32_767  # pixels; cairo shrinks a larger picture without a word
_LONGEST_TEXT = 2_000  # characters of a line in a picture, which is far beyond its border


def png(canvas: Canvas, theme: Theme = "light", scale: float = 2) -> bytes:
    """The canvas as PNG, `scale` pixels a unit, on painted paper. `WorkbenchError` where that is too large."""
    wide, high = (round(scale * (length + 2 * edge(True))) for length in (canvas.width, canvas.height))
    if max(wide, high) > _LONGEST_SIDE or wide * high > _MOST_PIXELS:
        raise WorkbenchError(f"a PNG of {wide:,} × {high:,} pixels is too large; SVG and PDF have no such limit")
    return draw(source(canvas, theme, scale), "png", "nop2")


def pdf(canvas: Canvas, theme: Theme = "light") -> bytes:
    """The canvas as one page of PDF, a unit a point, on painted paper; text stays text."""
    return draw(source(canvas, theme, 1), "pdf", "nop2")


def source(canvas: Canvas, theme: Theme = "light", scale: float = 1) -> str:
    """The DOT whose background is the canvas; lay it out with `nop2`."""
    border = edge(True)
    wide, high = canvas.width + 2 * border, canvas.height + 2 * border
    pen = _Pen(theme, border, high)
    paper = Box(-border, -border, wide, high, 0, GROUND)
    for shape in (paper, *canvas.shapes):
        pen.draw(shape)
    # The string ends with a space: what stands before its quotation mark is then never a backslash.
    operators = " ".join([*pen.operators, ""])
    parts = [operators[at : at + _LONGEST_STRING] for at in range(0, len(operators), _LONGEST_STRING)]
    background = " + ".join('"' + part.replace('"', '\\"') + '"' for part in parts)
    return (
        f"graph g {{ dpi={_n(72 * scale)}; pad=0; margin=0; bgcolor=transparent; _background={background}; "
        f'a [pos="{_n(wide / 2)},{_n(high / 2)}", width={wide / 72:.6f}, height={high / 72:.6f}, fixedsize=true, '
        'shape=box, style=invis, label=""]; }'
    )


# ------------------------------------------------------------------------------------------------------


class _Pen:
    """Writes operators; y upwards, and lengths of text in bytes."""

    def __init__(self, theme: Theme, border: float, height: float) -> None:
        self.operators: list[str] = []
        self._theme, self._border, self._height = theme, border, height

    def draw(self, shape: Shape | Group) -> None:
        match shape:
            case Group():
                for inner in shape.shapes:
                    self.draw(inner)
            case Box():
                self._style(shape.thickness, shape.dashed)
                self._painted("b", "B", _rounded(shape), shape.fill, shape.stroke)
            case Line():
                self._style(shape.thickness)
                self._painted("P", "L", list(shape.points), shape.fill, shape.stroke)
            case Circle():
                self._style(shape.thickness)
                round_box = Box(
                    shape.x - shape.radius,
                    shape.y - shape.radius,
                    2 * shape.radius,
                    2 * shape.radius,
                    shape.radius,
                )
                self._painted("b", "B", _rounded(round_box), shape.fill, shape.stroke)
            case Text():
                self._text(shape)

    def _painted(
        self, filled: str, open_: str, points: list[tuple[float, float]], fill: Colour | None, stroke: Colour | None
    ) -> None:
        self._colour("c", stroke or fill)
        if fill and not stroke:
            self._style(0.01)  # a filled shape is always stroked too: with a line too thin to be seen
        if fill:
            self._colour("C", fill)
        places = " ".join(self._point(point) for point in points)
        self.operators.append(f"{filled if fill else open_} {len(points)} {places}")

    def _text(self, shape: Text) -> None:
        # The reader of operators stumbles over a backslash; a look-alike stands for it.
        text = one_line(shape.text)[:_LONGEST_TEXT].replace("\\", "⧵")
        align = {"start": -1, "middle": 0, "end": 1}[shape.anchor]
        self._colour("c", shape.colour)
        self.operators += [
            f"F {_n(shape.size)} {_counted(_FONT)}",
            f"t {1 if shape.weight >= 600 else 0}",
            f"T {self._point((shape.x, shape.y))} {align} {_n(0.6 * shape.size * len(text))} {_counted(text)}",
        ]

    def _colour(self, operator: str, colour: Colour | None) -> None:
        if colour:
            self.operators.append(f"{operator} {_counted(colour.on(self._theme))}")

    def _style(self, thickness: float, dashed: bool = False) -> None:
        for style in (f"setlinewidth({_n(thickness)})", "dashed" if dashed else "solid"):
            self.operators.append(f"S {_counted(style)}")

    def _point(self, point: tuple[float, float]) -> str:
        return f"{_n(point[0] + self._border)} {_n(self._height - point[1] - self._border)}"


def _rounded(box: Box) -> list[tuple[float, float]]:
    """The outline of a box as one Bézier curve: four sides and four quarters of a circle."""
    left, top, right, bottom = box.x, box.y, box.x + box.width, box.y + box.height
    radius = min(box.radius, box.width / 2, box.height / 2)
    handle = radius * (1 - _BEND)
    corners = (
        ((right - radius, top), (right - handle, top), (right, top + handle), (right, top + radius)),
        ((right, bottom - radius), (right, bottom - handle), (right - handle, bottom), (right - radius, bottom)),
        ((left + radius, bottom), (left + handle, bottom), (left, bottom - handle), (left, bottom - radius)),
        ((left, top + radius), (left, top + handle), (left + handle, top), (left + radius, top)),
    )
    points = [(left + radius, top)]
    for start, first, second, end in corners:
        # A side is a curve whose handles lie on its ends.
        points += [points[-1], start, start, first, second, end]
    return points


def _counted(text: str) -> str:
    return f"{len(text.encode('utf-8', 'replace'))} -{text}"


def _n(number: float) -> str:
    return f"{number:.3f}".rstrip("0").rstrip(".")
