"""The weights of one layer of each kind: canonical name, shape, dtype, and how parallel ranks divide them.

One function a kind, one row a tensor, in the order of `megatron-core` 0.19.2's Transformer Engine spec
(`megatron/core/models/hybrid/hybrid_layer_specs.py`); the modules are named at each function. Pure.
`tests/contracts/test_architecture.py` compares every row with what the real modules hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from workbench.arch.sizes import ModelSizes

Dtype = Literal["model", "fp32"]

MAMBA_CONV_KERNEL = 4  # tokens; `MambaMixer`'s default, which no config field reaches (mamba_mixer.py:177)


@dataclass(frozen=True)
class Weight:
    """One tensor, or `copies` alike, numbered where the name holds `{expert}`.

    `shape` in elements, of the whole tensor whatever the ranks. `dtype` is "model" (as the model was asked for) or
    "fp32" (always). `tp_axis` is the axis that tensor-parallel ranks divide, None where each has all of it; the copies
    of an expert's weight are divided over expert-parallel ranks. A buffer (`trained` False) is in the checkpoint and is
    not a parameter.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Dtype = "model"
    tp_axis: int | None = None
    copies: int = 1
    trained: bool = True

    @property
    def elements(self) -> int:
        """Elements of all copies."""
        return math.prod(self.shape) * self.copies

    @property
    def expert(self) -> bool:
        """True for a weight of the routed experts."""
        return "{expert}" in self.name

    def each(self) -> tuple[Weight, ...]:
        """One entry a copy, its number in the name.

        >>> [weight.name for weight in Weight("fc1.weight{expert}", (4, 2), copies=2).each()]
        ['fc1.weight0', 'fc1.weight1']
        """
        if not self.expert:
            return (self,)
        return tuple(
            replace(self, name=self.name.replace("{expert}", str(number)), copies=1) for number in range(self.copies)
        )


Rows = tuple[Weight, ...]
COLUMN, ROW = 0, 1  # the axis that a column- and a row-parallel linear divides


def layer_weights(symbol: str, sizes: ModelSizes) -> Rows:
    """The rows of a stand-alone layer, names relative to its `layers.<i>.`; the sizes that it needs must be there."""
    return _KINDS[symbol](sizes)


def _mamba(sizes: ModelSizes) -> Rows:
    """`MambaLayer` with a `MambaMixer` (megatron/core/ssm/mamba_mixer.py:246-420)."""
    heads, width = _given(sizes.mamba_heads), _given(sizes.mamba_heads) * _given(sizes.mamba_head_dim)
    state = _given(sizes.mamba_num_groups) * _given(sizes.mamba_state_dim)
    convolved = width + 2 * state  # x, B, C
    return (
        Weight("mixer.dt_bias", (heads,), tp_axis=0),
        Weight("mixer.A_log", (heads,), "fp32", tp_axis=0),
        Weight("mixer.D", (heads,), "fp32", tp_axis=0),
        *_linear("mixer.in_proj", convolved + width + heads, sizes.hidden_size, COLUMN, False),  # z, x, B, C, dt
        *_norm("mixer.in_proj.layer_norm_", sizes.hidden_size, sizes),
        Weight("mixer.conv1d_weight", (convolved, 1, MAMBA_CONV_KERNEL), tp_axis=0),
        Weight("mixer.conv1d_bias", (convolved,), tp_axis=0),
        Weight("mixer.norm.weight", (width,), tp_axis=0),
        *_linear("mixer.out_proj", sizes.hidden_size, width, ROW, False),
    )


def _gated_delta_net(sizes: ModelSizes) -> Rows:
    """`TransformerLayer` with a `GatedDeltaNet` (megatron/core/ssm/gated_delta_net/common.py:150-300)."""
    value_heads = _given(sizes.gdn_num_value_heads)
    keys = _given(sizes.gdn_num_key_heads) * _given(sizes.gdn_key_head_dim)
    values = value_heads * _given(sizes.gdn_value_head_dim)
    return (
        Weight("self_attention.dt_bias", (value_heads,), tp_axis=0),
        Weight("self_attention.A_log", (value_heads,), tp_axis=0),
        # q, k, v, the gate as wide as v, and beta and alpha, one a value head each.
        *_linear("self_attention.in_proj", 2 * keys + 2 * values + 2 * value_heads, sizes.hidden_size, COLUMN, False),
        *_norm("self_attention.in_proj.layer_norm_", sizes.hidden_size, sizes),
        Weight("self_attention.conv1d.weight", (2 * keys + values, 1, _given(sizes.gdn_conv_kernel)), tp_axis=0),
        *_norm("self_attention.out_norm.", _given(sizes.gdn_value_head_dim), sizes),
        *_linear("self_attention.out_proj", sizes.hidden_size, values, ROW, False),
    )


