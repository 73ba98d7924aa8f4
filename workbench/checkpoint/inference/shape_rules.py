"""What the shapes of one layer prove about the sizes of a model: one function a layer kind. Pure.

The other direction of `workbench.arch.weights`: there sizes give shapes, here shapes give sizes, or an equation where they
give only a product. Nothing raises: a tensor that is not there, or of another rank, proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workbench.arch.weights import MAMBA_CONV_KERNEL
from workbench.checkpoint.inference.equations import AtMost, Either, Equation, OneOf, Product

type Shape = tuple[int, ...]

GATED = OneOf("activation", ("swiglu", "geglu"), "activation is swiglu or geglu: the first linear is twice as wide")
PLAIN = OneOf(
    "activation",
    ("gelu", "squared_relu", "silu", "relu"),
    "activation is gelu, squared_relu, silu or relu: the first linear is as wide as the second takes",
)


class Reading:
    """The shapes of a layer (names relative to it) and what they prove so far.

    `known` is size → (value, the tensor that shows it); `equations` are what is proven of others; `odd` are sentences about
    shapes that no size explains.
    """

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self.shapes = shapes
        self.known: dict[str, tuple[Any, str]] = {}
        self.equations: list[Equation] = []
        self.odd: list[str] = []

    def at(self, name: str, axis: int) -> int | None:
        """A tensor's length along an axis; None where it has none, or no entries."""
        shape = self.shapes.get(name, ())
        return shape[axis] if axis < len(shape) and shape[axis] else None

    def says(self, size: str, value: Any, name: str) -> None:
        """A size is proven by a tensor."""
        self.known[size] = (value, f"{name} {list(self.shapes[name])}" if name in self.shapes else f"no {name}")

    def length(self, size: str, *places: tuple[str, int]) -> int | None:
        """A size is a tensor's length along an axis: of the first of several tensors that is there."""
        for name, axis in places:
            if (found := self.at(name, axis)) is not None:
                self.says(size, found, name)
                return found
        return None

    def presence(self, size: str, name: str) -> bool:
        """A size is whether a tensor is there."""
        self.says(size, name in self.shapes, name)
        return name in self.shapes

    def quotient(self, size: str, whole: int | None, part: int | None, name: str) -> int | None:
        """A size is one number divided by another, where that comes out even."""
        if not whole or not part or whole < part or whole % part:
            return None
        self.says(size, whole // part, name)
        return whole // part

    def product(self, names: tuple[str, ...], value: int) -> None:
        """A product of sizes is proven."""
        if value > 0:
            self.equations.append(Product(names, value))


def read_layer(symbol: str, shapes: Mapping[str, Shape]) -> Reading:
    """What a layer of this kind proves; names are canonical and relative to it."""
    reading = Reading(shapes)
    _KINDS[symbol](reading)
    return reading


def _mamba(layer: Reading) -> None:
    layer.length("hidden_size", ("mixer.out_proj.weight", 0), ("mixer.in_proj.weight", 1))
    heads = layer.length("mamba_num_heads", ("mixer.A_log", 0), ("mixer.D", 0), ("mixer.dt_bias", 0))
    width = layer.at("mixer.norm.weight", 0) or layer.at("mixer.out_proj.weight", 1)
    layer.quotient("mamba_head_dim", width, heads, "mixer.norm.weight")
    convolved = layer.at("mixer.conv1d_weight", 0) or layer.at("mixer.conv1d_bias", 0)
    if width and convolved and (convolved - width) % 2 == 0:
        layer.product(("mamba_num_groups", "mamba_state_dim"), (convolved - width) // 2)
    kernel = layer.at("mixer.conv1d_weight", 2)
    if kernel not in (None, MAMBA_CONV_KERNEL):
        layer.odd.append(f"mixer.conv1d_weight is {kernel} tokens long, and megatron's are {MAMBA_CONV_KERNEL}")
    _norm(layer, "mixer.in_proj.layer_norm_")


def _gated_delta_net(layer: Reading) -> None:
    at = "self_attention."
    layer.length("hidden_size", (f"{at}out_proj.weight", 0), (f"{at}in_proj.weight", 1))
    heads = layer.length("gdn_num_value_heads", (f"{at}A_log", 0), (f"{at}dt_bias", 0))
    layer.length("gdn_value_head_dim", (f"{at}out_norm.weight", 0))
    values = layer.at(f"{at}out_proj.weight", 1)
    if "gdn_value_head_dim" not in layer.known:
        layer.quotient("gdn_value_head_dim", values, heads, f"{at}out_proj.weight")
    convolved = layer.at(f"{at}conv1d.weight", 0)
    if values and convolved and (convolved - values) % 2 == 0:
        layer.product(("gdn_num_key_heads", "gdn_key_head_dim"), (convolved - values) // 2)
    layer.length("gdn_conv_kernel", (f"{at}conv1d.weight", 2))
    _norm(layer, f"{at}in_proj.layer_norm_")


def _attention(layer: Reading) -> None:
    at = "self_attention."
    qkv, proj = f"{at}linear_qkv.weight", f"{at}linear_proj.weight"
    layer.length("hidden_size", (proj, 0), (qkv, 1))
    layer.presence("qk_layernorm", f"{at}q_layernorm.weight")
    bias = layer.presence("linear_bias", f"{at}linear_proj.bias")
    if not bias:  # a model with biases has one here whatever qkv_bias says
        layer.presence("qkv_bias", f"{at}linear_qkv.bias")
    width, rows = layer.at(proj, 1), layer.at(qkv, 0)
    layer.length("head_dim", (f"{at}q_layernorm.weight", 0))
    heads = _sinks(layer)
    if width:
        layer.product(("num_attention_heads", "head_dim"), width)
        if heads and "head_dim" not in layer.known:
            layer.quotient("head_dim", width, heads, proj)
    if width and rows:
        _groups(layer, width, rows, qkv)
    _norm(layer, f"{at}linear_qkv.layer_norm_")


def _groups(layer: Reading, width: int, rows: int, name: str) -> None:
    """`rows` are queries as wide as `width` (twice that with an output gate), and keys and values a group each.

    Groups divide heads, so keys are as wide as queries, or at most half of that. Without a gate `rows` is then at most twice
    the width, or three times it; with one it is at most three times, or four times it: only three times is both.
    """

    def shared(gate: bool) -> Product | None:
        left = rows - (2 if gate else 1) * width
        whole = left > 0 and left % 2 == 0 and width % (left // 2) == 0
        return Product(("num_query_groups", "head_dim"), left // 2) if whole else None

    cases = [(gate, equation) for gate in (False, True) if (equation := shared(gate))]
    if not cases:
        layer.odd.append(
            f"{name} has {rows} rows: no number of groups makes that beside queries that are {width} wide, gated or not"
        )
    elif len(cases) == 1:
        layer.says("attention_output_gate", cases[0][0], name)
        layer.equations.append(cases[0][1])
    else:
        text = f"(1 + attention_output_gate) × {width} + 2 × num_query_groups × head_dim = {rows}"
        layer.equations.append(Either("attention_output_gate", tuple(cases), text))


def _latent_attention(layer: Reading) -> None:
    _latent(layer, _sinks(layer))


def _latent(layer: Reading, sinks: int | None) -> None:
    at = "self_attention."
    layer.length("hidden_size", (f"{at}linear_proj.weight", 0), (f"{at}linear_kv_down_proj.weight", 1))
    layer.presence("linear_bias", f"{at}linear_proj.bias")
    rank = layer.length("kv_lora_rank", (f"{at}linear_kv_up_proj.weight", 1))
    queries = layer.length("q_lora_rank", (f"{at}linear_q_up_proj.weight", 1))
    if queries is None and f"{at}linear_q_proj.weight" in layer.shapes:
        layer.says("q_lora_rank", None, f"{at}linear_q_proj.weight")
    joint = layer.at(f"{at}linear_qkv_down_proj.weight", 0)
    down = joint - (queries or 0) if joint else layer.at(f"{at}linear_kv_down_proj.weight", 0)
    if queries is not None:
        layer.presence("mla_down_proj_fusion", f"{at}linear_qkv_down_proj.weight")
    norms = (f"{at}linear_kv_up_proj.layer_norm_weight", f"{at}kv_layernorm.weight")
    layer.presence("qk_layernorm", next((name for name in norms if name in layer.shapes), norms[0]))
    rotating = down - rank if down and rank else 0
    if rotating > 0:
        name = f"{at}linear_qkv_down_proj.weight" if joint else f"{at}linear_kv_down_proj.weight"
        layer.says("qk_rope_head_dim", rotating, name)
    # With h heads: query rows h·(nope + rope), key and value rows h·(nope + v), output columns h·v.
    query = layer.at(f"{at}linear_q_up_proj.weight", 0) or layer.at(f"{at}linear_q_proj.weight", 0)
    both, values = layer.at(f"{at}linear_kv_up_proj.weight", 0), layer.at(f"{at}linear_proj.weight", 1)
    if not (query and both and values):
        return
    heads = sinks or layer.quotient(
        "num_attention_heads", query - (both - values), rotating, f"{at}linear_kv_up_proj.weight"
    )
    layer.quotient("qk_nope_head_dim", both - values, heads, f"{at}linear_kv_up_proj.weight")
    layer.quotient("v_head_dim", values, heads, f"{at}linear_proj.weight")
    _norm(layer, "input_layernorm." if not joint else f"{at}linear_qkv_down_proj.layer_norm_")


def _sparse_attention(layer: Reading) -> None:
    _latent(layer, None)  # it has no sinks
    at = "self_attention.core_attention.indexer."
    layer.length("dsa_index_heads", (f"{at}linear_weights_proj.weight", 0))
    layer.length("dsa_index_head_dim", (f"{at}linear_wk.weight", 0), (f"{at}k_norm.weight", 0))


def _mlp(layer: Reading) -> None:
    layer.length("hidden_size", ("mlp.linear_fc2.weight", 0), ("mlp.linear_fc1.weight", 1))
    layer.presence("linear_bias", "mlp.linear_fc1.bias")
    width = layer.length("ffn_hidden_size", ("mlp.linear_fc2.weight", 1))
    _activation(layer, layer.at("mlp.linear_fc1.weight", 0), width, "mlp.linear_fc1.weight")
    _norm(layer, "mlp.linear_fc1.layer_norm_")


def _experts(layer: Reading) -> None:
    layer.length("hidden_size", ("mlp.router.weight", 1), ("pre_mlp_layernorm.weight", 0))
    experts = layer.length("moe_experts", ("mlp.router.weight", 0), ("mlp.router.expert_bias", 0))
    if experts:
        layer.equations.append(AtMost("moe_topk", experts))
    layer.presence("linear_bias", "mlp.router.bias")
    layer.presence("moe_router_bias", "mlp.router.expert_bias")
    if layer.length("moe_latent_size", ("mlp.fc1_latent_proj.weight", 0)) is None:
        layer.says("moe_latent_size", None, "mlp.fc1_latent_proj.weight")
    width = layer.length("moe_ffn", ("mlp.experts.linear_fc2.weight0", 1))
    first = "mlp.experts.linear_fc1.weight0"
    _activation(layer, layer.at(first, 0), width, first)
    shared = "mlp.shared_experts."
    if layer.length("moe_shared_ffn", (f"{shared}linear_fc2.weight", 1)) is None:
        layer.says("moe_shared_ffn", None, f"{shared}linear_fc2.weight")
        layer.says("shared_expert_gate", False, f"{shared}gate_weight")
    else:
        layer.presence("shared_expert_gate", f"{shared}gate_weight")
    _norm(layer, "pre_mlp_layernorm.")


_KINDS: dict[str, Callable[[Reading], None]] = {
    "M": _mamba,
    "G": _gated_delta_net,
    "*": _attention,
    "+": _latent_attention,
    "D": _sparse_attention,
    "-": _mlp,
    "E": _experts,
}


def read_outside(shapes: Mapping[str, Shape], *, whole: bool) -> Reading:
    """What stands around the layers proves; `whole` says that the model's last stage is there, so that what is not, is not."""
    reading = Reading(shapes)
    table = "embedding.word_embeddings.weight"
    reading.length("hidden_size", (table, 1), ("decoder.final_norm.weight", 0), ("output_layer.weight", 1))
    reading.length("padded_vocabulary", (table, 0), ("output_layer.weight", 0))
    if table in shapes:
        positions = "embedding.position_embeddings.weight"
        if reading.length("max_sequence_length", (positions, 0)) is not None:
            reading.says("position_embedding", "learned_absolute", positions)
    if whole:
        reading.says("tied_embeddings", "output_layer.weight" not in shapes, "output_layer.weight")
    _norm(reading, "decoder.final_norm.")
    return reading


# ------------------------------------------------------------------------------------------------------


def _norm(layer: Reading, prefix: str) -> None:
    if f"{prefix}weight" in layer.shapes:
        biased = f"{prefix}bias" in layer.shapes
        layer.says("normalization", "LayerNorm" if biased else "RMSNorm", f"{prefix}bias")


def _sinks(layer: Reading) -> int | None:
    name = "self_attention.core_attention.softmax_offset"
    if layer.presence("attention_sinks", name):
        return layer.length("num_attention_heads", (name, 0))
    return None


def _activation(layer: Reading, first: int | None, width: int | None, name: str) -> None:
    """A gated activation doubles the first linear, and a plain one does not."""
    if not first or not width:
        return
    if first in (width, 2 * width):
        layer.says("gated", first == 2 * width, name)
        layer.equations.append(GATED if first == 2 * width else PLAIN)
    else:
        layer.odd.append(f"{name} has {first} rows, which is neither {width} nor twice that")
