"""A graph as a canvas: panels with the residual stream, and what each block reads from it and adds to it.

Graphviz says where the nodes are (`graph_layout`), this module draws them. Sequence mixers are filled, channel mixers
outlined, empty slots dashed, each with its name in it.
"""

from __future__ import annotations

from workbench.render import canvas_svg
from workbench.render.canvas import (
    GROUND,
    INK,
    LINE,
    QUIET,
    RAISED,
    Box,
    Canvas,
    Circle,
    Colour,
    Group,
    Line,
    Shape,
    Text,
    Theme,
    edge,
)
from workbench.render.escape import columns, one_line
from workbench.render.graph_layout import COLUMN, SIZES, Placed, place
from workbench.render.scene import Graph, GraphEdge, GraphNode, GraphPanel
from workbench.render.strip import GLYPHS, WIDTH, mixer_box

_PADDING = 18
_LABEL = 34  # height of a panel's label
_NOTE = 15  # height of a line below
_GAP, _TURN_GAP = 16, 56
_PILL_TYPE, _MIXER_TYPE, _LABEL_TYPE, _NOTE_TYPE = 11, 13.5, 11, 11
_LETTER = 0.62  # of its size: how wide a letter is, generously
_LEAD = 30  # from a column's left side to the line that runs down through norm, mixer and join


def svg(graph: Graph, theme: Theme = "light", width: float = WIDTH, ground: bool = False) -> str:
    """The graph as an SVG element, at most `width` units wide. `ground` paints the paper, for use as an image."""
    return canvas_svg.svg(draw(graph, width - 2 * edge(ground)), theme, ground)


def draw(graph: Graph, width: float = WIDTH) -> Canvas:
    """The graph as shapes, panels in rows of at most `width` units. `WorkbenchError` where there is no Graphviz."""
    rows: list[list[tuple[GraphPanel, Placed, float]]] = []
    used = 0.0
    laid_out = [(panel, place(panel)) for panel in graph.panels]
    # Panels of one structure are equally wide, whatever stands below them.
    widths: dict[float, float] = {}
    for panel, placed in laid_out:
        widths[placed.width] = max(widths.get(placed.width, 0.0), _panel_width(panel, placed))
    for panel, placed in laid_out:
        wide = widths[placed.width]
        gap = _TURN_GAP if panel.turns else _GAP
        if not rows or used + gap + wide > width:
            rows.append([])
            used = -gap
        rows[-1].append((panel, placed, wide))
        used += gap + wide
    shapes: list[Shape | Group] = []
    total = top = 0.0
    for number, row in enumerate(rows):
        top += _GAP * (number > 0)
        notes = max(len(panel.notes) for panel, _, _ in row)
        inside = max(placed.height for _, placed, _ in row)
        high = inside + _LABEL + _PADDING + (notes and notes * _NOTE + 8)
        left = 0.0
        for place_in_row, (panel, placed, wide) in enumerate(row):
            if place_in_row:
                shapes += _turn(left, top + high / 2) if panel.turns else ()
                left += _TURN_GAP if panel.turns else _GAP
            shapes.append(_panel(panel, placed, inside, left, top, wide, high))
            left += wide
        total, top = max(total, left), top + high
    return Canvas(total, top, graph.title, graph.description, tuple(shapes), "graph")


# ------------------------------------------------------------------------------------------------------


def _panel_width(panel: GraphPanel, placed: Placed) -> float:
    label = 0.82 * _LABEL_TYPE * min(columns(panel.label), 28)
    notes = max((0.56 * _NOTE_TYPE * min(columns(note), 40) for note in panel.notes), default=0.0)
    return max(placed.width, label, notes) + 2 * _PADDING


def _panel(panel: GraphPanel, placed: Placed, inside: float, x: float, y: float, width: float, height: float) -> Group:
    room = width - 2 * _PADDING
    label = fitted(panel.label.upper().translate(GLYPHS), room, 0.82 * _LABEL_TYPE)
    shapes: list[Shape | Group] = [
        Box(x, y, width, height, 10, RAISED, LINE, dashed=panel.dashed, role="panel")
        if not panel.fused
        else Box(x, y, width, height, 10, RAISED, INK, 1.75, panel.dashed, role="panel fused"),
        Text(x + _PADDING, y + 22, label, _LABEL_TYPE, QUIET, weight=650, spacing=0.9, role="quiet"),
    ]
    pen = _Panel(panel, placed, inside, x + _PADDING, y + _LABEL)
    shapes += pen.lines()
    shapes += [pen.node(node) for node in panel.nodes if node.shown and node.kind not in ("start", "tap", "end")]
    bottom = y + height - _PADDING + 4 - _NOTE * (len(panel.notes) - 1)
    for number, note in enumerate(panel.notes):
        text = fitted(note, room, 0.56 * _NOTE_TYPE)
        shapes.append(Text(x + _PADDING, bottom + number * _NOTE, text, _NOTE_TYPE, QUIET, role="quiet"))
    return Group(tuple(shapes), panel.title)


def _turn(left: float, y: float) -> tuple[Shape, ...]:
    start, tip = left + 14, left + _TURN_GAP - 14
    return (
        Line(((start, y), (tip - 7, y)), QUIET, 2, role="thin"),
        Line(((tip - 9, y - 6), (tip, y), (tip - 9, y + 6)), None, fill=QUIET, role="quiet"),
    )