def _attention(sizes: ModelSizes) -> Rows:
    """`TransformerLayer` with `SelfAttention` (megatron/core/transformer/attention.py)."""
    heads, width = _given(sizes.num_attention_heads), _given(sizes.attention_head_dim)
    groups = sizes.num_query_groups or heads
    queries = heads * width * (2 if sizes.attention_output_gate else 1)
    bias = sizes.linear_bias
    qkv_bias = bias or sizes.qkv_bias
    return (
        *_sinks(heads, sizes),
        *_linear("self_attention.linear_proj", sizes.hidden_size, heads * width, ROW, bias),
        *_linear("self_attention.linear_qkv", queries + 2 * groups * width, sizes.hidden_size, COLUMN, qkv_bias),
        *_norm("self_attention.linear_qkv.layer_norm_", sizes.hidden_size, sizes),
        *(_norm("self_attention.q_layernorm.", width, sizes) if sizes.qk_layernorm else ()),
        *(_norm("self_attention.k_layernorm.", width, sizes) if sizes.qk_layernorm else ()),
    )


def _latent_attention(sizes: ModelSizes) -> Rows:
    """`TransformerLayer` with `MLASelfAttention` (megatron/core/transformer/multi_latent_attention.py)."""
    rows = _latent(sizes, norms=("linear_q_up_proj.layer_norm_", "linear_kv_up_proj.layer_norm_"))
    return (*_sinks(_given(sizes.num_attention_heads), sizes), *rows)


def _sparse_attention(sizes: ModelSizes) -> Rows:
    """The same with the indexer of DeepSeek sparse attention (experimental_attention_variant/dsa.py:1140-1215)."""
    heads, width = _given(sizes.dsa_index_heads), _given(sizes.dsa_index_head_dim)
    prefix = "self_attention.core_attention.indexer."
    return (
        *_latent(sizes, norms=("q_layernorm.", "kv_layernorm.")),
        *_linear(f"{prefix}linear_wq_b", heads * width, _given(sizes.q_lora_rank), None, False),
        *_linear(f"{prefix}linear_wk", width, sizes.hidden_size, None, False),
        Weight(f"{prefix}k_norm.weight", (width,)),
        Weight(f"{prefix}k_norm.bias", (width,)),  # a LayerNorm whatever the model's norm is
        *_linear(f"{prefix}linear_weights_proj", heads, sizes.hidden_size, None, False),
    )


def _latent(sizes: ModelSizes, norms: tuple[str, str]) -> Rows:
    heads, hidden = _given(sizes.num_attention_heads), sizes.hidden_size
    nope, rope, value = (
        _given(sizes.qk_nope_head_dim),
        _given(sizes.qk_rope_head_dim),
        _given(sizes.v_head_dim),
    )
    rank, prefix = _given(sizes.kv_lora_rank), "self_attention."
    fused_down = sizes.mla_down_proj_fusion and sizes.q_lora_rank is not None
    rows = [] if fused_down else [*_norm("input_layernorm.", hidden, sizes)]
    rows += _linear(f"{prefix}linear_proj", hidden, heads * value, ROW, sizes.linear_bias)
    if fused_down:
        down = _given(sizes.q_lora_rank) + rank + rope
        rows += _norm(f"{prefix}linear_qkv_down_proj.layer_norm_", hidden, sizes)
        rows += _linear(f"{prefix}linear_qkv_down_proj", down, hidden, None, False)
    else:
        rows += _linear(f"{prefix}linear_kv_down_proj", rank + rope, hidden, None, False)
    if sizes.q_lora_rank is None:
        rows += _linear(f"{prefix}linear_q_proj", heads * (nope + rope), hidden, COLUMN, False)
    else:
        if not fused_down:
            rows += _linear(f"{prefix}linear_q_down_proj", sizes.q_lora_rank, hidden, None, False)
        rows += _linear(f"{prefix}linear_q_up_proj", heads * (nope + rope), sizes.q_lora_rank, COLUMN, False)
        rows += _norm(f"{prefix}{norms[0]}", sizes.q_lora_rank, sizes) if sizes.qk_layernorm else ()
    rows += _linear(f"{prefix}linear_kv_up_proj", heads * (nope + value), rank, COLUMN, False)
    rows += _norm(f"{prefix}{norms[1]}", rank, sizes) if sizes.qk_layernorm else ()
    return tuple(rows)


def _mlp(sizes: ModelSizes) -> Rows:
    """`MLPLayer` (megatron/core/transformer/mlp.py); a gated activation doubles the first linear."""
    width, bias = _given(sizes.ffn_hidden_size), sizes.linear_bias
    return (
        *_linear("mlp.linear_fc1", _twice_if_gated(width, sizes), sizes.hidden_size, COLUMN, bias),
        *_norm("mlp.linear_fc1.layer_norm_", sizes.hidden_size, sizes),
        *_linear("mlp.linear_fc2", sizes.hidden_size, width, ROW, bias),
    )


