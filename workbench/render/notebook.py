"""A document as the HTML of a notebook's output: elements, no style sheet, no script, pictures as images.

JupyterLab takes inline SVG and style sheets out of untrusted notebooks; an `<img>` with its data inside stays. The
picture brings its own light paper, so that it is right in a light and in a dark notebook.
"""

from __future__ import annotations

from base64 import b64encode

from workbench.render import chart, graph, heat, html_parts, strip
from workbench.render.escape import markup
from workbench.render.scene import Chart, Document, Graph, HeatMap, Part, Strip


def render(document: Document) -> str:
    """The document's parts as HTML; its title is left out, for the cell above says it."""
    return f"<div>{''.join(map(_part, document.parts))}</div>"


def _part(part: Part) -> str:
    if isinstance(part, Strip | Graph | HeatMap | Chart):
        data = b64encode(_drawn(part).encode()).decode()
        alternative = markup(f"{part.title}: {part.description}")
        return f'<p><img src="data:image/svg+xml;base64,{data}" alt="{alternative}"></p>'
    return html_parts.render(part, level=4, bare=True)


def _drawn(part: Strip | Graph | HeatMap | Chart) -> str:
    if isinstance(part, Strip):
        return strip.svg(part, "light", ground=True)
    if isinstance(part, Chart):
        return chart.svg(part, "light", ground=True)
    if isinstance(part, HeatMap):
        return heat.svg(part, "light", ground=True)
    return graph.svg(part, "light", ground=True)
