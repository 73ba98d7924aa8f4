"""Values of megatron's `TransformerConfig` fields → `ModelSizes`, whoever read them: a config or a command line. Pure.

The way back from `workbench.fusion.config`. The fields are those of megatron-core 0.19.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.arch.megatron.fields import caveats_of
from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError

# Size → the config field that holds the same value, read in both directions.
WHOLE = {
    "hidden_size": "hidden_size", "ffn_hidden_size": "ffn_hidden_size", "normalization": "normalization",
    "norm_epsilon": "layernorm_epsilon", "linear_bias": "add_bias_linear", "initializer_std": "init_method_std",
    "qk_layernorm": "qk_layernorm", "qkv_bias": "add_qkv_bias", "attention_output_gate": "attention_output_gate",
    "mtp_use_repeated_layer": "mtp_use_repeated_layer", "hidden_dropout": "hidden_dropout",
    "attention_dropout": "attention_dropout",
}  # fmt: skip
MAMBA = {
    "mamba_state_dim": "mamba_state_dim", "mamba_head_dim": "mamba_head_dim", "mamba_num_heads": "mamba_num_heads",
    "mamba_num_groups": "mamba_num_groups",
}  # fmt: skip
GDN = {
    "gdn_num_key_heads": "linear_num_key_heads", "gdn_num_value_heads": "linear_num_value_heads",
    "gdn_key_head_dim": "linear_key_head_dim", "gdn_value_head_dim": "linear_value_head_dim",
    "gdn_conv_kernel": "linear_conv_kernel_dim",
}  # fmt: skip
LATENT = {
    "q_lora_rank": "q_lora_rank", "kv_lora_rank": "kv_lora_rank", "qk_nope_head_dim": "qk_head_dim",
    "qk_rope_head_dim": "qk_pos_emb_head_dim", "v_head_dim": "v_head_dim",
    "mla_down_proj_fusion": "mla_down_proj_fusion",
}  # fmt: skip
INDEXER = {
    "dsa_index_heads": "dsa_indexer_n_heads", "dsa_index_head_dim": "dsa_indexer_head_dim",
    "dsa_index_topk": "dsa_indexer_topk", "dsa_index_loss_coeff": "dsa_indexer_loss_coeff",
}  # fmt: skip
EXPERTS = {
    "moe_experts": "num_moe_experts", "moe_topk": "moe_router_topk", "moe_ffn": "moe_ffn_hidden_size",
    "moe_shared_ffn": "moe_shared_expert_intermediate_size", "moe_latent_size": "moe_latent_size",
    "moe_router_bias": "moe_router_enable_expert_bias", "shared_expert_gate": "moe_shared_expert_gate",
}  # fmt: skip

# Fields that are read below by a rule of their own.
_BY_RULE = """
    num_layers mtp_num_layers is_hybrid_model multi_latent_attention experimental_attention_variant
    activation_func gated_linear_unit num_attention_heads num_query_groups kv_channels softmax_type
    moe_router_load_balancing_type moe_aux_loss_coeff moe_router_score_function moe_router_pre_softmax
    rope_type rotary_base rotary_percent rotary_scaling_factor original_max_position_embeddings beta_fast beta_slow
    mscale mscale_all_dim init_method output_layer_init_method embedding_init_method embedding_init_method_std