def _experts(sizes: ModelSizes) -> Rows:
    """`MoETransformerLayer` (megatron/core/transformer/moe/): router, latent projections, experts, shared experts."""
    hidden, experts, width = sizes.hidden_size, _given(sizes.moe_experts), _given(sizes.moe_ffn)
    inner, bias = sizes.moe_latent_size or hidden, sizes.linear_bias
    rows = [*_norm("pre_mlp_layernorm.", hidden, sizes)]
    rows += _linear("mlp.router", experts, hidden, None, bias)
    if sizes.moe_router_bias:
        rows.append(Weight("mlp.router.expert_bias", (experts,), "fp32", trained=False))
    if sizes.moe_latent_size:
        rows += _linear("mlp.fc1_latent_proj", inner, hidden, None, bias)
        rows += _linear("mlp.fc2_latent_proj", hidden, inner, None, bias)
    rows += _linear("mlp.experts.linear_fc1", _twice_if_gated(width, sizes), inner, COLUMN, bias, experts)
    rows += _linear("mlp.experts.linear_fc2", inner, width, ROW, bias, experts)
    if sizes.moe_shared_ffn:
        # Shared experts work on the full width, whatever the experts' latent size, and have no biases.
        if sizes.shared_expert_gate:
            rows.append(Weight("mlp.shared_experts.gate_weight", (1, hidden)))
        shared = sizes.moe_shared_ffn
        rows += _linear("mlp.shared_experts.linear_fc1", _twice_if_gated(shared, sizes), hidden, COLUMN, False)
        rows += _linear("mlp.shared_experts.linear_fc2", hidden, shared, ROW, False)
    return tuple(rows)


_KINDS: dict[str, Callable[[ModelSizes], Rows]] = {
    "M": _mamba,
    "G": _gated_delta_net,
    "*": _attention,
    "+": _latent_attention,
    "D": _sparse_attention,
    "-": _mlp,
    "E": _experts,
}


# --------------------------------------------------------------------------------- outside of the layers


def embedding_weights(sizes: ModelSizes) -> Rows:
    """The word embedding, and the table of learned positions where there is one."""
    rows: Rows = (Weight("embedding.word_embeddings.weight", (sizes.padded_vocabulary, sizes.hidden_size), tp_axis=0),)
    if sizes.rotary_variant == "learned":
        # Made by `torch.nn.Embedding` without a dtype (models/common/embeddings/language_model_embedding.py:67).
        rows += (
            Weight("embedding.position_embeddings.weight", (sizes.max_sequence_length, sizes.hidden_size), "fp32"),
        )
    return rows


def final_norm_weights(sizes: ModelSizes) -> Rows:
    """The norm after the last sub-layer."""
    return _norm("decoder.final_norm.", sizes.hidden_size, sizes)


def output_weights(sizes: ModelSizes) -> Rows:
    """The output layer; nothing where it is tied to the embedding."""
    if sizes.tied_embeddings:
        return ()
    return (Weight("output_layer.weight", (sizes.padded_vocabulary, sizes.hidden_size), tp_axis=0),)


def mtp_weights(sizes: ModelSizes) -> Rows:
    """What an MTP depth has beside its layers (megatron/core/transformer/multi_token_prediction.py:985-1060)."""
    hidden = sizes.hidden_size
    return (
        *_norm("enorm.", hidden, sizes),
        *_norm("hnorm.", hidden, sizes),
        *_linear("eh_proj", hidden, 2 * hidden, COLUMN, False),
        *_norm("final_layernorm.", hidden, sizes),
    )


# ------------------------------------------------------------------------------------------------------


def _linear(name: str, outputs: int, inputs: int, axis: int | None, bias: bool, experts: int | None = None) -> Rows:
    """The weight [outputs, inputs] and bias [outputs] of a linear; a row-parallel one has its bias whole on each rank."""
    number, copies = ("", 1) if experts is None else ("{expert}", experts)
    rows: Rows = (Weight(f"{name}.weight{number}", (outputs, inputs), tp_axis=axis, copies=copies),)
    if bias:
        rows += (Weight(f"{name}.bias{number}", (outputs,), tp_axis=0 if axis == COLUMN else None, copies=copies),)
    return rows


def _norm(prefix: str, width: int, sizes: ModelSizes) -> Rows:
    names = ("weight", "bias") if sizes.normalization == "LayerNorm" else ("weight",)
    return tuple(Weight(f"{prefix}{name}", (width,)) for name in names)


def _sinks(heads: int, sizes: ModelSizes) -> Rows:
    if not sizes.attention_sinks:
        return ()
    return (Weight("self_attention.core_attention.softmax_offset", (heads,), tp_axis=0),)


def _twice_if_gated(width: int, sizes: ModelSizes) -> int:
    return 2 * width if sizes.gated else width


def _given(size: int | None) -> int:
    assert size is not None, "workbench.arch.needs says which sizes a kind needs"
    return size
