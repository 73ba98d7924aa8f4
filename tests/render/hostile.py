"""Texts that try to be more than text, and a scene that has each of them in every place where text can be."""

from workbench.render.scene import (
    Graph,
    GraphEdge,
    GraphNode,
    GraphPanel,
    Strip,
    StripCell,
    StripFrame,
    StripGroup,
    StripRepeat,
)

TEXTS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "a\u202eb\u2066c\u200fd",
    "a\0b\x1b[31m\x0b\uffff\ud800",
    "&#x202e;&lt;b&gt;&amp;",
    '\\N \\G \\l \\" \\',
    "]]><!--",
    "x" * 10_000,
    "層" * 10_000,
    "&" * 10_000,
    '"' * 10_000,
)

BLUE = "#0072B2"


def strip_of(text):
    cell = StripCell(text, 0, BLUE, BLUE, True, text)
    pair = StripGroup((cell, StripCell(text, 1, BLUE, BLUE, False, text)), fused=True)
    return Strip(text, text, (StripFrame(text, (pair, StripRepeat((pair,), 3, 2, 7)), dashed=True),))


def graph_of(text):
    """Every kind of node, the text as its text, title, tag and name."""
    kinds = ("start", "tap", "norm", "mixer", "join", "add", "slot", "remark", "input", "box", "end")
    nodes = tuple(
        GraphNode(f"{kind}{text}", kind, text, BLUE, BLUE, True, text, number, text)
        for number, kind in enumerate(kinds)
    )
    name = {node.kind: node.name for node in nodes}
    edges = (
        GraphEdge(name["start"], name["tap"], stream=True),
        GraphEdge(name["tap"], name["add"], stream=True),
        GraphEdge(name["add"], name["end"], stream=True),
        GraphEdge(name["tap"], name["norm"]),
        GraphEdge(name["norm"], name["mixer"]),
        GraphEdge(name["mixer"], name["join"]),
        GraphEdge(name["join"], name["add"]),
        GraphEdge(name["input"], name["box"]),
    )
    panel = GraphPanel(text, nodes, edges, (text, text), text, dashed=True, fused=True, turns=True)
    return Graph(text, text, (panel, panel))
