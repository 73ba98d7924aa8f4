"""A transformers model's names and shapes as those of the Megatron model of the same layers. Pure: nothing is converted.

One layer there is a mixer and a channel mixer here (one of both in Nemotron-H), and projections that are apart there are
one weight here, as many rows high. With that, whatever can be inferred of a canonical checkpoint can be inferred of one of
transformers. Names: the modelling files of transformers 5 and the releases of each family.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

type Shape = tuple[int, ...]

_LAYER = re.compile(
    r"(?:model|backbone|transformer|language_model)\.(?:model\.|language_model\.|text_model\.){0,2}"
    r"(?:layers|h|blocks)\.([0-9]{1,6})\.(.+)",
    re.DOTALL,
)
_MTP_LAYER = re.compile(r"(?:model\.)?mtp\.layers\.([0-9]{1,3})\.(.+)", re.DOTALL)
_OUTSIDE = re.compile(r"(?:(?:model|backbone|transformer|language_model)\.){0,3}(.+)", re.DOTALL)
_STACK = re.compile(
    r"(?:experts|block_sparse_moe)\.(?:gate_up_proj|up_proj|gate_proj|down_proj|(?:in|out)put_linear)(?:_bias|\.weight)?$"
)
_EXPERT = re.compile(r"experts\.([0-9]{1,6})\.(.+)\.(weight|bias)")
_MOST_EXPERTS = 10_000  # of a layer, and
_MOST_OF_ALL = 2_000_000  # of all stacks together; a stranger's file may say any number

_EMBEDDING = "embedding.word_embeddings.weight"
_AROUND = {
    "embed_tokens.weight": _EMBEDDING,
    "embeddings.weight": _EMBEDDING,
    "embedding.weight": _EMBEDDING,
    "norm.weight": "decoder.final_norm.weight",
    "norm_f.weight": "decoder.final_norm.weight",
    "final_layernorm.weight": "decoder.final_norm.weight",
    "lm_head.weight": "output_layer.weight",
}
_AROUND_MTP = {
    "enorm.weight": "enorm.weight", "hnorm.weight": "hnorm.weight", "eh_proj.weight": "eh_proj.weight",
    "shared_head.norm.weight": "final_layernorm.weight", "pre_fc_norm_embedding.weight": "enorm.weight",
    "pre_fc_norm_hidden.weight": "hnorm.weight", "fc.weight": "eh_proj.weight", "norm.weight": "final_layernorm.weight",
}  # fmt: skip
# Copies of what the main model has, and what is computed: no weights of their own.
_COPIES = re.compile(r"(?:embed_tokens|shared_head\.head)\.weight|.*rotary_emb\.inv_freq")

# What a layer's tensors are called behind its module, and here; several with one name are joined, row by row.
_ATTENTION = {
    "q_proj": "linear_qkv", "k_proj": "linear_qkv", "v_proj": "linear_qkv", "o_proj": "linear_proj",
    "q_norm": "q_layernorm", "k_norm": "k_layernorm", "q_layernorm": "q_layernorm", "k_layernorm": "k_layernorm",
}  # fmt: skip
_LATENT = {
    "q_a_proj": "linear_q_down_proj", "q_b_proj": "linear_q_up_proj", "q_proj": "linear_q_proj",
    "kv_a_proj_with_mqa": "linear_kv_down_proj", "kv_b_proj": "linear_kv_up_proj", "o_proj": "linear_proj",
}  # fmt: skip
_LATENT_NORMS = {
    "+": {"q_a_layernorm.weight": "linear_q_up_proj.layer_norm_weight",
          "kv_a_layernorm.weight": "linear_kv_up_proj.layer_norm_weight"},
    "D": {"q_a_layernorm.weight": "q_layernorm.weight", "kv_a_layernorm.weight": "kv_layernorm.weight"},
}  # fmt: skip
_INDEXER = {"wq_b": "linear_wq_b", "wk": "linear_wk", "k_norm": "k_norm", "weights_proj": "linear_weights_proj"}
_DELTA = {"out_proj": "out_proj", "norm": "out_norm", "conv1d": "conv1d", "A_log": "A_log", "dt_bias": "dt_bias"}
_DELTA |= dict.fromkeys(("in_proj_qkvz", "in_proj_ba", "in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a"), "in_proj")
_FIRST, _SECOND = (
    ("gate_proj", "up_proj", "w1", "w3", "gate_up_proj", "input_linear"),
    ("down_proj", "w2", "output_linear"),
)
_LINEAR = {**dict.fromkeys(_FIRST, "linear_fc1"), **dict.fromkeys(_SECOND, "linear_fc2")}

_CHANNELS = ("mlp.", "block_sparse_moe.", "feed_forward.", "shared_mlp.", "moe.")
_CHANNEL_NORMS = ("post_attention_layernorm.", "pre_ff_layernorm.", "ffn_norm.")
_NORM = {
    "M": "mixer.in_proj.layer_norm_", "G": "self_attention.in_proj.layer_norm_", "+": "input_layernorm.",
    "D": "input_layernorm.", "*": "self_attention.linear_qkv.layer_norm_", "-": "mlp.linear_fc1.layer_norm_",
    "E": "pre_mlp_layernorm.",
}  # fmt: skip


@dataclass(frozen=True)
class Translated:
    """`shapes` under canonical names, `layers` the symbols of each layer there, `unknown` names that stayed behind."""

    shapes: Mapping[str, Shape]
    layers: tuple[str, ...]
    unknown: tuple[str, ...]


def as_canonical(names: Mapping[str, Shape]) -> Translated:
    """The shapes that a Megatron model of the same layers has."""
    stacks = {name: shape for name, shape in names.items() if len(shape) in (2, 3) and _STACK.search(name)}
    if sum(shape[0] for shape in stacks.values()) > _MOST_OF_ALL:
        rest = as_canonical({name: shape for name, shape in names.items() if name not in stacks})
        return Translated(rest.shapes, rest.layers, (*rest.unknown, *stacks))
    layers: dict[int, dict[str, Shape]] = {}
    mtp: dict[int, dict[str, Shape]] = {}
    found: dict[str, Shape] = {}
    unknown: list[str] = []
    for name, shape in names.items():
        if match := _LAYER.fullmatch(name):
            layers.setdefault(int(match[1]), {})[match[2]] = shape
        elif match := _MTP_LAYER.fullmatch(name):
            mtp.setdefault(int(match[1]), {})[match[2]] = shape
        elif "mtp." in name and (around := _AROUND_MTP.get(name.split("mtp.", 1)[1])):
            found[f"mtp.layers.0.{around}"] = shape
        elif (match := _OUTSIDE.fullmatch(name)) and match[1] in _AROUND:
            found[_AROUND[match[1]]] = shape
        elif not _COPIES.fullmatch(name):
            unknown.append(name)
    embedding = found.get(_EMBEDDING, ())
    hidden = embedding[1] if len(embedding) == 2 else None
    symbols: list[str] = []
    place = 0
    for number in sorted(layers):
        # DeepSeek numbers its MTP modules on behind the layers.
        if "eh_proj.weight" in layers[number]:
            mtp[len(mtp)] = layers[number]
            continue
        kinds, shapes, left = _layer(layers[number], hidden)
        symbols.append(kinds)
        for position, held in enumerate(shapes):
            found |= {f"decoder.layers.{place + position}.{name}": shape for name, shape in held.items()}
        place += max(len(kinds), 1)
        unknown += (f"layer {number}: {name}" for name in left)
    for depth, number in enumerate(sorted(mtp)):
        kinds, shapes, left = _layer(mtp[number], hidden)
        prefix = f"mtp.layers.{depth}."
        for position, held in enumerate(shapes):
            found |= {f"{prefix}mtp_model_layer.layers.{position}.{name}": shape for name, shape in held.items()}
        for name in left:
            if name in _AROUND_MTP:
                found[prefix + _AROUND_MTP[name]] = mtp[number][name]
            elif not _COPIES.fullmatch(name):
                unknown.append(f"MTP layer {number}: {name}")
    return Translated(found, tuple(symbols), tuple(unknown))


# ------------------------------------------------------------------------------------------------------


def _layer(held: Mapping[str, Shape], hidden: int | None) -> tuple[str, list[dict[str, Shape]], list[str]]:
    """The symbols of a layer, the canonical shapes of each, and the names that have no place in them."""
    kinds = _mixer(held) + _channel(held)
    shapes: list[dict[str, Shape]] = [{} for _ in kinds]
    left = []
    for name, shape in held.items():
        placed = False
        for position, symbol in enumerate(kinds):
            for canonical, part in _translated(symbol, name, shape, hidden, alone=len(kinds) == 1):
                before = shapes[position].get(canonical)
                joins = before is not None and before[1:] == part[1:]
                shapes[position][canonical] = (before[0] + part[0], *part[1:]) if before and joins else part
                placed = True
            if placed:
                break
        if not placed and not _COPIES.fullmatch(name):
            left.append(name)
    return kinds, shapes, left


def _mixer(held: Mapping[str, Shape]) -> str:
    if any(name.startswith("linear_attn.") for name in held):
        return "G"
    if any(name in ("mixer.A_log", "mamba.A_log") for name in held):
        return "M"
    if any(name.startswith("self_attn.indexer.") for name in held):
        return "D"
    if any(name.startswith("self_attn.kv_b_proj.") for name in held):
        return "+"
    return "*" if any(name.startswith(("self_attn.q_proj.", "mixer.q_proj.")) for name in held) else ""


def _channel(held: Mapping[str, Shape]) -> str:
    if any(".experts." in name or name.startswith("block_sparse_moe.") for name in held):
        return "E"
    dense = ("mlp.", "feed_forward.", "shared_mlp.", "mixer.up_proj.", "mixer.down_proj.")
    return "-" if any(name.startswith(dense) for name in held) else ""


def _translated(
    symbol: str, name: str, shape: Shape, hidden: int | None, *, alone: bool
) -> Iterator[tuple[str, Shape]]:
    """(canonical name within the sub-layer, shape) of one tensor there; nothing where it is none of this kind's."""
    stem, _, kind = name.rpartition(".")
    if kind in ("weight", "bias") and _is_norm(f"{stem}.", symbol, alone=alone):
        yield _NORM[symbol] + kind, shape
    elif symbol == "M":
        if name.startswith(("mixer.", "mamba.")):
            yield f"mixer.{name.split('.', 1)[1].replace('conv1d.', 'conv1d_')}", shape
    elif symbol == "G":
        yield from _module(name, "linear_attn.", _DELTA, shape)
    elif symbol == "*":
        yield from _module(name, ("self_attn.", "mixer."), _ATTENTION, shape)
        if name == "self_attn.sinks":
            yield "self_attention.core_attention.softmax_offset", shape
    elif symbol in ("+", "D"):
        rest = name.removeprefix("self_attn.")
        if rest in _LATENT_NORMS[symbol]:
            yield f"self_attention.{_LATENT_NORMS[symbol][rest]}", shape
        elif rest.startswith("indexer."):
            for inner, part in _module(rest, "indexer.", _INDEXER, shape):
                yield inner.replace("self_attention.", "self_attention.core_attention.indexer."), part
        else:
            yield from _module(name, "self_attn.", _LATENT, shape)
    elif name.startswith((*_CHANNELS, "mixer.")):
        rest = name.split(".", 1)[1]
        yield from _dense(rest, shape) if symbol == "-" else _experts(name, rest, shape, hidden)


