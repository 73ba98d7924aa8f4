"""The way back from a config: the same architecture, every field accounted for, what is lost said in words."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from megatron.core.activations import fast_gelu, quick_gelu, squared_relu
from megatron.core.fusions import fused_bias_geglu
from megatron.core.transformer.transformer_config import MLATransformerConfig, TransformerConfig
from torch.nn import functional as F

from tests.contracts.architectures import MEDIUM, ODD, OPTIONS, TINY, plain_sizes, random_cases
from workbench.arch.architecture import Architecture
from workbench.arch.megatron.fields import CAVEATS, HARMLESS
from workbench.arch.megatron.sizes import CONVERTED
from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError
from workbench.fusion.config import transformer_config
from workbench.fusion.model import model_arguments
from workbench.fusion.sizes_of import sizes_of
from workbench.pattern.model import Pattern

SIZES = {"tiny": TINY, "odd": ODD, "medium": MEDIUM}


def assert_there_and_back(text: str, sizes: ModelSizes, **overrides: Any) -> None:
    pattern = Pattern(text)
    config = transformer_config(pattern, sizes, **overrides)
    found = sizes_of(config, **model_arguments(pattern, sizes))
    assert found.caveats == ()
    assert Architecture(pattern, found.sizes).built("local") == Architecture(pattern, sizes).built("local")
    assert plain_sizes(pattern, found.sizes) == plain_sizes(pattern, sizes)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_comes_back(option: str, size: str) -> None:
    pattern, changes = OPTIONS[option]
    assert_there_and_back(pattern, ModelSizes(**{**SIZES[size], **changes}))


@given(random_cases())
@settings(max_examples=100, deadline=None)
def test_random_sizes_come_back(case: tuple[str, dict[str, Any]]) -> None:
    pattern, values = case
    assert_there_and_back(pattern, ModelSizes(**values))


# What changes no name and no shape.
SHAPELESS: dict[str, tuple[str, Any]] = {
    "norm_epsilon": ("M", 1e-6),
    "rotary_base": ("*", 500000),
    "rotary_base, latent": ("+", 500000),
    "initializer_std": ("M", 0.01),
    "hidden_dropout": ("*", 0.25),
    "attention_dropout": ("*", 0.25),
    "moe_topk": ("E", 1),
    "moe_aux_loss_coeff": ("E", 0.5),
    "dsa_index_loss_coeff": ("D", 0.0),
    "dsa_index_topk": ("D", 4),
    "position_embedding": ("*", "rope 25%"),
    "max_sequence_length": ("*", 4096),
    "activation": ("-", "silu"),
}


@pytest.mark.parametrize("name", SHAPELESS)
def test_what_has_no_shape_comes_back(name: str) -> None:
    pattern, value = SHAPELESS[name]
    assert_there_and_back(pattern, ModelSizes(**{name.split(",")[0]: value}))


@pytest.mark.parametrize("activation", ["swiglu", "geglu", "gelu", "squared_relu", "silu", "relu"])
def test_every_activation_comes_back(activation: str) -> None:
    assert_there_and_back("M-", ModelSizes(activation=activation))


@pytest.mark.parametrize("balance", [0.0, 0.25])
def test_a_router_that_balances_by_its_bias(balance: float) -> None:
    assert_there_and_back("E", ModelSizes(moe_router_bias=True, moe_aux_loss_coeff=balance))
    assert_there_and_back("E", ModelSizes(moe_router_bias=True, moe_topk=1, moe_aux_loss_coeff=balance))


def test_latent_projections_and_transformer_engine() -> None:
    sizes = ModelSizes(moe_latent_size=32, mla_down_proj_fusion=True)
    assert_there_and_back("[+E]", sizes, backend="te")


def test_other_sizes_are_told_apart() -> None:
    """The comparison above can fail."""
    with pytest.raises(AssertionError):
        assert_there_and_back("*", ModelSizes(), attention_dropout=0.5)
    with pytest.raises(AssertionError):
        assert_there_and_back("*", ModelSizes(), num_query_groups=4)


# ------------------------------------------------------------------------------- what is not configured


def test_kinds_that_a_config_does_not_configure_are_not_there() -> None:
    config = transformer_config(Pattern("M"), ModelSizes())
    found = sizes_of(config, **model_arguments(Pattern("M"), ModelSizes())).sizes
    gone = ("kv_lora_rank", "q_lora_rank", "v_head_dim", "dsa_index_heads", "moe_experts", "moe_topk", "moe_ffn")
    assert {name: getattr(found, name) for name in gone} == dict.fromkeys(gone)
    assert found.mamba_state_dim == 16


def test_latent_attention_without_the_indexer() -> None:
    pattern = Pattern("+")
    found = sizes_of(transformer_config(pattern, ModelSizes()), **model_arguments(pattern, ModelSizes())).sizes
    assert (found.dsa_index_heads, found.kv_lora_rank, found.num_query_groups) == (None, 16, None)


def test_megatrons_own_defaults() -> None:
    """Mamba's defaults fit no layer of this width, which has four heads for eight groups."""
    config = TransformerConfig(num_layers=2, hidden_size=128, num_attention_heads=8)
    found = sizes_of(config, vocab_size=512, max_sequence_length=256)
    assert found.caveats == ()
    assert found.sizes == ModelSizes(
        hidden_size=128, vocab_size=512, max_sequence_length=256, position_embedding="none", linear_bias=True,
        num_attention_heads=8, num_query_groups=None, ffn_hidden_size=512, activation="gelu", normalization="LayerNorm",
        mamba_state_dim=None, mamba_head_dim=None, mamba_num_groups=None, gdn_num_key_heads=16, gdn_num_value_heads=32,
        gdn_key_head_dim=128, gdn_value_head_dim=128, hidden_dropout=0.1, attention_dropout=0.1, kv_lora_rank=None,
        q_lora_rank=None, qk_nope_head_dim=None, qk_rope_head_dim=None, v_head_dim=None, dsa_index_heads=None,
        dsa_index_head_dim=None, dsa_index_topk=None, moe_experts=None, moe_topk=None, moe_ffn=None,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- caveats


def test_every_field_of_the_installed_config_is_accounted_for() -> None:
    """A field that a new release adds is in none of the three: decide what it does."""
    known = CONVERTED | HARMLESS | {caveat.field for caveat in CAVEATS}
    names = {field.name for kind in (TransformerConfig, MLATransformerConfig) for field in fields(kind)}
    assert names - known == set()
    assert known - names == set()


def test_no_field_is_in_two_places() -> None:
    partly = {"softmax_type", "experimental_attention_variant"}  # some of their values are sizes
    caveats = {caveat.field for caveat in CAVEATS}
    assert len(caveats) == len(CAVEATS)
    assert not CONVERTED & HARMLESS
    assert not caveats & HARMLESS
    assert caveats & CONVERTED == partly


@pytest.mark.parametrize("caveat", CAVEATS, ids=lambda caveat: caveat.field)
def test_the_default_is_no_caveat(caveat: Any) -> None:
    default = next(field.default for field in fields(TransformerConfig) if field.name == caveat.field)
    assert default in caveat.neutral


CHANGED: dict[str, tuple[str, dict[str, Any], str]] = {
    "gamma": ("M", {"layernorm_zero_centered_gamma": True}, "layernorm_zero_centered_gamma=True: norms multiply by"),
    "window": ("*", {"window_size": (128, 0)}, "window_size=(128, 0): attention sees a window of so many tokens"),
    "off by one": ("*", {"softmax_type": "off-by-one"}, "softmax_type='off-by-one': the softmax has one more, fixed"),
    "yarn": ("+", {"rope_type": "yarn"}, "rope_type='yarn': frequencies are stretched by rotary_scaling_factor=40"),
    "mscale": ("+", {"mscale_all_dim": 1.0}, "mscale_all_dim=1.0: attention scores are scaled for the longer context"),
    "groups": ("E", {"moe_router_num_groups": 2, "moe_router_group_topk": 1}, "moe_router_num_groups=2: experts are"),
    "scaling": (
        "E",
        {"moe_router_score_function": "sigmoid", "moe_router_topk_scaling_factor": 2.5},
        "moe_router_topk_scaling_factor=2.5: the chosen experts' scores are multiplied by it",
    ),
    "scores": (
        "E",
        {"moe_router_score_function": "sigmoid"},
        "moe_router_score_function='sigmoid': our routers without a bias take the softmax",
    ),
    "first": ("E", {"moe_router_pre_softmax": True}, "moe_router_pre_softmax=True: the router's softmax is taken before"),
    "balance": (
        "E",
        {"moe_router_load_balancing_type": "seq_aux_loss"},
        "moe_router_load_balancing_type='seq_aux_loss': balances the load another way",
    ),
    "muP": ("*", {"use_mup": True, "mup_base_hidden_size": 32}, "use_mup=True: initial weights, logits and attention"),
    "embedding": ("M", {"embedding_init_method_std": 1.0}, "embedding_init_method_std=1.0: the embedding's initial"),
    "init": (
        "M",
        {"init_method": torch.nn.init.xavier_uniform_},
        "init_method=xavier_uniform_: initial weights are not drawn from a normal distribution of initializer_std",
    ),
    "MTP": ("M/*", {"mtp_loss_scaling_factor": 0.3}, "mtp_loss_scaling_factor=0.3: the weight of the MTP losses"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGED)
def test_what_has_no_place_is_said(case: str) -> None:
    text, overrides, said = CHANGED[case]
    pattern = Pattern(text)
    found = sizes_of(transformer_config(pattern, ModelSizes(), **overrides), **model_arguments(pattern, ModelSizes()))
    assert [caveat for caveat in found.caveats if caveat.startswith(said)], found.caveats


def test_several_ways_to_balance_at_once() -> None:
    config = transformer_config(
        Pattern("E"),
        ModelSizes(),
        moe_router_load_balancing_type=["aux_loss", "global_aux_loss"],
        moe_aux_loss_coeff=[0.02, 0.5],
    )
    found = sizes_of(config, vocab_size=128, max_sequence_length=64)
    assert found.sizes.moe_aux_loss_coeff == 0.02
    assert found.caveats == ("moe_router_load_balancing_type='global_aux_loss': balances the load another way",)


@pytest.mark.parametrize(
    ("arguments", "position", "caveats"),
    [
        ({"position_embedding_type": "rope", "rotary_percent": 0.5}, "rope 50%", ()),
        (
            {"position_embedding_type": "rope", "rotary_percent": 0.1242},
            "rope 12%",
            ("rotary_percent=0.1242: the sizes hold whole percents",),
        ),
        (
            {"position_embedding_type": "yarn"},
            "rope (yarn)",
            ("position_embedding_type='yarn': the sizes do not hold how frequencies are stretched",),
        ),
        (
            {"position_embedding_type": "rope", "rotary_base": 1000.5},
            "rope",
            ("rotary_base=1000.5: the sizes hold a whole number",),
        ),
    ],
)
def test_positions(arguments: dict[str, Any], position: str, caveats: tuple[str, ...]) -> None:
    config = transformer_config(Pattern("*"), ModelSizes(num_attention_heads=1, num_query_groups=1, head_dim=1000))
    found = sizes_of(config, vocab_size=128, max_sequence_length=64, **arguments)
    assert (found.sizes.position_embedding, found.caveats) == (position, caveats)


def test_a_share_between_two_percentages() -> None:
    """An eighth of 64 channels are 8, and so are 13 percent of them."""
    config = transformer_config(Pattern("*"), ModelSizes(head_dim=64))
    found = sizes_of(
        config, vocab_size=128, max_sequence_length=64, position_embedding_type="rope", rotary_percent=0.125
    )
    assert (found.sizes.position_embedding, found.caveats) == ("rope 13%", ())


def test_a_yarn_that_stretches_nothing_is_a_plain_rotation() -> None:
    config = transformer_config(Pattern("+"), ModelSizes(), rope_type="yarn", rotary_scaling_factor=1.0)
    found = sizes_of(config, vocab_size=128, max_sequence_length=64)
    assert (found.sizes.position_embedding, found.caveats) == ("rope", ())


# --------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("function", "gated", "named"),
    [
        (quick_gelu, True, "gated quick_gelu, the sigmoid approximation"),
        (fused_bias_geglu.quick_gelu, True, "gated quick_gelu, the sigmoid approximation"),
        (fast_gelu, False, "fast_gelu, the tanh approximation"),
        (squared_relu, True, "gated squared_relu"),
        (F.mish, False, "mish"),
    ],
)
def test_an_activation_that_is_none_of_ours(function: Any, gated: bool, named: str) -> None:
    config = transformer_config(Pattern("M-"), ModelSizes())
    config.activation_func, config.gated_linear_unit = function, gated
    with pytest.raises(WorkbenchError) as error:
        sizes_of(config, vocab_size=128, max_sequence_length=64)
    assert str(error.value) == (
        f"activation_func is {named}, which the sizes do not know: swiglu, silu, geglu, gelu, squared_relu, relu"
    )


def test_what_a_config_does_not_hold() -> None:
    config = transformer_config(Pattern("M-"), ModelSizes())
    with pytest.raises(WorkbenchError, match=r"^a config does not hold max_sequence_length: give them"):
        sizes_of(config, vocab_size=128)


def test_relative_positions() -> None:
    config = transformer_config(Pattern("*"), ModelSizes())
    with pytest.raises(WorkbenchError, match="position_embedding_type 'relative' has no place in the sizes"):
        sizes_of(config, vocab_size=128, max_sequence_length=64, position_embedding_type="relative")
