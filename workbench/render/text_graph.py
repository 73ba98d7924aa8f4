"""A graph as terminal text: each panel's residual stream as a line, what reads it and what is added to it beside.

A filled square is a sequence mixer, an empty one a channel mixer.
"""

from __future__ import annotations

from workbench.render.escape import columns, one_line
from workbench.render.scene import Graph, GraphNode, GraphPanel

_GAP = "   "
_TURN = "  →  "
_LONGEST = 60  # columns of a line in a panel


def graph_lines(graph: Graph, width: int) -> list[str]:
    """Panels in rows of at most `width` columns, unless one panel alone is wider."""
    rows: list[list[tuple[str, list[str]]]] = []
    used = 0
    for panel in graph.panels:
        lines = [_cut(line) for line in _panel(panel)]
        size = max(map(columns, lines))
        lines = [line + " " * (size - columns(line)) for line in lines]
        before = _TURN if panel.turns else _GAP
        if not rows or used + len(before) + size > width:
            rows.append([])
            before, used = "", 0
        rows[-1].append((before, lines))
        used += len(before) + size
    found: list[str] = []
    for row in rows:
        found += [""] * bool(found)
        found += _beside(row)
    return found


# ------------------------------------------------------------------------------------------------------


def _panel(panel: GraphPanel) -> list[str]:
    lines = [panel.label]
    stream = False
    for node in panel.nodes:
        if node.kind == "start":
            stream = True
        lines += _node(node, stream)
    return [*lines, *(panel.notes)]


def _node(node: GraphNode, stream: bool) -> list[str]:
    """A node's line; nodes that are not shown leave the bare stream, so that panels stay level."""
    text = node.text if node.shown else ""
    tag = f"  {node.tag}" if node.tag and node.shown else ""
    match node.kind:
        case "start":
            return ["│"]
        case "end":
            return ["▼"]
        case "norm":
            return [f"├─ {text}{tag}" if text else "│"]
        case "mixer":
            return [f"│  {'■' if node.filled else '□'} {text}"]
        case "slot":
            return [f"│  ┆ {text} ┆"]
        case "remark":
            return [f"│  {text}"]
        case "join":
            return [f"⊕─ {text}" if text else "│"]
        case "input":
            return [text]
        case "box":
            return [f"{'│  ' if stream else '  '}[{text}]"]
    return []


def _beside(row: list[tuple[str, list[str]]]) -> list[str]:
    height = max(len(lines) for _, lines in row)
    found = []
    for number in range(height):
        line = ""
        for before, lines in row:
            # The arrow between panels stands at half their height.
            line += before if before != _TURN or number == height // 2 else " " * len(before)
            line += lines[number] if number < len(lines) else " " * columns(lines[0])
        found.append(line.rstrip())
    return found


def _cut(line: str) -> str:
    shown = one_line(line)
    if columns(shown) <= _LONGEST:
        return shown
    kept = ""
    for character in shown:
        if columns(kept + character) >= _LONGEST:
            break
        kept += character
    return kept + "…"
