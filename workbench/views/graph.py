"""What runs inside a block, as a scene: the residual stream, norms, mixers, bias-dropout-adds, and slots left empty.

`block_graph` is the picture that teaches fusion: two unfused layers beside the one block that fills both slots of a
`TransformerLayer` on the same residual line. `graph` shows every distinct block of a pattern once. Source for what is
inside: `hybrid_layer_specs.py`, `transformer_layer.py`, `mamba_layer.py`, `multi_token_prediction.py` of megatron-core
0.19.2. Imports `pattern`, `render` and `views.numbers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workbench.errors import WorkbenchError
from workbench.pattern.blocks import Block, SubLayer
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import SEQUENCE_MIXER, Symbol, can_fuse, symbol_of
from workbench.render import scene
from workbench.views.numbers import counted

_LONGEST_LIST = 34  # characters of a list of sub-layers


def block_graph(
    pattern: Pattern, block: int | None = None, *, sublayers: Sequence[int] | None = None, mtp: bool = False
) -> scene.Graph:
    """One block by its index, or one or two sub-layers by theirs: unfused, and where they make a pair, fused beside it.

    `mtp` counts in the MTP part, which numbers its own. `WorkbenchError` where there is no such block or sub-layer,
    or where two sub-layers cannot share a block.
    """
    blocks = _blocks(pattern, mtp)
    layers = _chosen(blocks, block, sublayers)
    where = "MTP " if mtp else ""
    named = "–".join(str(layer.index) for layer in layers)
    written = "".join(layer.symbol for layer in layers)
    panels = [
        _panel(f"unfused · {where}layer {layer.index}", (layer,), tagged=True, notes=(_module(layer),), dashed=mtp)
        for layer in layers
    ]
    if len(layers) == 1:
        said = f"{layers[0].name}, stored as layers.{layers[0].index}"
        return scene.Graph(f"Inside sub-layer {named}", f"{said}: {_inside(layers[0])}", tuple(panels))
    notes = ("one full TransformerLayer",)
    panels.append(_panel(f"fused · {where}layers {named}", layers, tagged=True, notes=notes, dashed=mtp, turns=True))
    first, second = (symbol_of(layer.symbol) for layer in layers)
    description = (
        f"Unfused, {first.name} and {second.name} are two layers on one residual stream, each with a norm and a "
        f"bias-dropout-add. Fused, [{written}] is one TransformerLayer that holds both on the same stream; in the "
        f"checkpoint they stay layers.{layers[0].index} and layers.{layers[1].index}."
    )
    return scene.Graph(f"Inside [{written}], sub-layers {named}", description, tuple(panels))


def graph(pattern: Pattern) -> scene.Graph:
    """Every distinct block of the pattern once, with how many times and at which sub-layers; then those of MTP."""
    panels = [*_distinct(pattern.blocks, dashed=False)]
    if pattern.mtp is not None:
        panels += [_front(pattern.mtp.depths), *_distinct(pattern.mtp.blocks, dashed=True)]
    shapes = len({str(block) for block in pattern.blocks})
    description = f"{counted(len(pattern.blocks), 'block')} of {counted(shapes, 'shape')}"
    if pattern.mtp is not None:
        description += f", and {counted(len(pattern.mtp.blocks), 'block')} in each MTP depth"
    return scene.Graph(f"Inside the blocks of {pattern}", description, tuple(panels))


# ------------------------------------------------------------------------------------------------------


def _blocks(pattern: Pattern, mtp: bool) -> tuple[Block, ...]:
    if not mtp:
        return pattern.blocks
    if pattern.mtp is None:
        raise WorkbenchError("the pattern has no MTP part")
    return pattern.mtp.blocks


def _chosen(blocks: tuple[Block, ...], block: int | None, sublayers: Sequence[int] | None) -> tuple[SubLayer, ...]:
    if (block is None) == (sublayers is None):
        raise WorkbenchError("say which: a block's index, or sublayers=(i,) or (i, i + 1)")
    if block is not None:
        if not 0 <= block < len(blocks):
            raise WorkbenchError(f"there is no block {block}: there are {counted(len(blocks), 'block')}, from 0")
        return blocks[block].layers
    layers = {layer.index: (layer, entry) for entry in blocks for layer in entry.layers}
    wanted = list(sublayers or ())
    missing = [index for index in wanted if index not in layers]
    if missing or not 1 <= len(wanted) <= 2:
        told = f"there is no sub-layer {missing[0]}" if missing else f"one or two sub-layers, not {len(wanted)}"
        raise WorkbenchError(f"{told}: there are {counted(len(layers), 'sub-layer')}, from 0")
    found = tuple(layers[index][0] for index in wanted)
    if len(found) == 2 and not (
        wanted[1] == wanted[0] + 1
        and can_fuse(found[0].symbol, found[1].symbol)
        and layers[wanted[0]][1].stage == layers[wanted[1]][1].stage
    ):
        raise WorkbenchError(f"sub-layers {wanted[0]} and {wanted[1]} cannot share a block")
    return found


def _distinct(blocks: Iterable[Block], dashed: bool) -> Iterable[scene.GraphPanel]:
    found: dict[str, list[Block]] = {}
    for block in blocks:
        found.setdefault(str(block), []).append(block)
    for written, same in found.items():
        indices = ["–".join(map(str, block.sublayers)) for block in same]
        names = " + ".join(layer.name for layer in same[0].layers)
        noun = "sub-layers" if len(indices) > 1 or same[0].fused else "sub-layer"
        notes = (names, f"{noun} {_listed(indices)}")
        title = f"{written}, {names}: {counted(len(same), 'block')}, {noun} {', '.join(indices)}"
        label = f"{'MTP ' if dashed else ''}{written} ×{len(same)}"
        yield _panel(label, same[0].layers, notes=notes, title=title, dashed=dashed)


def _listed(indices: Sequence[str]) -> str:
    """As many as there is room for, and the last."""
    text = ", ".join(indices)
    if len(text) <= _LONGEST_LIST - 11:
        return text
    kept = ""
    for index in indices:
        if len(f"{kept}{index}, … {indices[-1]}") > _LONGEST_LIST - 11:
            break
        kept += f"{index}, "
    return f"{kept}… {indices[-1]}"


def _panel(
    label: str,
    layers: Sequence[SubLayer],
    *,
    tagged: bool = False,
    notes: tuple[str, ...] = (),
    title: str = "",
    dashed: bool = False,
    turns: bool = False,
) -> scene.GraphPanel:
    """One module: both halves of a residual block, filled or left empty."""
    by_half = {0 if layer.role == SEQUENCE_MIXER else 1: layer for layer in layers}
    nodes = [scene.GraphNode("start", "start")]
    edges: list[scene.GraphEdge] = []
    for half in (0, 1):
        layer = by_half.get(half)
        nodes += _half(half, layer, symbol_of(layers[0].symbol), tagged)
        shown = layer is not None
        edges += [
            scene.GraphEdge("start" if not half else "add0", f"tap{half}", stream=True),
            scene.GraphEdge(f"tap{half}", f"norm{half}", shown=shown),
            scene.GraphEdge(f"norm{half}", f"mixer{half}", shown=shown),
            scene.GraphEdge(f"mixer{half}", f"join{half}", shown=shown),
            scene.GraphEdge(f"join{half}", f"add{half}", shown=shown),
            scene.GraphEdge(f"tap{half}", f"add{half}", stream=True),
        ]
    nodes.append(scene.GraphNode("end", "end"))
    edges.append(scene.GraphEdge("add1", "end", stream=True))
    ordered = sorted(edges, key=lambda edge: not edge.stream)
    return scene.GraphPanel(label, tuple(nodes), tuple(ordered), notes, title, dashed, len(layers) > 1, turns)


def _half(half: int, layer: SubLayer | None, alone: Symbol, tagged: bool) -> list[scene.GraphNode]:
    """A tap, a norm, a mixer, its bias-dropout-add and the place where it is added; or an empty slot among them."""
    shown = layer is not None
    index = layer.index if layer else None
    row = symbol_of(layer.symbol) if layer else alone
    stored = f"layers.{index}." if tagged and layer else ""
    middle = (
        scene.GraphNode(
            f"mixer{half}",
            "mixer",
            row.short,
            row.light,
            row.dark,
            row.role == SEQUENCE_MIXER,
            f"{row.name}{stored and f', stored as {stored}{row.module}*'}",
            index,
        )
        if layer
        else _empty(half, alone)
    )
    tag = stored.rstrip(".")
    norm = f"the norm before it{stored and f', stored as {stored}{row.norm}*'}"
    return [
        scene.GraphNode(f"tap{half}", "tap", shown=shown),
        scene.GraphNode(f"norm{half}", "norm", "norm", title=norm, index=index, tag=tag, shown=shown),
        middle,
        scene.GraphNode(
            f"join{half}",
            "join",
            "bias-dropout-add",
            title="adds the bias, drops out, adds to the residual stream",
            index=index,
            shown=shown,
        ),
        scene.GraphNode(f"add{half}", "add", title="the residual stream, plus what the mixer made", shown=shown),
    ]


def _empty(half: int, alone: Symbol) -> scene.GraphNode:
    """A `TransformerLayer` has a place for both mixers, and an identity module where one is missing."""
    if half and _is_mamba_layer(alone):
        return scene.GraphNode(
            "mixer1", "remark", "MambaLayer: no slot", title="upstream's MambaLayer holds a mixer only"
        )
    words = "MLP slot: empty" if half else "mixer slot: empty"
    where = "mlp" if half else "self_attention"
    return scene.GraphNode(f"mixer{half}", "slot", words, title=f"{where} and its norm are identity modules here")


def _is_mamba_layer(row: Symbol) -> bool:
    return row.module == "mixer."


def _module(layer: SubLayer) -> str:
    return "a MambaLayer" if _is_mamba_layer(symbol_of(layer.symbol)) else "a TransformerLayer"


def _inside(layer: SubLayer) -> str:
    row = symbol_of(layer.symbol)
    if _is_mamba_layer(row):
        return "a MambaLayer with a norm, the mixer and a bias-dropout-add"
    empty = "MLP" if row.role == SEQUENCE_MIXER else "mixer"
    return f"a TransformerLayer with a norm, the mixer and a bias-dropout-add; its {empty} slot is empty"


def _front(depths: int) -> scene.GraphPanel:
    """What makes an MTP depth's input: the hidden state and the next token's embedding, normed, joined, projected."""
    nodes = (
        scene.GraphNode("token", "input", "next token's embedding"),
        scene.GraphNode("hidden", "input", "hidden state"),
        scene.GraphNode("enorm", "box", "enorm", title="the norm of the embedding"),
        scene.GraphNode("hnorm", "box", "hnorm", title="the norm of the hidden state"),
        scene.GraphNode("proj", "box", "eh_proj: 2h → h", title="both beside each other, projected to the hidden size"),
        scene.GraphNode("start", "start"),
        scene.GraphNode("end", "end"),
    )
    edges = (
        scene.GraphEdge("start", "end", stream=True),
        scene.GraphEdge("token", "enorm"),
        scene.GraphEdge("hidden", "hnorm"),
        scene.GraphEdge("enorm", "proj"),
        scene.GraphEdge("hnorm", "proj"),
        scene.GraphEdge("proj", "start"),
    )
    times = "one depth" if depths == 1 else f"each of {depths} depths"
    notes = (f"In front of {times}; behind its", "blocks stands a final_layernorm")
    return scene.GraphPanel("MTP · in front", nodes, edges, notes, "what an MTP depth starts with", dashed=True)
