"""The order of a model's tensors: that of its parts, and within a sub-layer that of `workbench.arch.weights`. Pure."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from workbench.arch.sizes import ModelSizes
from workbench.arch.weights import layer_weights
from workbench.checkpoint.layouts.written import MAIN

_LAST = 10**6
_EXPERT = re.compile(r"(mlp\.experts\.linear_fc[12]\.(?:weight|bias))([0-9]{1,9})")

# Every option that adds a name to a layer, in one, and what excludes them. No model has all of them.
_OPTIONS: tuple[dict[str, object], ...] = (
    {
        "normalization": "LayerNorm", "linear_bias": True, "qkv_bias": True, "qk_layernorm": True, "attention_sinks": True,
        "moe_router_bias": True, "moe_latent_size": 8, "moe_shared_ffn": 8, "shared_expert_gate": True,
    },
    {"q_lora_rank": None},
)  # fmt: skip

# What a model has outside of its layers: before them, behind them, and beside the layers of an MTP depth.
_BEFORE = ("embedding.word_embeddings.", "embedding.position_embeddings.", "embedding.", "rotary_pos_emb.")
_BEHIND = ("decoder.final_norm.", "output_layer.")
_BESIDE = ("enorm.", "hnorm.", "eh_proj.", "final_layernorm.")
_MTP = re.compile(r"mtp\.layers\.(0|[1-9][0-9]{0,8})\.(.*)", re.DOTALL)

BEFORE, LAYERS, BEHIND = range(3)  # the parts of the main model, or of an MTP depth, in order


def place_outside(name: str) -> tuple[int, int, int] | None:
    """Where a canonical name outside of the layers belongs: (MTP depth or `MAIN`, part, place in it); None for an unknown one.

    >>> place_outside("output_layer.weight"), place_outside("mtp.layers.1.eh_proj.weight"), place_outside("decoder.x")
    ((-1, 2, 1), (1, 0, 2), None)
    """
    tables: tuple[tuple[int, tuple[str, ...]], ...] = ((BEFORE, _BEFORE), (BEHIND, _BEHIND))
    depth, rest = MAIN, name
    if match := _MTP.fullmatch(name):
        depth, tables, rest = int(match[1]), ((BEFORE, _BESIDE),), match[2]
    for part, prefixes in tables:
        for place, prefix in enumerate(prefixes):
            if rest.startswith(prefix):
                return depth, part, place
    return None


@lru_cache(maxsize=65536)
def rank(symbol: str, rest: str) -> tuple[int, int, str]:
    """A key that sorts the canonical names of one sub-layer as the model has them; unknown ones come last, by name."""
    if match := _EXPERT.fullmatch(rest):
        return _ranks(symbol).get(match[1] + "{expert}", _LAST), int(match[2]), ""
    place = _ranks(symbol).get(rest, _LAST)
    return place, 0, rest if place == _LAST else ""


@cache
def _ranks(symbol: str) -> dict[str, int]:
    merged: list[str] = []
    for options in ({}, *_OPTIONS) if symbol else ():
        if symbol == "D" and "q_lora_rank" in options:
            continue  # sparse attention always compresses its queries
        at = 0
        for row in layer_weights(symbol, ModelSizes.from_mapping(options)):
            if row.name in merged:
                at = merged.index(row.name) + 1
            else:
                merged.insert(at, row.name)
                at += 1
    return {name: place for place, name in enumerate(merged)}
