"""A graph as DOT text, for whoever wants to lay it out or change it with Graphviz: one cluster a panel.

Names are ours (`p0n3`); what came from a pattern or a caller stands in labels and tooltips only, escaped. No address
is ever written. The same graph gives the same text.
"""

from __future__ import annotations

from typing import cast

import graphviz

from workbench.render.canvas import GROUND, INK, LINE, QUIET, RAISED, Theme
from workbench.render.colour import ink_on
from workbench.render.escape import one_line
from workbench.render.graph_layout import SIZES, add_edge, attributes, column, inches
from workbench.render.scene import Graph, GraphNode, GraphPanel

_FONT = "DejaVu Sans"
# Graphviz reads no string of more than 16,384 bytes, and an ampersand takes five.
_LONGEST, _MOST_NOTES = 300, 8


def source(graph: Graph, theme: Theme = "light") -> str:
    """The whole graph as DOT."""
    dot = graphviz.Digraph(
        graph_attr={
            **attributes(),
            "label": escaped(graph.title),
            "tooltip": escaped(graph.description),
            "labelloc": "t",
            "fontname": _FONT,
            "fontcolor": QUIET.on(theme),
            "bgcolor": GROUND.on(theme),
            "outputorder": "edgesfirst",
        },
        node_attr={"shape": "box", "fixedsize": "true", "fontname": _FONT, "fontsize": "11", "label": ""},
        edge_attr={"arrowhead": "none", "color": QUIET.on(theme), "penwidth": "1.25"},
    )
    for number, panel in enumerate(graph.panels):
        with dot.subgraph(name=f"cluster_{number}") as cluster:
            _panel(cluster, f"p{number}", panel, theme)
    return str(dot.source)


def escaped(text: str) -> str:
    r"""A label's text as the `graphviz` package takes it: no markup, no escapes, no character references.

    >>> str(escaped("<b> &lt; \\N")), escaped("a&b")
    ('<b> &amp;lt; \\\\N', 'a&amp;b')
    """
    shown = one_line(text)
    if len(shown) > _LONGEST:
        shown = shown[:_LONGEST] + "…"
    # Not a plain string: its type tells the package that text in angle brackets is no markup.
    return cast(str, graphviz.escape(shown.replace("&", "&amp;")))


# ------------------------------------------------------------------------------------------------------


def _panel(cluster: graphviz.Digraph, prefix: str, panel: GraphPanel, theme: Theme) -> None:
    label = "\\l".join(escaped(text) for text in (panel.label, *panel.notes[:_MOST_NOTES])) + "\\l"
    dashes = "dashed," if panel.dashed else ""
    cluster.attr(
        label=label,
        labeljust="l",
        tooltip=escaped(panel.title or panel.label),
        style=f"{dashes}rounded,filled",
        color=(INK if panel.fused else LINE).on(theme),
        fillcolor=RAISED.on(theme),
        penwidth="1.75" if panel.fused else "1",
        margin="18",
    )
    names = {node.name: f"{prefix}n{place}" for place, node in enumerate(panel.nodes)}
    kinds = {node.name: node.kind for node in panel.nodes}
    for node in panel.nodes:
        width, height = SIZES[node.kind]
        size = {"width": inches(width), "height": inches(height)}
        cluster.node(names[node.name], **{**size, **column(node.kind), **_look(node, theme)})
    for edge in panel.edges:
        look: dict[str, str] = {} if edge.shown else {"style": "invis"}
        if edge.stream:
            tip = "normal" if kinds[edge.head] == "end" else "none"
            look = {"arrowhead": tip, "color": INK.on(theme), "penwidth": "3", "headclip": "false", "tailclip": "false"}
        add_edge(cluster, names[edge.tail], names[edge.head], kinds[edge.tail], kinds[edge.head], edge.stream, **look)


def _look(node: GraphNode, theme: Theme) -> dict[str, str]:
    if not node.shown and node.kind != "tap":
        # A place on the stream stays in it; the stream must not be interrupted.
        return {"shape": "point", "width": "0.01", "height": "0.01"} if node.kind == "add" else {"style": "invis"}
    tooltip = escaped(node.title or node.text or node.kind)
    ink, quiet, ground = INK.on(theme), QUIET.on(theme), GROUND.on(theme)
    match node.kind:
        case "start" | "tap" | "end":
            return {"shape": "point", "width": "0.01", "height": "0.01", "tooltip": tooltip}
        case "add":
            look = {
                "shape": "circle",
                "style": "filled",
                "fillcolor": ground,
                "color": ink,
                "fontcolor": ink,
                "label": "+",
            }
        case "mixer":
            colour = node.dark if theme == "dark" else node.light
            style = "rounded,filled" if node.filled else "rounded"
            fill = {"fillcolor": colour} if node.filled else {}
            text = ink_on(colour) if node.filled else colour
            look = {"style": style, "color": colour, "fontcolor": text, "penwidth": "2", **fill}
        case "slot":
            look = {"style": "rounded,dashed", "color": quiet, "fontcolor": quiet}
        case "remark" | "input":
            look = {"shape": "plaintext", "fontcolor": quiet}
        case _:
            look = {"style": "rounded,filled", "fillcolor": ground, "color": quiet, "fontcolor": quiet}
    label = escaped(f"{node.text}  {node.tag}" if node.tag else node.text)
    return {"label": label, **look, "tooltip": tooltip}
