"""A canvas as SVG. Every colour is an attribute, so that the drawing is right wherever style sheets are removed.

The adaptive drawing adds classes' dark colours as custom properties, which `assets/report.css` puts to use on a dark
page. Every text goes through `markup`; nothing in a drawing is an address. The same canvas gives the same bytes.
"""

from __future__ import annotations

from workbench.render.canvas import GROUND, Box, Canvas, Circle, Colour, Group, Line, Shape, Text, Theme, edge
from workbench.render.escape import markup

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif"


def svg(canvas: Canvas, theme: Theme = "light", ground: bool = False) -> str:
    """The canvas as an SVG element. `ground` paints the paper, for use as an image."""
    border = edge(ground)
    wide, high = number(canvas.width + 2 * border), number(canvas.height + 2 * border)
    corner = number(-border)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{markup(canvas.kind)}" role="img" width="{wide}" '
        f'height="{high}" viewBox="{corner} {corner} {wide} {high}" font-family="{markup(FONT)}">',
        f"<title>{markup(canvas.title)}</title><desc>{markup(canvas.description)}</desc>",
    ]
    if ground:
        paper = GROUND.on(theme)
        parts.append(f'<rect x="{corner}" y="{corner}" width="{wide}" height="{high}" rx="8" fill="{paper}"/>')
    parts += [element(shape, theme) for shape in canvas.shapes]
    parts.append("</svg>")
    return "\n".join(parts)


def element(shape: Shape | Group, theme: Theme) -> str:
    """One shape, or a group with all that is in it."""
    match shape:
        case Group():
            return _group(shape, theme)
        case Box():
            dashes = ' stroke-dasharray="5 4"' if shape.dashed else ""
            return (
                f'<rect{_role(shape.role)} x="{number(shape.x)}" y="{number(shape.y)}" width="{number(shape.width)}" '
                f'height="{number(shape.height)}" rx="{number(shape.radius)}" '
                f"{_paint(shape.fill, shape.stroke, shape.thickness, theme)}{dashes}/>"
            )
        case Text():
            anchor = "" if shape.anchor == "start" else f' text-anchor="{shape.anchor}"'
            weight = "" if shape.weight == 400 else f' font-weight="{shape.weight}"'
            spacing = f' letter-spacing="{number(shape.spacing)}"' if shape.spacing else ""
            return (
                f'<text{_role(shape.role)} x="{number(shape.x)}" y="{number(shape.y)}" '
                f'font-size="{number(shape.size)}"{weight}{spacing}{anchor} fill="{shape.colour.on(theme)}">'
                f"{markup(shape.text)}</text>"
            )
        case Circle():
            return (
                f'<circle{_role(shape.role)} cx="{number(shape.x)}" cy="{number(shape.y)}" r="{number(shape.radius)}" '
                f"{_paint(shape.fill, shape.stroke, shape.thickness, theme)}/>"
            )
        case Line():
            points = " ".join(f"{number(x)},{number(y)}" for x, y in shape.points)
            name = "polygon" if shape.fill else "polyline"
            return (
                f'<{name}{_role(shape.role)} points="{points}" '
                f"{_paint(shape.fill, shape.stroke, shape.thickness, theme)}/>"
            )


def number(length: float) -> str:
    """A length without needless digits.

    >>> number(12.0), number(0.125), number(-0.001)
    ('12', '0.12', '0')
    """
    text = f"{length:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


# ------------------------------------------------------------------------------------------------------


def _group(group: Group, theme: Theme) -> str:
    data = "".join(f' data-{name}="{markup(value)}"' for name, value in group.data)
    own = ""
    if theme == "adaptive" and group.own and group.upon:
        own = f' style="--c:{group.own.dark};--t:{group.upon.dark}"'
    title = f"<title>{markup(group.title)}</title>" if group.title else ""
    inner = "".join(element(shape, theme) for shape in group.shapes)
    return f"<g{_role(group.role)}{data}{own}>{title}{inner}</g>"


def _role(role: str) -> str:
    return f' class="{markup(role)}"' if role else ""


def _paint(fill: Colour | None, stroke: Colour | None, thickness: float, theme: Theme) -> str:
    inside = fill.on(theme) if fill else "none"
    outside = stroke.on(theme) if stroke else "none"
    width = f' stroke-width="{number(thickness)}"' if stroke and thickness != 1 else ""
    return f'fill="{inside}" stroke="{outside}"{width}'
