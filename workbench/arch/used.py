"""The sizes that a pattern uses: those of absent layer kinds become "not there". Pure.

Two `ModelSizes` may differ and still be one architecture, because a pattern without `M` reads no Mamba size.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from workbench.arch.needs import symbols_in
from workbench.arch.sizes import ModelSizes
from workbench.pattern.model import Pattern

# Which layer kinds read a field; a field that is not here is of the whole model.
READ_BY: dict[str, str] = {
    "num_attention_heads": "*+D", "num_query_groups": "*", "head_dim": "*", "qk_layernorm": "*+D", "qkv_bias": "*",
    "attention_output_gate": "*", "attention_sinks": "*+", "rotary_base": "*+D", "attention_dropout": "*+D",
    "ffn_hidden_size": "-", "activation": "-E", "mamba_state_dim": "M", "mamba_head_dim": "M", "mamba_num_heads": "M",
    "mamba_num_groups": "M", "gdn_num_key_heads": "G", "gdn_num_value_heads": "G", "gdn_key_head_dim": "G",
    "gdn_value_head_dim": "G", "gdn_conv_kernel": "G", "q_lora_rank": "+D", "kv_lora_rank": "+D",
    "qk_nope_head_dim": "+D", "qk_rope_head_dim": "+D", "v_head_dim": "+D", "mla_down_proj_fusion": "+D",
    "dsa_index_heads": "D", "dsa_index_head_dim": "D", "dsa_index_topk": "D", "dsa_index_loss_coeff": "D",
    "moe_experts": "E", "moe_topk": "E", "moe_ffn": "E", "moe_shared_experts": "E", "moe_shared_ffn": "E",
    "moe_latent_size": "E", "moe_router_bias": "E", "moe_aux_loss_coeff": "E", "shared_expert_gate": "E",
}  # fmt: skip


def used_sizes(pattern: Pattern, sizes: ModelSizes) -> ModelSizes:
    """The sizes with those of absent layer kinds not there; a field that cannot be `None` has its default instead."""
    found = symbols_in(pattern)
    values: dict[str, Any] = {}
    for field in fields(ModelSizes):
        if not found & set(READ_BY.get(field.name, found)):
            values[field.name] = None if "None" in str(field.type) else field.default
    # Latent attention reads no head_dim, but sizes whose even share is no width of a head cannot do without.
    heads = None if "num_attention_heads" in values else sizes.num_attention_heads
    if heads and sizes.hidden_size % (2 * heads):
        values.pop("head_dim", None)
    if pattern.mtp is None:
        values["mtp_use_repeated_layer"] = False
    return replace(sizes, **values)
