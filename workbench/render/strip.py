"""A strip as SVG. Sequence mixers are filled, channel mixers outlined, the canonical index below each cell.

Every colour is an attribute, so that the drawing is right wherever style sheets are removed. The adaptive drawing adds
the dark colours as custom properties, which `assets/report.css` puts to use on a dark page.
"""

from __future__ import annotations

from typing import Literal

from workbench.render.colour import DARK, LIGHT, Paper, ink_on
from workbench.render.escape import markup
from workbench.render.scene import Strip, StripCell
from workbench.render.strip_layout import Layout, Metrics, PlacedCell, PlacedFrame, PlacedGroup, lay_out

Theme = Literal["light", "dark", "adaptive"]

WIDTH = 1000  # units before a strip is wrapped

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif"
# The keyboard's star hangs high and its hyphen is a stump; these are the same characters as type.
_GLYPHS = {"*": "∗", "-": "–"}
_MARGIN = 1  # for the outer half of the frames' lines


def svg(strip: Strip, theme: Theme = "light", width: float = WIDTH, ground: bool = False) -> str:
    """The strip as an SVG element, at most `width` units wide. `ground` paints the paper, for use as an image."""
    layout = lay_out(strip, width - 2 * _MARGIN - (2 * _pad(ground)))
    paper = DARK if theme == "dark" else LIGHT
    edge = _MARGIN + _pad(ground)
    wide, high = _n(layout.width + 2 * edge), _n(layout.height + 2 * edge)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="strip" role="img" width="{wide}" height="{high}" '
        f'viewBox="{_n(-edge)} {_n(-edge)} {wide} {high}" font-family="{markup(_FONT)}">',
        f"<title>{markup(strip.title)}</title><desc>{markup(strip.description)}</desc>",
    ]
    if ground:
        parts.append(
            f'<rect x="{_n(-edge)}" y="{_n(-edge)}" width="{wide}" height="{high}" rx="8" fill="{paper.ground}"/>'
        )
    parts += [_frame(frame, layout, paper, theme) for frame in layout.frames]
    parts.append("</svg>")
    return "\n".join(parts)


def cell_svg(cell: StripCell, theme: Theme = "adaptive") -> str:
    """One cell without its number, for a legend; its meaning stands beside it in words."""
    metrics = Metrics(cell_width=24, cell_height=26, symbol_size=13, index_size=0, group_gap=0)
    drawn = _cell(PlacedCell(cell, 1, 1), metrics, theme)
    return f'<svg class="strip" aria-hidden="true" width="26" height="28" viewBox="0 0 26 28" font-family="{markup(_FONT)}">{drawn}</svg>'


# ------------------------------------------------------------------------------------------------------


def _frame(frame: PlacedFrame, layout: Layout, paper: Paper, theme: Theme) -> str:
    dashes = ' stroke-dasharray="5 4"' if frame.dashed else ""
    x, y = frame.x, frame.y
    size = layout.metrics.label_size
    parts = [
        f'<rect class="line" x="{_n(x)}" y="{_n(y)}" width="{_n(frame.width)}" height="{_n(frame.height)}" rx="10" '
        f'fill="none" stroke="{paper.line}"{dashes}/>',
        f'<text class="quiet" x="{_n(x + layout.metrics.frame_padding)}" y="{_n(y + 18)}" font-size="{_n(size)}" '
        f'font-weight="650" letter-spacing="0.9" fill="{paper.quiet}">{markup(frame.label.upper())}</text>',
    ]
    parts += [_group(group, layout.metrics, paper, theme) for group in frame.groups]
    return "\n".join(parts)


def _group(group: PlacedGroup, metrics: Metrics, paper: Paper, theme: Theme) -> str:
    parts = []
    if group.fused:
        parts.append(
            f'<rect class="pair" x="{_n(group.x)}" y="{_n(group.y)}" width="{_n(group.width)}" '
            f'height="{_n(group.height)}" rx="10" fill="{paper.tint}" stroke="{paper.ink}" stroke-width="1.75"/>'
        )
    for placed in group.cells:
        parts.append(_cell(placed, metrics, theme))
        parts.append(
            f'<text class="quiet" x="{_n(placed.x + metrics.cell_width / 2)}" '
            f'y="{_n(placed.y + metrics.cell_height + metrics.group_padding + metrics.index_size + 2)}" '
            f'font-size="{_n(metrics.index_size)}" text-anchor="middle" fill="{paper.quiet}">{placed.cell.index}</text>'
        )
    return "\n".join(parts)


def _cell(placed: PlacedCell, metrics: Metrics, theme: Theme) -> str:
    cell = placed.cell
    colour = cell.dark if theme == "dark" else cell.light
    if cell.filled:
        role, text, dark_text = "filled", ink_on(colour), ink_on(cell.dark)
        box = f'fill="{colour}" stroke="none"'
    else:
        role, text, dark_text = "outlined", colour, cell.dark
        box = f'fill="none" stroke="{colour}" stroke-width="2"'
    # The line of an outlined cell runs inside its box, so that both kinds are equally large.
    inset = 0 if cell.filled else 1
    dark = f' class="cell {role}" style="--c:{cell.dark};--t:{dark_text}"' if theme == "adaptive" else ""
    middle = placed.y + metrics.cell_height / 2
    return (
        f"<g{dark}><title>{markup(cell.title)}</title>"
        f'<rect x="{_n(placed.x + inset)}" y="{_n(placed.y + inset)}" width="{_n(metrics.cell_width - 2 * inset)}" '
        f'height="{_n(metrics.cell_height - 2 * inset)}" rx="{6 - inset}" {box}/>'
        f'<text x="{_n(placed.x + metrics.cell_width / 2)}" y="{_n(middle + 0.36 * metrics.symbol_size)}" '
        f'font-size="{_n(metrics.symbol_size)}" font-weight="700" text-anchor="middle" fill="{text}">'
        f"{markup(_GLYPHS.get(cell.symbol, cell.symbol))}</text></g>"
    )


def _pad(ground: bool) -> float:
    return 11 if ground else 0


def _n(number: float) -> str:
    """A length without needless digits."""
    return f"{number:.2f}".rstrip("0").rstrip(".")