class _Panel:
    """Draws what is in one panel, whose inside begins at `x`, `y` and is `height` high."""

    def __init__(self, panel: GraphPanel, placed: Placed, height: float, x: float, y: float) -> None:
        self._panel, self._placed, self._height, self._x, self._y = panel, placed, height, x, y
        self._nodes = {node.name: node for node in panel.nodes}

    def lines(self) -> list[Shape]:
        """The stream in one piece, then the branches."""
        stream = [edge for edge in self._panel.edges if edge.stream and edge.shown]
        shapes: list[Shape] = []
        if stream:
            # It goes on to the bottom, so that the streams of a row end level.
            begin, end = self._at(stream[0].tail), (self._at(stream[-1].head)[0], self._y + self._height)
            shapes.append(Line((begin, (end[0], end[1] - 6)), INK, 3, role="stream"))
            x, y = end
            shapes.append(Line(((x - 6, y - 8), (x + 6, y - 8), (x, y + 2)), None, fill=INK, role="ink"))
        for found in self._panel.edges:
            if not found.stream and found.shown:
                shapes += self._branch(found)
        return shapes

    def node(self, node: GraphNode) -> Group:
        """One node, its title with it."""
        x, y = self._at(node.name)
        width, height = SIZES[node.kind]
        left, top = x - width / 2, y - height / 2
        data = () if node.index is None else (("index", str(node.index)),)
        if node.kind == "add":
            plus = (((x - 4.5, y), (x + 4.5, y)), ((x, y - 4.5), (x, y + 4.5)))
            circle = Circle(x, y, 9, GROUND, INK, 1.75, "add")
            return Group(
                (circle, *(Line(points, INK, 1.75, role="stream") for points in plus)), node.title, "", data=data
            )
        if node.kind == "mixer":
            own = Colour(node.light, node.dark)
            box, upon = mixer_box(left, top, width, height, own, node.filled)
            text = self._text(node.text, x, y, width - 10, _MIXER_TYPE, upon, weight=700)
            role = "cell filled" if node.filled else "cell outlined"
            return Group((box, text), node.title, role, own, upon, data)
        if node.kind in ("slot", "remark"):
            words = self._text(node.text, x, y, width - 8, _PILL_TYPE, QUIET, role="quiet")
            frame = Box(left + 0.5, top + 0.5, width - 1, height - 1, 6, None, QUIET, dashed=True, role="thin")
            return Group((frame, words) if node.kind == "slot" else (words,), node.title, data=data)
        if node.kind == "input":
            return Group((self._text(node.text, x, y, width, _PILL_TYPE, QUIET, role="quiet"),), node.title)
        if node.kind == "box":
            frame = Box(left, top, width, height, 5, GROUND, INK, 1.25, role="add")
            return Group((frame, self._text(node.text, x, y, width - 8, 12, INK, role="ink")), node.title)
        wide = self._pill_width(node)
        pill = Box(left, top, wide, height, 5, GROUND, QUIET, role="pill")
        shapes: tuple[Shape, ...] = (
            pill,
            self._text(node.text, left + wide / 2, y, wide, _PILL_TYPE, QUIET, role="quiet"),
        )
        if node.tag:
            tag = fitted(node.tag, width - wide - 6, _LETTER * 10)
            shapes += (Text(left + width, y + 3.8, tag, 10.5, QUIET, "end", role="quiet"),)
        return Group(shapes, node.title, data=data)

    def _branch(self, found: GraphEdge) -> tuple[Shape, ...]:
        tail, head = self._nodes[found.tail], self._nodes[found.head]
        (x0, y0), (x1, y1) = self._at(tail.name), self._at(head.name)
        if tail.kind == "tap":
            return (_thin((x0, y0), (x1 - COLUMN / 2, y1)),)
        if head.kind == "add":
            start, tip = x0 - COLUMN / 2, x1 + 9.5
            return (
                _thin((start, y0), (tip + 5, y1)),
                Line(((tip + 7, y1 - 3.8), (tip, y1), (tip + 7, y1 + 3.8)), None, fill=QUIET, role="quiet"),
            )
        low, high = y0 + SIZES[tail.kind][1] / 2, y1 - SIZES[head.kind][1] / 2
        if {tail.kind, head.kind} & {"norm", "join"}:
            x = x0 - COLUMN / 2 + _LEAD
            return (_thin((x, low), (x, high)),)
        # Down, across and down; where two come together they meet at the top of what takes both.
        across = high - 7
        return (_thin((x0, low), (x0, across), (x1, across), (x1, high)),)

    def _at(self, name: str) -> tuple[float, float]:
        x, y = self._placed.spots[name]
        return self._x + x, self._y + y

    def _pill_width(self, node: GraphNode) -> float:
        return float(min(max(columns(node.text) * 0.56 * _PILL_TYPE + 18, 2 * _LEAD), COLUMN))

    @staticmethod
    def _text(
        text: str, x: float, y: float, room: float, size: float, colour: Colour, weight: int = 400, role: str = ""
    ) -> Text:
        shown = fitted(text, room, _LETTER * size * (1.08 if weight > 400 else 0.95))
        return Text(x, y + 0.36 * size, shown, size, colour, "middle", weight, role=role)


def _thin(*points: tuple[float, float]) -> Line:
    return Line(points, QUIET, 1.25, role="thin")


def fitted(text: str, room: float, letter: float) -> str:
    """One line, cut with an ellipsis where it is longer than the room; `letter` is the width of one.

    >>> fitted("attention", 60, 10), fitted("MLP", 60, 10)
    ('atten…', 'MLP')
    """
    shown = one_line(text)
    fits = max(int(room / letter), 1)
    if columns(shown) <= fits:
        return shown
    kept, used = 0, 1
    for character in shown:
        used += columns(character)
        if used > fits:
            break
        kept += 1
    return shown[:kept] + "…"