"""
CONVERTED: frozenset[str] = frozenset(_BY_RULE.split()).union(
    *(table.values() for table in (WHOLE, MAMBA, GDN, LATENT, INDEXER, EXPERTS))
)


@dataclass(frozen=True)
class ConvertedConfig:
    """Sizes, and what they could not take along: one text a caveat, which names the field, its value and its effect."""

    sizes: ModelSizes
    caveats: tuple[str, ...]


def sizes_of_fields(
    config: Mapping[str, Any],
    *,
    activation: str | None,
    vocab_size: int | None,
    vocab_multiple: int = 1,
    max_sequence_length: int,
    share_embeddings_and_output_weights: bool = False,
    position_embedding_type: str = "none",
    rotary_percent: float = 1.0,
    rotary_base: float = 10000,
    called: Callable[[str], str] = str,
) -> ConvertedConfig:
    """The sizes that a config's values say; the arguments after `activation` are `HybridModel`'s, with its defaults.

    `activation` is one of ours, gating included. `called` is what the caveats call a field. A layer kind that the config
    does not configure, or whose values no layer can have, is "not there". Raises `WorkbenchError` for values that are
    no sizes.
    """
    caveats: list[str] = []
    latent = bool(config["multi_latent_attention"])
    if latent:
        rotary_percent, rotary_base = config["rotary_percent"], config["rotary_base"]
    values = {
        **_same(WHOLE, config),
        # Megatron-LM derives 0 for a gated MLP of a tiny model.
        "ffn_hidden_size": config["ffn_hidden_size"] or None,
        "activation": activation,
        "vocab_size": vocab_size,
        "vocab_multiple": vocab_multiple,
        "max_sequence_length": max_sequence_length,
        "tied_embeddings": share_embeddings_and_output_weights,
        **_attention(config, latent),
        **_mamba(config),
        **_gated_delta_net(config),
        **_latent_attention(config, latent),
        **(_experts(config, caveats, called) if config["num_moe_experts"] else _absent(EXPERTS)),
    }
    position = _position(position_embedding_type, config, latent, caveats, called)
    percent = _percent(rotary_percent, config["kv_channels"], caveats, called) if "rope" in position else ""
    values["position_embedding"] = position.replace("rope", f"rope{percent}")
    values["rotary_base"] = round(rotary_base)
    if round(rotary_base) != rotary_base:
        caveats.append(f"{called('rotary_base')}={rotary_base!r}: the sizes hold a whole number")
    std = config.get("embedding_init_method_std")
    if std is not None and std != config["init_method_std"]:
        caveats.append(
            f"{called('embedding_init_method_std')}={std!r}: the embedding's initial weights have their own width"
        )
    return ConvertedConfig(ModelSizes(**values), (*caveats_of(config, called), *caveats))


def fields_of_sizes(table: Mapping[str, str], sizes: ModelSizes) -> dict[str, Any]:
    """The config fields of one of the tables above, with the values of the sizes."""
    return {field: getattr(sizes, size) for size, field in table.items()}


def _same(table: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    return {size: config[field] for size, field in table.items()}


def _absent(table: Mapping[str, str]) -> dict[str, Any]:
    """ "Not there" for every size of a table that can be; the others keep their defaults."""
    return {size: None for size in table if "None" in str(ModelSizes.__dataclass_fields__[size].type)}


def _attention(config: Mapping[str, Any], latent: bool) -> dict[str, Any]:
    heads, groups, width = config["num_attention_heads"] or None, config["num_query_groups"], config["kv_channels"]
    shared = heads and config["hidden_size"] % heads == 0 and config["hidden_size"] // heads == width
    return {
        "num_attention_heads": heads,
        # Latent attention has no groups, whatever the config says.
        "num_query_groups": None if latent or not heads or groups == heads else groups,
        "head_dim": None if shared or not heads else width,
        "attention_sinks": config["softmax_type"] == "learnable",
    }


def _mamba(config: Mapping[str, Any]) -> dict[str, Any]:
    values = _same(MAMBA, config)
    width, groups, inner = values["mamba_head_dim"], values["mamba_num_groups"], 2 * config["hidden_size"]
    heads = values["mamba_num_heads"] or (inner // width if width and inner % width == 0 else None)
    # Every config has Mamba's defaults; where they fit no layer, there is none.
    possible = heads and groups and heads % groups == 0
    return values if possible else _absent(MAMBA)


def _gated_delta_net(config: Mapping[str, Any]) -> dict[str, Any]:
    values = _same(GDN, config)
    possible = all(values.values()) and values["gdn_num_value_heads"] % values["gdn_num_key_heads"] == 0
    return values if possible else _absent(GDN)


def _latent_attention(config: Mapping[str, Any], latent: bool) -> dict[str, Any]:
    if not latent:
        return _absent(LATENT) | _absent(INDEXER)
    if config["experimental_attention_variant"] != "dsa":
        return _same(LATENT, config) | _absent(INDEXER)
    values = _same(LATENT, config) | _same(INDEXER, config)
    values["dsa_index_loss_coeff"] = values["dsa_index_loss_coeff"] or 0.0
    return values


def _experts(config: Mapping[str, Any], caveats: list[str], called: Callable[[str], str]) -> dict[str, Any]:
    """The experts' sizes; what our models decide from them (workbench.fusion.config) is a caveat where it is otherwise."""
    values = _same(EXPERTS, config)
    values["moe_ffn"] = values["moe_ffn"] or config["ffn_hidden_size"]
    values["moe_shared_ffn"] = values["moe_shared_ffn"] or None
    values["shared_expert_gate"] = bool(values["shared_expert_gate"] and values["moe_shared_ffn"])
    kinds, coefficients = (
        value if isinstance(value, list | tuple) else [value]
        for value in (config["moe_router_load_balancing_type"], config["moe_aux_loss_coeff"])
    )
    balancing = {kind: float(weight) for kind, weight in zip(kinds, coefficients, strict=False) if kind != "none"}
    values["moe_aux_loss_coeff"] = balancing.pop("aux_loss", 0.0)
    name = called("moe_router_load_balancing_type")
    caveats += [f"{name}={kind!r}: balances the load another way" for kind in balancing if kind != "none"]
    bias = values["moe_router_bias"]
    scores, expected = config["moe_router_score_function"], "sigmoid" if bias else "softmax"
    if scores != expected:
        beside = "with" if bias else "without"
        caveats.append(
            f"{called('moe_router_score_function')}={scores!r}: our routers {beside} a bias take the {expected}"
        )
    first = bool(config["moe_router_pre_softmax"])
    if scores == "softmax" and first != (values["moe_topk"] == 1 and not bias):
        when = "before the choice, not after it" if first else "after the choice, not before it"
        caveats.append(f"{called('moe_router_pre_softmax')}={first!r}: the router's softmax is taken {when}")
    return values


