"""A chart as SVG, drawn by matplotlib, which is imported when the first chart is drawn.

The figure is made without pyplot, so a notebook's own figures and settings are left alone, and without a clock or random
ids, so the same chart is the same bytes.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from workbench.render.canvas import Theme
from workbench.render.colour import DARK, LIGHT, Paper
from workbench.render.escape import markup, one_line
from workbench.render.scene_chart import Chart, Panel, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Each stands out by 3 and more from light and from dark paper.
PALETTE = ("#1F83C4", "#D3651A", "#158F6B", "#A867C4", "#C7486F", "#8A7A1C", "#5A7FA6", "#B0563A")
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
_WIDE, _HIGH, _MORE = 7.2, 3.4, 1.0  # inches: a figure, its first panel, and every further unit of weight
_LONGEST, _WIDEST = 48, 90  # characters of a label in a legend, and of one that has the figure's width
_LARGE = 100_000  # from which numbers along the axis are in thousands and millions
_POINTS = 1_000  # of a curve that are drawn: more than there are pixels
_OPENING = re.compile(r"<svg ")
_HEAD = re.compile(r"\A.*?(?=<svg )", re.DOTALL)
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_XLINK = ' xmlns:xlink="http://www.w3.org/1999/xlink"'
_SIZE = re.compile(r' width="[\d.]+pt" height="[\d.]+pt"')
# In a page the neutral colours are the page's, which knows whether it is dark.
_ADAPTIVE = {LIGHT.ink: "--ink", LIGHT.quiet: "--quiet", LIGHT.line: "--frame"}


@dataclass(frozen=True)
class Frame:
    """Where a panel's axes lie in the picture, as shares of its width and height from the top left; `low` and `high` are the
    values at its left and right edge."""

    left: float
    top: float
    width: float
    height: float
    low: float
    high: float


def svg(chart: Chart, theme: Theme = "light", ground: bool = False) -> str:
    """The chart as an SVG element with its title and description; `ground` paints the paper, for use as an image."""
    return drawn(chart, theme, ground)[0]


@lru_cache(maxsize=2)  # a running chart is shown twice as it stands: live, and as the still picture
def drawn(chart: Chart, theme: Theme = "light", ground: bool = False) -> tuple[str, tuple[Frame, ...]]:
    """The SVG element, and the frame of every panel."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    paper = DARK if theme == "dark" else LIGHT
    written = io.StringIO()
    with matplotlib.rc_context(_settings(paper, chart)), warnings.catch_warnings():
        # The reader's fonts draw the text; matplotlib's only measure it.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = _figure(chart, paper, ground)
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(written, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = _SIZE.sub("", _HEAD.sub("", written.getvalue()), count=1)
    # Nothing in the file names an address: no metadata, and references as SVG 2 writes them.
    text = _METADATA.sub("", text, count=1).replace(_XLINK, "", 1).replace(" xlink:href=", " href=")
    named = f"<title>{markup(chart.title)}</title><desc>{markup(chart.description)}</desc>"
    text = _OPENING.sub('<svg role="img" class="chart" ', text, count=1)
    text = text.replace('<style type="text/css">*{', '<style type="text/css">.chart *{')  # of a page, only this drawing
    start = text.index(">") + 1
    if theme == "adaptive":
        for colour, name in _ADAPTIVE.items():
            text = re.sub(colour, f"var({name}, {colour})", text, flags=re.IGNORECASE)
    return text[:start] + named + text[start:], tuple(map(_frame, figure.axes))


# ------------------------------------------------------------------------------------------------------


def _settings(paper: Paper, chart: Chart) -> Any:  # a dict of the keys that matplotlib's annotations list one by one
    return {
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": one_line(chart.title),
        "text.parse_math": False,  # a "$" in a file's name is a "$"
        "axes.unicode_minus": True,
        "font.family": "sans-serif",
        "font.size": 10,
        "text.color": paper.ink,
        "axes.labelcolor": paper.ink,
        "axes.edgecolor": paper.line,
        "axes.grid": True,
        "grid.color": paper.line,
        "grid.alpha": 0.5,
        "grid.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": paper.quiet,
        "ytick.color": paper.quiet,
        "legend.frameon": False,
        "legend.fontsize": 9,
    }


def _figure(chart: Chart, paper: Paper, ground: bool) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    weights = [panel.weight for panel in chart.panels]
    high = _HIGH + _MORE * sum(weights[1:]) / max(weights[0], 1e-9) * 1.6
    figure = Figure(figsize=(_WIDE, high), layout="constrained", facecolor=paper.ground if ground else "none")
    rows = figure.subplots(len(chart.panels), 1, sharex=True, squeeze=False, height_ratios=weights)[:, 0]
    told: set[str] = set()  # one legend a label: colours mean the same in every panel
    for axes, panel in zip(rows, chart.panels, strict=True):
        axes.set_facecolor("none")
        _draw(axes, panel, paper)
        labels = {series.label for series in panel.series if series.label}
        if len(labels) > 1 and labels - told:
            axes.legend(loc="best")
        told |= labels
    if max(abs(end) for end in rows[-1].get_xlim()) >= _LARGE:
        rows[-1].xaxis.set_major_formatter(EngFormatter(sep=""))  # 1.2M, with no "1e6" in the corner
    if chart.axis == "logarithmic":
        rows[-1].set_xscale("log")
    rows[-1].set_xlabel(_short(chart.label, _WIDEST))
    return figure


def _frame(axes: Axes) -> Frame:
    box = axes.get_position()
    low, high = axes.get_xlim()
    return Frame(box.x0, 1 - box.y1, box.width, box.height, float(low), float(high))


def _draw(axes: Axes, panel: Panel, paper: Paper) -> None:
    for series in panel.series:
        _curve(axes, series)
    for level in panel.levels:
        axes.axhline(level.value, color=paper.quiet, linewidth=1, linestyle=(0, (2, 2)))
        axes.annotate(
            _short(level.label),
            (1, level.value),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            color=paper.quiet,
            fontsize=8.5,
            horizontalalignment="left",  # beside the panel: no curve runs there
            verticalalignment="center",
        )
    if panel.logarithmic:
        axes.set_yscale("log")
    # Above the panel, not along its side: a low panel has no room there.
    axes.set_title(_short(panel.label, _WIDEST), loc="left", fontsize=9.5, color=paper.quiet)


def _curve(axes: Axes, series: Series) -> None:
    colour = PALETTE[series.colour % len(PALETTE)]
    every = max(1, math.ceil(len(series.points) / _POINTS))
    points = [*series.points[::every], *(series.points[-1:] if (len(series.points) - 1) % every else ())]
    across, up = [point[0] for point in points], [point[1] for point in points]
    spread = [*series.spread[::every], *(series.spread[-1:] if (len(series.spread) - 1) % every else ())]
    label = _short(series.label) or "_"  # matplotlib leaves labels with an underscore out of the legend
    if not series.joined:
        bars = (
            [
                [y - low for y, (low, _) in zip(up, spread, strict=True)],
                [high - y for y, (_, high) in zip(up, spread, strict=True)],
            ]
            if spread
            else None
        )
        mark = _MARKS[series.colour % len(_MARKS)]
        face = "none" if series.dashed else colour
        axes.errorbar(
            across, up, yerr=bars, fmt=mark, color=colour, markerfacecolor=face, label=label, capsize=3, markersize=6
        )
        return
    style = (0, (5, 3)) if series.dashed else "solid"
    axes.plot(across, up, color=colour, label=label, linewidth=1.6, linestyle=style)
    if spread:
        axes.fill_between(
            across, [low for low, _ in spread], [high for _, high in spread], color=colour, alpha=0.18, linewidth=0
        )


def _short(label: str, most: int = _LONGEST) -> str:
    """A label on one line, its control characters visible, of at most so many characters."""
    text = one_line(label)
    return text if len(text) <= most else f"{text[: most - 1]}…"
