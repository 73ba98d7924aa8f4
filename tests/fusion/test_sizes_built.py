"""Every size reaches the model that is built, or is refused: none is ignored."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError
from workbench.fusion.config import transformer_config
from workbench.fusion.model import build_model, model_arguments
from workbench.pattern.model import Pattern

# Field → (pattern, another value, what that value needs beside it).
CHANGES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "hidden_size": ("M", 128, {}),
    "vocab_size": ("M", 256, {}),
    "vocab_multiple": ("M", 100, {}),
    "max_sequence_length": ("*", 128, {}),
    "tied_embeddings": ("M", True, {}),
    "position_embedding": ("*", "rope 50%", {}),
    "rotary_base": ("*", 500, {}),
    "normalization": ("M", "LayerNorm", {}),
    "norm_epsilon": ("M", 1e-6, {}),
    "linear_bias": ("-", True, {}),
    "initializer_std": ("M", 0.01, {}),
    "num_attention_heads": ("*", 8, {}),
    "num_query_groups": ("*", 4, {}),
    "head_dim": ("*", 32, {}),
    "qk_layernorm": ("*", True, {}),
    "qkv_bias": ("*", True, {}),
    "attention_output_gate": ("*", True, {}),
    "attention_sinks": ("*", True, {}),
    "ffn_hidden_size": ("-", 64, {}),
    "activation": ("-", "gelu", {}),
    "mamba_state_dim": ("M", 32, {}),
    "mamba_head_dim": ("M", 32, {}),
    "mamba_num_heads": ("M", 4, {}),
    "mamba_num_groups": ("M", 1, {}),
    "gdn_num_key_heads": ("G", 4, {}),
    "gdn_num_value_heads": ("G", 2, {}),
    "gdn_key_head_dim": ("G", 32, {}),
    "gdn_value_head_dim": ("G", 32, {}),
    "gdn_conv_kernel": ("G", 3, {}),
    "q_lora_rank": ("+", None, {}),
    "kv_lora_rank": ("+", 32, {}),
    "qk_nope_head_dim": ("+", 32, {}),
    "qk_rope_head_dim": ("+", 16, {}),
    "v_head_dim": ("+", 32, {}),
    "mla_down_proj_fusion": ("+", True, {}),
    "dsa_index_heads": ("D", 2, {}),
    "dsa_index_head_dim": ("D", 32, {}),
    "dsa_index_topk": ("D", 4, {}),
    "dsa_index_loss_coeff": ("D", 0.5, {}),
    "moe_experts": ("E", 8, {}),
    "moe_topk": ("E", 3, {}),
    "moe_ffn": ("E", 32, {}),
    "moe_shared_ffn": ("E", 32, {}),
    "moe_latent_size": ("E", 32, {}),
    "moe_router_bias": ("E", True, {}),
    "moe_aux_loss_coeff": ("E", 0.5, {}),
    "shared_expert_gate": ("E", True, {"moe_shared_ffn": 32}),
    "mtp_use_repeated_layer": ("M/*/*", True, {}),
    "hidden_dropout": ("*", 0.1, {}),
    "attention_dropout": ("*", 0.1, {}),
}
# How many experts share a width is nothing that a model has; sizes hold it to that width (tests/arch/test_sizes.py).
NOT_BUILT = {"moe_shared_experts"}


def built(pattern: str, sizes: ModelSizes) -> dict[str, Any]:
    """Everything that a model is built from; functions by their closure, which differs from config to config."""
    config = vars(transformer_config(Pattern(pattern), sizes))
    plain = {name: value for name, value in config.items() if not callable(value) or name == "activation_func"}
    return plain | model_arguments(Pattern(pattern), sizes)


def test_every_field_is_tried():
    assert CHANGES.keys() | NOT_BUILT == {field.name for field in fields(ModelSizes)}


@pytest.mark.parametrize("name", CHANGES)
def test_no_field_is_ignored(name):
    pattern, value, beside = CHANGES[name]
    assert getattr(ModelSizes(**beside), name) != value
    assert built(pattern, ModelSizes(**beside)) != built(pattern, ModelSizes(**beside, **{name: value}))


def test_the_comparison_can_say_equal():
    assert built("M*-", ModelSizes()) == built("M*-", ModelSizes())
    assert built("M", ModelSizes()) == built("M", ModelSizes(moe_experts=8))


@pytest.mark.parametrize(
    ("pattern", "values", "said"),
    [
        (
            "*",
            {"position_embedding": "rope (yarn)"},
            "position_embedding 'rope (yarn)' cannot be built: rotary embeddings",
        ),
        ("*", {"position_embedding": "mrope 25%"}, "position_embedding 'mrope 25%' cannot be built: rotary embeddings"),
        (
            "M*",
            {"position_embedding": "rope/yarn"},
            "position_embedding 'rope/yarn' cannot be built: rotary embeddings",
        ),
        ("+", {"position_embedding": "rope (yarn)"}, "position_embedding 'rope (yarn)' cannot be built: rotary"),
        (
            "+",
            {"position_embedding": "none"},
            "position_embedding 'none' cannot be built: multi-latent attention rotates",
        ),
        (
            "D",
            {"position_embedding": "rope 25%"},
            "position_embedding 'rope 25%' cannot be built: multi-latent attention",
        ),
        ("M", {"vocab_size": None}, "a model needs a vocab_size, which the sizes leave out"),
        ("E", {"moe_latent_size": 32}, "the local backend needs moe_latent_size=None, not 32"),
        ("-", {"ffn_hidden_size": None}, "'-' (MLP) needs ffn_hidden_size, which the sizes leave out"),
    ],
)
def test_what_cannot_be_built_is_refused(pattern, values, said):
    with pytest.raises(WorkbenchError) as caught:
        build_model(pattern, ModelSizes(**values), backend="local")
    assert said in str(caught.value)


@pytest.mark.parametrize("position", [None, "none", "rope (yarn)"])
def test_a_position_embedding_that_nothing_uses(position):
    build_model("[M-]", ModelSizes(position_embedding=position), backend="local")


@pytest.mark.parametrize(("coefficient", "balancing"), [(None, "none"), (0.0, "none"), (0.02, "aux_loss")])
def test_a_loss_beside_the_bias_that_balances(coefficient, balancing):
    config = transformer_config(Pattern("E"), ModelSizes(moe_router_bias=True, moe_aux_loss_coeff=coefficient))
    assert config.moe_router_load_balancing_type == balancing
    assert config.moe_aux_loss_coeff == (coefficient or 0.0)
    build_model("[ME]", ModelSizes(moe_router_bias=True, moe_aux_loss_coeff=coefficient), seed=1, backend="local")
