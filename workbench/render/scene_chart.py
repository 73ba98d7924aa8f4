"""The part of a scene that is a chart: curves over a shared horizontal axis, in one panel or several. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One curve, or with `joined` off, marks alone. `spread` holds (low, high) for every point: a band, or error bars on marks.

    A value that is no finite number leaves a gap. `colour` numbers the palette, so that one thing has one colour in every
    panel; `dashed` tells two curves of one colour apart.
    """

    label: str
    points: tuple[Point, ...]
    spread: tuple[tuple[float, float], ...] = ()
    colour: int = 0
    dashed: bool = False
    joined: bool = True


@dataclass(frozen=True)
class Level:
    """A value to compare with, drawn across: a baseline."""

    label: str
    value: float


@dataclass(frozen=True)
class Panel:
    """Curves on one vertical axis. `weight` is its share of the height."""

    label: str
    series: tuple[Series, ...]
    levels: tuple[Level, ...] = ()
    logarithmic: bool = False
    weight: float = 1.0


Axis = Literal["linear", "logarithmic"]


@dataclass(frozen=True)
class Chart:
    """Panels above each other. `title` names the picture, `description` says in words what it shows, numbers included."""

    title: str
    description: str
    label: str
    panels: tuple[Panel, ...]
    axis: Axis = "linear"
