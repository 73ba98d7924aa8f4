"""A written name taken apart: optimizer state, wrapper, which layer, and the name within it. Pure: text only.

Names are a stranger's. One expression reads one name once, every repetition in it is bounded, and what it does not match is
no name of a megatron model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

MAIN = -1  # the depth of the main model's layers; MTP depths count from 0
ALONG_AXIS = -1  # the layer number of a tensor that holds a layer an entry of its first axis

# Numbers as megatron writes them: no sign, no leading zero, and not longer than any model is deep.
_NUMBER = "(?:0|[1-9][0-9]{0,8})"
_WRAPPERS = r"(?:(?:model[0-9]{0,9}|module|state_dict)\.){0,8}"
_NAME = re.compile(
    rf"""
    ({_WRAPPERS})                                                       # 1: "model.", "module.module.", "model0."
    ((?:chained_{_NUMBER}\.)?optimizer\.state\.[A-Za-z0-9_]{{1,64}}\.)?  # 2: "optimizer.state.exp_avg."
    ({_WRAPPERS})                                                       # 3
    (?:
      decoder\.layers\.(?:({_NUMBER})\.)?([^0-9].*)                     # 4: layer, 5: the rest
    | mtp\.layers\.({_NUMBER})\.                                        # 6: depth
      (?:mtp_model_layer|transformer_layer)\.
      (layers\.)?(?:({_NUMBER})\.)?([^0-9].*)                           # 7: a stack, 8: layer of it, 9: the rest
    | ((?:embedding|decoder|mtp|output_layer|rotary_pos_emb)\..+)       # 10: outside of the layers
    )""",
    re.VERBOSE | re.DOTALL,
)
# Torch's own way round (`get_optimizer_state_dict`, FSDP checkpoints): the weight's name, and then its state's.
_STATE_BEHIND = re.compile(
    rf"{_WRAPPERS}(?:optimizer|optim)\.state\.({_WRAPPERS}(?:embedding|decoder|mtp|output_layer)\..+)\."
    r"(exp_avg|exp_avg_sq|max_exp_avg_sq|momentum_buffer|step|master_param|fp32_param|param)",
    re.DOTALL,
)
_CHUNK = re.compile(r"model([0-9]{1,9})\.")


class InLayer(NamedTuple):
    """A tensor of a layer: `state` is "" or an optimizer state's prefix, `rest` the name within the layer as it is written."""

    written: str
    state: str
    rest: str


class Outside(NamedTuple):
    """A tensor outside of the layers; `name` is without its wrappers and its optimizer state."""

    written: str
    state: str
    name: str


class Layer(NamedTuple):
    """`depth` is `MAIN` or an MTP depth; `number` is as written, or `ALONG_AXIS`.

    `stack` is False for a GPT model's MTP layer, which is no stack of layers but one.
    """

    depth: int
    number: int
    stack: bool


@dataclass
class Names:
    """Every name of a checkpoint, sorted by where it says that it belongs. Chunks are of virtual pipeline stages."""

    layers: dict[int | None, dict[Layer, list[InLayer]]] = field(default_factory=dict)
    outside: list[tuple[int | None, Outside]] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)


def taken_apart(names: Iterable[str]) -> Names:
    """All names, each in its place. Linear in their number and length."""
    found = Names()
    layers, states, chunks = found.layers, dict[str, None](), {"": None} | dict[str, int | None]()
    match = _NAME.fullmatch
    for name in names:
        parts = match(name)
        if parts is None and (behind := _STATE_BEHIND.fullmatch(name)):
            parts = match(f"optimizer.state.{behind[2]}.{behind[1]}")
        if parts is None:
            found.other.append(name)
            continue
        outer, state, inner, number, rest, depth, stack, within, mtp_rest, whole = parts.groups()
        state = state or ""
        states[state] = None
        wrapper = outer + inner
        if wrapper not in chunks:
            numbered = _CHUNK.search(wrapper)
            chunks[wrapper] = int(numbered[1]) if numbered else None
        chunk = chunks[wrapper]
        if whole is not None:
            found.outside.append((chunk, Outside(name, state, whole)))
            continue
        if depth is None:
            layer = Layer(MAIN, ALONG_AXIS if number is None else int(number), True)
        elif (stack is None) != (within is None):  # a stack without a number, or a number without a stack
            found.other.append(name)
            continue
        else:
            layer, rest = Layer(int(depth), int(within or 0), stack is not None), mtp_rest
        of_chunk = layers.setdefault(chunk, {})
        if layer not in of_chunk:
            of_chunk[layer] = []
        of_chunk[layer].append(InLayer(name, state, rest))
    found.states = list(states)
    return found
