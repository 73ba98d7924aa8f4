"""Where everything in a graph's panel goes: Graphviz places the nodes, whatever they say.

What goes to Graphviz are our own names and sizes, no text: nobody's words can break it, and the layout does not depend
on a font. Panels of one structure are laid out once. Lengths are SVG user units, y downwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from workbench.render.engine import draw
from workbench.render.scene import GraphNodeKind, GraphPanel

if TYPE_CHECKING:
    from graphviz import Digraph

COLUMN = 132  # units: a mixer's width, and that of everything beside the stream
# Width and height of a node by its kind.
SIZES: dict[GraphNodeKind, tuple[float, float]] = {
    "start": (2, 2),
    "tap": (2, 2),
    "add": (18, 18),
    "end": (2, 2),
    "norm": (COLUMN, 20),
    "mixer": (COLUMN, 32),
    "slot": (COLUMN, 32),
    "remark": (COLUMN, 32),
    "join": (COLUMN, 20),
    "input": (COLUMN + 24, 16),
    "box": (COLUMN + 24, 26),
}
_NODE_GAP, _RANK_GAP = 20, 11
_INCH = 72  # units


@dataclass(frozen=True)
class Placed:
    """The middle of every node by its name, and the size of the whole."""

    width: float
    height: float
    spots: dict[str, tuple[float, float]]


def place(panel: GraphPanel) -> Placed:
    """Lay a panel out. `WorkbenchError` where there is no Graphviz."""
    place_of = {node.name: place for place, node in enumerate(panel.nodes)}
    kinds = tuple(node.kind for node in panel.nodes)
    edges = tuple((place_of[edge.tail], place_of[edge.head], edge.stream) for edge in panel.edges)
    width, height, spots = _placed(kinds, edges)
    return Placed(width, height, {node.name: spots[place] for place, node in enumerate(panel.nodes)})


def attributes(gap: int = _NODE_GAP) -> dict[str, str]:
    """Attributes of a graph that is laid out so."""
    return {"nodesep": inches(gap), "ranksep": inches(_RANK_GAP), "splines": "line", "newrank": "true"}


def column(kind: GraphNodeKind) -> dict[str, str]:
    """What keeps a node under the others of its column."""
    if kind in ("start", "tap", "add", "end"):
        return {"group": "stream"}
    return {"group": "branch"} if kind in ("norm", "mixer", "slot", "remark", "join") else {}


def add_edge(
    dot: Digraph,
    tail: str,
    head: str,
    tail_kind: GraphNodeKind,
    head_kind: GraphNodeKind,
    stream: bool,
    **more: str,
) -> None:
    """Add an edge: the stream is straight, with air before each tap; what reads it or adds to it stands at its right."""
    if stream:
        roomy = head_kind in ("tap", "end")
        dot.edge(tail, head, weight="100", minlen="2" if roomy else "1", **more)
    elif head_kind == "add":
        dot.body.append(f"\t{{ rank=same; {head}; {tail} }}\n")
        dot.edge(head, tail, dir="back", **more)
    else:
        if tail_kind == "tap":
            dot.body.append(f"\t{{ rank=same; {tail}; {head} }}\n")
        dot.edge(tail, head, weight="10" if tail_kind != "tap" else "1", **more)


def inches(units: float) -> str:
    """A length as Graphviz takes it."""
    return f"{units / _INCH:.5f}"


# ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _placed(
    kinds: tuple[GraphNodeKind, ...], edges: tuple[tuple[int, int, bool], ...]
) -> tuple[float, float, tuple[tuple[float, float], ...]]:
    import graphviz

    dot = graphviz.Digraph(graph_attr=attributes(), node_attr={"shape": "box", "fixedsize": "true", "label": ""})
    for number, kind in enumerate(kinds):
        width, height = SIZES[kind]
        dot.node(f"n{number}", width=inches(width), height=inches(height), **column(kind))
    for tail, head, stream in edges:
        add_edge(dot, f"n{tail}", f"n{head}", kinds[tail], kinds[head], stream)
    return _read(draw(dot.source, "plain").decode().splitlines(), len(kinds))


def _read(lines: Iterable[str], count: int) -> tuple[float, float, tuple[tuple[float, float], ...]]:
    """The lines of Graphviz's "plain" format: `graph scale width height`, then `node name x y …`, in inches."""
    words = [line.split() for line in lines]
    width, height = (round(float(word) * _INCH, 1) for word in next(_named(words, "graph"))[2:4])
    found = {
        row[1]: (round(float(row[2]) * _INCH, 1), round(height - float(row[3]) * _INCH, 1))
        for row in _named(words, "node")
    }
    return width, height, tuple(found[f"n{number}"] for number in range(count))


def _named(rows: Iterable[list[str]], name: str) -> Iterator[list[str]]:
    return (row for row in rows if row and row[0] == name)
