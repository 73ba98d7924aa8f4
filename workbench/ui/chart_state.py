"""What the page shows of a chart, as JSON data: the pictures, where their panels lie, and every curve's numbers as text. Pure."""

from __future__ import annotations

import bisect
import math
from base64 import b64encode
from dataclasses import astuple
from typing import Any

from workbench.render import chart, scene
from workbench.render.escape import visible
from workbench.render.scene_chart import Series

MOST_STEPS = 1000  # places of a chart whose numbers are sent


def compute(shown: scene.Chart) -> dict[str, Any]:
    """`places` are values of the horizontal axis, `curves` entries [panel, curve, a text a place ("" where nothing was measured)]."""
    light, frames = chart.drawn(shown, "light", ground=True)
    places = _places(shown)
    return {
        "light": _data(light),
        "dark": _data(chart.svg(shown, "dark", ground=True)),
        "said": visible(f"{shown.title}: {shown.description}"),
        "label": visible(shown.label),
        "frames": [list(astuple(frame)) for frame in frames],
        "places": places,
        "curves": [
            [visible(panel.label), visible(series.label), _texts(series, places)]
            for panel in shown.panels
            for series in panel.series
            if series.joined
        ],
    }


# ------------------------------------------------------------------------------------------------------


def _data(svg: str) -> str:
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"


def _places(shown: scene.Chart) -> list[float]:
    every = sorted({x for panel in shown.panels for series in panel.series for x, _ in series.points})
    thin = max(1, math.ceil(len(every) / MOST_STEPS))
    return [*every[::thin], *(every[-1:] if every and (len(every) - 1) % thin else ())]


def _texts(series: Series, places: list[float]) -> list[str]:
    across = [x for x, _ in series.points]
    texts = []
    for place in places:
        found = bisect.bisect_left(across, place)
        there = found < len(across) and across[found] == place
        texts.append(f"{series.points[found][1]:.9g}" if there else "")
    return texts
