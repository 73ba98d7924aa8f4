"""One numbering for all layers of a file, where it holds the chunks of virtual pipeline stages (`model0.`, `model1.`). Pure.

Megatron numbers the layers of each chunk by themselves, and a `.pt` file has one rank's chunks only: where they lie in the
model shows only when the file has all of it.
"""

from __future__ import annotations

from workbench.checkpoint.layouts.written import MAIN, InLayer, Layer, Names, Outside

type Layers = dict[Layer, list[InLayer]]


def one_numbering(names: Names, reasons: list[str], left: list[str]) -> tuple[Layers, list[Outside]]:
    """Every layer under one number, and what is outside of them; names that cannot be numbered are added to `left`."""
    outside = [entry for _, entry in names.outside]
    chunks = sorted(chunk for chunk in names.layers if chunk is not None)
    layers: Layers = {layer: list(entries) for layer, entries in names.layers.get(None, {}).items()}
    if len({layer for chunk in chunks for layer in names.layers[chunk]}) == sum(len(names.layers[c]) for c in chunks):
        offsets = dict.fromkeys(chunks, 0)
    elif _whole(names, chunks):
        reasons.append(
            f"the layers of {len(chunks)} virtual pipeline stages are numbered each by themselves; the first has the embedding "
            "and the last the final norm or the output layer, so they follow each other"
        )
        offsets, at = {}, 0
        for chunk in chunks:
            offsets[chunk] = at
            at += 1 + max((layer.number for layer in names.layers[chunk] if layer.depth == MAIN), default=-1)
    else:
        reasons.append(
            f"the layers of {len(chunks)} virtual pipeline stages are numbered each by themselves, and the file has not the "
            "whole model: where the stages lie in it is not known, and all but the first keep their names"
        )
        offsets = {chunks[0]: 0}
        left += [entry.written for chunk in chunks[1:] for of in names.layers[chunk].values() for entry in of]
    for chunk, offset in offsets.items():
        for layer, entries in names.layers[chunk].items():
            moved = layer._replace(number=layer.number + offset) if layer.depth == MAIN else layer
            layers.setdefault(moved, []).extend(entries)
    return layers, outside


def _whole(names: Names, chunks: list[int]) -> bool:
    first = {entry.name for chunk, entry in names.outside if chunk == chunks[0]}
    last = {entry.name for chunk, entry in names.outside if chunk == chunks[-1]}
    return any(name.startswith("embedding.") for name in first) and any(
        name.startswith(("decoder.final_norm.", "decoder.final_layernorm.", "output_layer.")) for name in last
    )