def _is_norm(stem: str, symbol: str, *, alone: bool) -> bool:
    if alone and stem == "norm.":
        return True
    return stem in (_CHANNEL_NORMS if symbol in "-E" else ("input_layernorm.",))


def _module(
    name: str, prefixes: str | tuple[str, ...], table: Mapping[str, str], shape: Shape
) -> Iterator[tuple[str, Shape]]:
    if name.startswith(prefixes):
        part, _, kind = name.split(".", 1)[1].partition(".")
        if part in table:
            yield f"self_attention.{table[part]}{f'.{kind}' if kind else ''}", shape


def _dense(rest: str, shape: Shape) -> Iterator[tuple[str, Shape]]:
    part, _, kind = rest.rpartition(".")
    if part in _LINEAR:
        yield f"mlp.{_LINEAR[part]}.{kind}", shape


def _experts(name: str, rest: str, shape: Shape, hidden: int | None) -> Iterator[tuple[str, Shape]]:
    if match := _EXPERT.fullmatch(rest):
        if match[2] in _LINEAR:
            yield f"mlp.experts.{_LINEAR[match[2]]}.{match[3]}{int(match[1])}", shape
        return
    if rest in ("gate.weight", "gate.bias", "router.weight", "router.bias", "router.layer.weight"):
        yield f"mlp.router.{rest.rpartition('.')[2]}", shape
    elif rest in ("gate.e_score_correction_bias", "e_score_correction_bias"):
        yield "mlp.router.expert_bias", shape
    elif rest == "shared_expert_gate.weight":
        yield "mlp.shared_experts.gate_weight", shape
    elif rest.startswith(("fc1_latent_proj.", "fc2_latent_proj.")):
        yield f"mlp.{rest}", shape
    elif name.startswith("shared_mlp.") or rest.startswith(("shared_experts.", "shared_expert.")):
        for inner, part in _dense(rest if name.startswith("shared_mlp.") else rest.split(".", 1)[1], shape):
            yield inner.replace("mlp.", "mlp.shared_experts."), part
    else:
        yield from _stacked(rest.removeprefix("experts."), shape, hidden)


def _stacked(rest: str, shape: Shape, hidden: int | None) -> Iterator[tuple[str, Shape]]:
    """All experts of a linear in one tensor, [experts, outputs, inputs], or in gpt-oss [experts, inputs, outputs]."""
    part, kind = rest.removesuffix(".weight"), "weight"
    if part.endswith("_bias"):
        part, kind = part.removesuffix("_bias"), "bias"
    if part not in _LINEAR or not shape or not 0 < shape[0] <= _MOST_EXPERTS:
        return
    one = shape[1:]
    inputs = 1 if _LINEAR[part] == "linear_fc1" else 0
    if len(one) == 2 and hidden is not None and one[inputs] != hidden and one[1 - inputs] == hidden:
        one = (one[1], one[0])
    for expert in range(shape[0]):
        yield f"mlp.experts.{_LINEAR[part]}.{kind}{expert}", one
