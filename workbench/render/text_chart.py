"""A chart as terminal text: the numbers of its curves at a few places, a table a panel."""

from __future__ import annotations

import bisect

from workbench.render.escape import one_line
from workbench.render.scene import Column, Table
from workbench.render.scene_chart import Chart, Panel
from workbench.render.text_table import table_lines, wrapped

_PLACES = 8  # rows of a panel


def chart_lines(chart: Chart, width: int) -> list[str]:
    """What the chart shows, then every panel as a table of at most eight places that its curves were measured at."""
    lines = wrapped(one_line(f"{chart.title}: {chart.description}"), width)
    for panel in chart.panels:
        lines += ["", *wrapped(one_line(panel.label), width), *table_lines(_table(chart, panel), width)]
        lines += [
            line
            for level in panel.levels
            for line in wrapped(f"{one_line(level.label)}: {_number(level.value)}", width)
        ]
    return lines


def _table(chart: Chart, panel: Panel) -> Table:
    every = sorted({x for series in panel.series for x, _ in series.points})
    last = len(every) - 1
    chosen = (
        every if last < _PLACES else sorted({every[round(place * last / (_PLACES - 1))] for place in range(_PLACES)})
    )
    columns = (Column(chart.label, "right"), *(Column(series.label or panel.label, "right") for series in panel.series))
    rows = [(_number(x), *(_at(series.points, series.spread, x) for series in panel.series)) for x in chosen]
    return Table(columns, tuple(rows), "")


def _at(points: tuple[tuple[float, float], ...], spread: tuple[tuple[float, float], ...], x: float) -> str:
    place = bisect.bisect_left([point[0] for point in points], x)
    if place == len(points) or points[place][0] != x:
        return "–"
    text = _number(points[place][1])
    return f"{text} [{_number(spread[place][0])}, {_number(spread[place][1])}]" if spread else text


def _number(value: float) -> str:
    """Four digits that count.

    >>> _number(3), _number(0.123456), _number(12345.6)
    ('3', '0.1235', '12,346')
    """
    if value == int(value) if abs(value) < 1e15 else False:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