def _position(
    kind: str, config: Mapping[str, Any], latent: bool, caveats: list[str], called: Callable[[str], str]
) -> str:
    """The position embedding without its percentage: "none", "learned_absolute", "rope", "rope (yarn)" or "mrope"."""
    kinds = {"none": "none", "learned_absolute": "learned_absolute", "rope": "rope", "mrope": "mrope"}
    if kind != "yarn" and kind not in kinds:
        raise WorkbenchError(f"position_embedding_type {kind!r} has no place in the sizes")
    if not latent:
        if kind == "yarn":
            caveats.append(
                f"{called('position_embedding_type')}='yarn': the sizes do not hold how frequencies are stretched"
            )
        return kinds.get(kind, "rope (yarn)")
    stretch, scale = config["rotary_scaling_factor"], config["mscale_all_dim"]
    if scale and stretch > 1.0:
        caveats.append(f"{called('mscale_all_dim')}={scale!r}: attention scores are scaled for the longer context")
    if kind == "learned_absolute":
        caveats.append(f"{called('position_embedding_type')}={kind!r}: latent attention rotates all the same")
        return kind
    # A factor of one stretches nothing: then YaRN is the plain rotation.
    if config["rope_type"] == "rope" or stretch == 1.0:
        return "rope"
    caveats.append(
        f"{called('rope_type')}='yarn': frequencies are stretched by {called('rotary_scaling_factor')}={stretch!r}, which "
        "the sizes do not hold"
    )
    return "rope (yarn)"


def _percent(share: float, width: int | None, caveats: list[str], called: Callable[[str], str]) -> str:
    """ " 25%" for a share of 0.25: the whole percentage that rotates as many of the head's channels."""
    rotating = int((width or 100) * share)
    near = (round(share * 100), math.floor(share * 100), math.ceil(share * 100))
    exact = [percent for percent in near if int((width or 100) * percent / 100) == rotating]
    if not exact:
        caveats.append(f"{called('rotary_percent')}={share!r}: the sizes hold whole percents")
    percent = (*exact, near[0])[0]
    return "" if percent == 100 else f" {percent}%"
