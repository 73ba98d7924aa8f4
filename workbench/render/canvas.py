"""A drawing as placed shapes, before anyone decides which file it becomes: SVG, PNG and PDF show the same canvas.

Lengths are SVG user units, y downwards. Every colour is a pair, one for light paper and one for dark. Text is plain:
each writer (`canvas_svg`, `canvas_xdot`) escapes it in its own way. Imports nothing but `render.colour`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workbench.render.colour import DARK, LIGHT

Theme = Literal["light", "dark", "adaptive"]
Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Colour:
    """One colour on light and on dark paper."""

    light: str
    dark: str

    def on(self, theme: Theme) -> str:
        """The colour to write; an adaptive drawing is written in its light colours."""
        return self.dark if theme == "dark" else self.light


GROUND = Colour(LIGHT.ground, DARK.ground)
RAISED = Colour(LIGHT.raised, DARK.raised)
INK = Colour(LIGHT.ink, DARK.ink)
QUIET = Colour(LIGHT.quiet, DARK.quiet)
LINE = Colour(LIGHT.line, DARK.line)
TINT = Colour(LIGHT.tint, DARK.tint)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with rounded corners. `role` is its class in an SVG, which a dark page's style sheet goes by."""

    x: float
    y: float
    width: float
    height: float
    radius: float = 0
    fill: Colour | None = None
    stroke: Colour | None = None
    thickness: float = 1
    dashed: bool = False
    role: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points; with a `fill` it is closed and filled, which makes an arrow's head."""

    points: tuple[Point, ...]
    stroke: Colour | None = None
    thickness: float = 1
    fill: Colour | None = None
    role: str = ""


@dataclass(frozen=True, slots=True)
class Circle:
    """A circle around its middle."""

    x: float
    y: float
    radius: float
    fill: Colour | None = None
    stroke: Colour | None = None
    thickness: float = 1
    role: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text on its baseline. `spacing` is added behind every letter where the output can."""

    x: float
    y: float
    text: str
    size: float
    colour: Colour
    anchor: Anchor = "start"
    weight: int = 400
    spacing: float = 0
    role: str = ""


Shape = Box | Line | Circle | Text


@dataclass(frozen=True, slots=True)
class Group:
    """Shapes that are one thing: `title` says in words what it is, `data` is what a program finds it by.

    `own` is the thing's colour and `upon` that of text on it; an adaptive SVG carries the dark ones as custom
    properties, `--c` and `--t`.
    """

    shapes: tuple[Shape | Group, ...]
    title: str = ""
    role: str = ""
    own: Colour | None = None
    upon: Colour | None = None
    data: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Canvas:
    """A drawing: its size, what it is called, what it shows in words, and its shapes from back to front.

    `kind` is the class of the whole in an SVG. Lines on the border reach one unit beyond the size.
    """

    width: float
    height: float
    title: str
    description: str
    shapes: tuple[Shape | Group, ...]
    kind: str


MARGIN = 1  # for the outer half of lines on the border
PADDING = 11  # of painted paper around the drawing


def edge(ground: bool) -> float:
    """What every output leaves free on each side; more where the paper is painted."""
    return MARGIN + (PADDING if ground else 0)
