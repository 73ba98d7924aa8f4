"""Sizes and patterns that the contracts of `workbench.arch` are tried on: three sizes, every option, and random ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from workbench.arch.needs import symbols_in
from workbench.arch.sizes import ModelSizes
from workbench.arch.used import used_sizes
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import SYMBOLS, can_fuse

TINY: dict[str, Any] = {}

# No two sizes alike, so that one taken for another shows.
ODD: dict[str, Any] = {
    "hidden_size": 48, "vocab_size": 101, "vocab_multiple": 8, "num_attention_heads": 6, "num_query_groups": 3,
    "head_dim": 10, "ffn_hidden_size": 68, "mamba_state_dim": 12, "mamba_head_dim": 20, "mamba_num_heads": 9,
    "mamba_num_groups": 3, "gdn_num_key_heads": 3, "gdn_num_value_heads": 6, "gdn_key_head_dim": 14,
    "gdn_value_head_dim": 22, "gdn_conv_kernel": 5, "q_lora_rank": 26, "kv_lora_rank": 18, "qk_nope_head_dim": 34,
    "qk_rope_head_dim": 6, "v_head_dim": 38, "dsa_index_heads": 5, "dsa_index_head_dim": 30, "moe_experts": 7,
    "moe_ffn": 36, "moe_shared_ffn": 40, "max_sequence_length": 32,
}  # fmt: skip

MEDIUM: dict[str, Any] = {
    "hidden_size": 256, "vocab_size": 1000, "num_attention_heads": 8, "num_query_groups": None, "ffn_hidden_size": 640,
    "mamba_state_dim": 64, "mamba_head_dim": 32, "mamba_num_groups": 4, "gdn_num_key_heads": 4,
    "gdn_num_value_heads": 4, "gdn_key_head_dim": 32, "gdn_value_head_dim": 64, "kv_lora_rank": 64, "q_lora_rank": 96,
    "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "dsa_index_heads": 8, "dsa_index_head_dim": 32,
    "moe_experts": 16, "moe_ffn": 128, "activation": "squared_relu", "tied_embeddings": True,
}  # fmt: skip

# Option → (pattern with every kind that it touches, fields).
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "LayerNorm": ("M[GE]*-/[*-]", {"normalization": "LayerNorm"}),
    "LayerNorm, latent": ("+-[DE]", {"normalization": "LayerNorm", "qk_layernorm": True}),
    "biases": ("MG[*-]E/*", {"linear_bias": True, "moe_shared_ffn": None}),
    "biases, latent": ("+[+-]", {"linear_bias": True}),
    "qk norm": ("*[*-]", {"qk_layernorm": True}),
    "qk norm, latent": ("[+-]D", {"qk_layernorm": True}),
    "qkv bias": ("[*-]", {"qkv_bias": True}),
    "output gate": ("[*E]", {"attention_output_gate": True}),
    "sinks": ("*[*-]", {"attention_sinks": True}),
    "sinks, latent": ("+[DE]", {"attention_sinks": True}),
    "gelu": ("[M-]E", {"activation": "gelu"}),
    "geglu": ("[M-]E", {"activation": "geglu"}),
    "no q compression": ("[+-]", {"q_lora_rank": None}),
    "router bias": ("[ME]/E/E", {"moe_router_bias": True}),
    "shared experts": ("[ME]", {"moe_shared_ffn": 44}),
    "shared expert gate": ("[GE]", {"moe_shared_ffn": 44, "shared_expert_gate": True}),
    "no shared experts": ("[GE]", {"moe_shared_ffn": None}),
    "tied": ("M|*-/*", {"tied_embeddings": True}),
    "untied": ("M|*-/*", {"tied_embeddings": False}),
    "learned positions": ("[*-]", {"position_embedding": "learned_absolute"}),
    "padded vocabulary": ("M", {"vocab_multiple": 96}),
    "repeated MTP layer": ("M/[*E]/[*E]/[*E]", {"mtp_use_repeated_layer": True}),
}


def plain_sizes(pattern: Pattern, sizes: ModelSizes) -> ModelSizes:
    """The same architecture in its plainest form: used sizes, and defaults that depend on others written out.

    Equal plain sizes are one architecture. The vocabulary is the padded one.
    """
    found, plain = symbols_in(pattern), used_sizes(pattern, sizes)
    values: dict[str, Any] = {"moe_shared_experts": None}
    if plain.vocab_size is not None:
        values |= {"vocab_size": plain.padded_vocabulary, "vocab_multiple": 1}
    if "*" in found:
        values |= {"num_query_groups": plain.num_query_groups or plain.num_attention_heads}
        # A linear with biases has one for queries, keys and values too.
        values |= {"head_dim": plain.attention_head_dim, "qkv_bias": plain.qkv_bias or plain.linear_bias}
    if "M" in found:
        values["mamba_num_heads"] = plain.mamba_heads
    if "E" in found:
        values["moe_aux_loss_coeff"] = plain.aux_loss_coeff
    if not found & {"*", "+", "D"} and plain.rotary_variant != "learned":
        values["position_embedding"] = "none"  # nothing reads positions
    elif plain.rotary_variant == "none":
        values |= {"position_embedding": "none", "rotary_base": 10000}
    elif plain.rotary_variant == "learned":
        values["rotary_base"] = 10000
    return replace(plain, **values)


@st.composite
def random_cases(draw: Any) -> tuple[str, dict[str, Any]]:
    """A pattern of up to six sub-layers, fused at random, perhaps with MTP, and small sizes."""
    latent = draw(st.booleans())
    symbols = "".join(sorted(set(SYMBOLS) - ({"*"} if latent else {"+", "D"})))
    pattern = draw(_fused(draw(st.text(symbols, min_size=1, max_size=6))))
    if draw(st.booleans()):
        mtp = draw(_fused(draw(st.text(symbols, min_size=1, max_size=2))))
        pattern += f"/{mtp}" * draw(st.integers(1, 2))
    # Upstream refuses biases beside sparse attention; latent attention always rotates and has no output gate.
    fields = _sizes(draw, latent=latent, may_bias="D" not in pattern)
    mtp = Pattern(pattern).mtp
    if mtp and any(layer.symbol == "D" for layer in mtp.sublayers):
        # Megatron has no place for the indexer's loss of an MTP layer further in than the main pattern is long.
        fields["dsa_index_loss_coeff"] = 0.0
    return pattern, fields


@st.composite
def _fused(draw: Any, symbols: str) -> str:
    text, place = "", 0
    while place < len(symbols):
        pair = symbols[place : place + 2]
        fuses = len(pair) == 2 and can_fuse(*pair) and draw(st.booleans())
        text += f"[{pair}]" if fuses else pair[0]
        place += 2 if fuses else 1
    return text


def _sizes(draw: Any, *, latent: bool, may_bias: bool) -> dict[str, Any]:
    def among(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    bias = may_bias and among(True, False)
    shared = None if bias else among(None, 20, 24)
    key_heads = among(1, 2, 3)
    return {
        "hidden_size": among(16, 24, 40), "vocab_size": among(17, 32), "vocab_multiple": among(1, 4),
        "tied_embeddings": among(True, False), "normalization": among("RMSNorm", "LayerNorm"), "linear_bias": bias,
        "num_attention_heads": among(2, 4), "num_query_groups": among(None, 1, 2), "head_dim": among(None, 6, 8),
        "qk_layernorm": among(True, False), "qkv_bias": among(True, False),
        "attention_output_gate": not latent and among(True, False), "attention_sinks": among(True, False),
        "position_embedding": among("rope", "none", "learned_absolute") if not latent else "rope",
        "ffn_hidden_size": among(20, 36),
        "activation": among("swiglu", "geglu", "gelu", "squared_relu"), "mamba_state_dim": among(4, 8),
        "mamba_head_dim": among(4, 8), "mamba_num_heads": among(None, 2, 4), "mamba_num_groups": among(1, 2),
        "gdn_num_key_heads": key_heads, "gdn_num_value_heads": key_heads * among(1, 2),
        "gdn_key_head_dim": among(4, 6), "gdn_value_head_dim": among(4, 10), "gdn_conv_kernel": among(2, 4),
        "q_lora_rank": among(8, 12), "kv_lora_rank": among(6, 10), "qk_nope_head_dim": among(4, 6),
        "qk_rope_head_dim": among(2, 4), "v_head_dim": among(4, 8), "dsa_index_heads": among(1, 2),
        "dsa_index_head_dim": among(8, 12), "moe_experts": among(2, 3), "moe_topk": among(1, 2),
        "moe_ffn": among(12, 28), "moe_shared_ffn": shared, "shared_expert_gate": bool(shared) and among(True, False),
        "moe_router_bias": among(True, False), "mtp_use_repeated_layer": among(True, False),
    }  # fmt: skip
