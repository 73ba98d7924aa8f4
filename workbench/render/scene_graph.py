"""The part of a scene that is a graph: panels of nodes and edges, before anyone decides where they stand. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GraphNodeKind = Literal["start", "tap", "norm", "mixer", "slot", "remark", "join", "add", "end", "input", "box"]


@dataclass(frozen=True)
class GraphNode:
    """Something on the residual stream ("start", "tap", "add", "end") or beside it.

    A "norm" reads the stream at its tap, a "mixer" is a layer's own work, a "join" is the bias-dropout-add that brings
    it back; a "slot" is where a mixer could be and none is, a "remark" says why there is no such place. "input" and
    "box" are what stands before a stream. `index` is the canonical sub-layer, `tag` its name in small letters. A node
    that is not `shown` keeps its place free, so that panels line up.
    """

    name: str
    kind: GraphNodeKind
    text: str = ""
    light: str = ""
    dark: str = ""
    filled: bool = False
    title: str = ""
    index: int | None = None
    tag: str = ""
    shown: bool = True


@dataclass(frozen=True)
class GraphEdge:
    """From one node of a panel to another; a `stream` edge is a piece of the residual stream."""

    tail: str
    head: str
    stream: bool = False
    shown: bool = True


@dataclass(frozen=True)
class GraphPanel:
    """One module and what runs inside of it.

    `fused` sets it in the frame of a fused pair, `turns` draws an arrow from the panels before: they become this one.
    """

    label: str
    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    notes: tuple[str, ...] = ()
    title: str = ""
    dashed: bool = False
    fused: bool = False
    turns: bool = False


@dataclass(frozen=True)
class Graph:
    """Panels beside each other. `title` names the picture, `description` says in words what it shows."""

    title: str
    description: str
    panels: tuple[GraphPanel, ...]
