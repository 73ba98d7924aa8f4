"""A heat map as terminal text: a letter of growing darkness a cell, and what each means."""

from __future__ import annotations

from workbench.render.escape import one_line
from workbench.render.heat import LABELS, level
from workbench.render.scene import HeatMap
from workbench.render.text_table import wrapped

_SHADES = "-░▒▓█"
_HARD_SPACE = "\u00a0"
_NOTHING = " "


def heat_lines(heat: HeatMap, width: int) -> list[str]:
    """The map between two bars, what it shows, and the legend. A map wider than `width` is said in words only."""
    lines = wrapped(one_line(f"{heat.title}: {heat.description}"), width)
    if max(map(len, heat.cells), default=0) + 2 > width:
        return lines
    lines += [f"│{''.join(map(_shade, row))}│" for row in heat.cells]
    phrases = [f"{shade} {label}" for shade, label in zip(_SHADES, LABELS, strict=True)]
    # A line ends between two entries of the legend, not inside one.
    legend = wrapped(" · ".join(phrase.replace(" ", _HARD_SPACE) for phrase in phrases), width)
    return [*lines, *(line.replace(_HARD_SPACE, " ") for line in legend), *wrapped(one_line(heat.scale), width)]


def _shade(share: float) -> str:
    place = level(share)
    return _SHADES[place - 1] if place else _NOTHING
