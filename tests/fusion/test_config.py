"""Configs: what each size becomes, and every contradiction between a config, a pattern and a backend, in words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from megatron.core.transformer.transformer_config import MLATransformerConfig, TransformerConfig

from workbench.arch.needs import NEEDS
from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError
from workbench.fusion.config import _LOCAL_LIMITS, check_config, transformer_config
from workbench.fusion.model import build_model
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import SYMBOLS


def config_of(pattern: str, sizes: ModelSizes | None = None, **options: Any) -> TransformerConfig:
    return transformer_config(Pattern(pattern), sizes or ModelSizes(), **options)


def problems(pattern: str, config: TransformerConfig, backend: str = "local") -> list[str]:
    with pytest.raises(WorkbenchError) as error:
        check_config(Pattern(pattern), config, backend)
    title, *lines = str(error.value).splitlines()
    assert title == f"config and pattern {pattern} do not fit:"
    return [line.strip() for line in lines]


EXPECTED: dict[str, tuple[str, dict[str, Any]]] = {
    "M": (
        "M",
        {
            "mamba_state_dim": 16,
            "mamba_head_dim": 16,
            "mamba_num_groups": 2,
            "num_attention_heads": 4,
            "hidden_size": 64,
        },
    ),
    "*": ("*", {"num_attention_heads": 4, "num_query_groups": 2, "kv_channels": 16, "multi_latent_attention": False}),
    "G": ("G", {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_conv_kernel_dim": 4}),
    "-": ("-", {"ffn_hidden_size": 128, "gated_linear_unit": True, "add_bias_linear": False}),
    "E": ("E", {"num_moe_experts": 4, "moe_router_topk": 2, "moe_ffn_hidden_size": 64, "moe_grouped_gemm": False}),
    "+": ("+", {"q_lora_rank": 32, "kv_lora_rank": 16, "qk_head_dim": 16, "v_head_dim": 16, "num_query_groups": 4}),
    "D": ("D", {"dsa_indexer_n_heads": 4, "dsa_indexer_topk": 8, "experimental_attention_variant": "dsa"}),
    "mtp": ("M[*-]/*-/*-", {"num_layers": 3, "mtp_num_layers": 2, "is_hybrid_model": True}),
}


@pytest.mark.parametrize("case", EXPECTED)
def test_what_the_sizes_become(case: str) -> None:
    pattern, expected = EXPECTED[case]
    config = config_of(pattern)
    assert {name: getattr(config, name) for name in expected} == expected


def test_layers_are_sub_layers_and_stages_are_not_counted() -> None:
    assert config_of("M[*-]|[ME]").num_layers == 5


def test_experts_are_configured_only_where_there_are_some() -> None:
    assert config_of("M-").num_moe_experts is None
    assert config_of("M-/ME").num_moe_experts == 4


@pytest.mark.parametrize(("dtype", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_dtypes(dtype: str, expected: torch.dtype) -> None:
    config = config_of("M", dtype=dtype)
    assert (config.params_dtype, config.pipeline_dtype, config.bf16) == (expected, expected, dtype == "bf16")


def test_an_unknown_dtype_is_an_error() -> None:
    with pytest.raises(WorkbenchError) as error:
        config_of("M", dtype="fp16")
    assert str(error.value) == "dtype must be one of bf16, fp32, not 'fp16'"


def test_fields_given_beside_the_sizes_win() -> None:
    assert config_of("M-", ffn_hidden_size=96, init_method_std=0.5).ffn_hidden_size == 96


def test_the_backend_decides_the_implementation() -> None:
    assert config_of("M").transformer_impl == "local"
    assert config_of("M", backend="te").transformer_impl == "transformer_engine"


@pytest.mark.parametrize(("symbol", "name"), [(symbol, name) for symbol in NEEDS for name in NEEDS[symbol]])
def test_a_size_that_a_layer_kind_needs(symbol: str, name: str) -> None:
    with pytest.raises(WorkbenchError) as error:
        config_of(symbol, ModelSizes(**{name: None}))
    assert str(error.value) == f"{symbol!r} ({SYMBOLS[symbol].name}) needs {name}, which the sizes leave out"
    # Where nothing is of the kind, nothing is needed.
    other = next(each for each in "M-" if name not in NEEDS[each])
    config_of(other, ModelSizes(**{name: None}))


def test_several_missing_sizes_are_named_at_once_and_in_mtp_too() -> None:
    with pytest.raises(WorkbenchError, match=r"'M' \(Mamba-2\) needs mamba_state_dim, mamba_num_groups, which"):
        config_of("-/M-", ModelSizes(mamba_state_dim=None, mamba_num_groups=None))


def test_what_megatron_rejects_is_said_with_the_pattern() -> None:
    with pytest.raises(WorkbenchError, match=r"^megatron rejects these sizes for M-: .*unexpected keyword"):
        config_of("M-", no_such_field=1)


@pytest.mark.parametrize(("topk", "bias", "expected"), [(1, False, True), (1, True, False), (2, False, False)])
def test_one_expert_a_token(topk: int, bias: bool, expected: bool) -> None:
    config = config_of("E", ModelSizes(moe_topk=topk, moe_router_bias=bias))
    assert config.moe_router_pre_softmax is expected
    build_model("E", config, seed=1, backend="local")


def test_what_megatron_has_not_implemented_is_said_too() -> None:
    with pytest.raises(WorkbenchError, match="Output gate is not supported for MLA yet"):
        config_of("+", ModelSizes(attention_output_gate=True))


# -------------------------------------------------------------------------------------- check_config


@pytest.mark.parametrize("pattern", ["M[*-]M[ME]", "[+-]", "[DE]/D-", "M|*-|", "G-//"])
@pytest.mark.parametrize("backend", ["local", "te"])
def test_a_config_made_for_the_pattern_fits(pattern: str, backend: str) -> None:
    check_config(Pattern(pattern), config_of(pattern, backend=backend), backend)


def test_a_number_of_layers_that_contradicts_the_pattern() -> None:
    assert problems("M[*-]", config_of("M-")) == [
        "num_layers is 2, the pattern has 3 sub-layers in 2 blocks (num_layers counts sub-layers)"
    ]


def test_mtp_depths_that_contradict_the_pattern() -> None:
    assert problems("M-/*-/*-", config_of("M-")) == ["mtp_num_layers is None, the pattern has 2 MTP depth(s)"]
    assert problems("M-", config_of("M-/*-")) == ["mtp_num_layers is 1, the pattern has 0 MTP depth(s)"]


def test_experts_that_are_not_configured() -> None:
    assert problems("ME", config_of("M-")) == ["the pattern has 'E', and num_moe_experts is not set"]


def test_attention_of_the_wrong_family() -> None:
    assert problems("+-", config_of("*-")) == ["the pattern has '+' or 'D', which need an MLATransformerConfig"]
    assert problems("*-", config_of("+-")) == ["the pattern has '*', and multi_latent_attention is on"]
    assert problems("D-", config_of("+-")) == ["the pattern has 'D', which needs experimental_attention_variant='dsa'"]


def test_indexer_losses_that_megatron_has_no_place_for() -> None:
    (problem,) = problems("D/D-D", config_of("D/D-D"))
    assert problem.startswith(
        "the MTP pattern has a 'D' further in than the main pattern is long, which needs dsa_indexer"
    )
    check_config(Pattern("D/D-D"), config_of("D/D-D", ModelSizes(dsa_index_loss_coeff=0.0)), "local")
    check_config(Pattern("D-/D-"), config_of("D-/D-"), "local")


def test_every_problem_is_said_at_once() -> None:
    assert len(problems("M[+E]/*-", config_of("M-"))) >= 4


BAD: dict[str, Any] = {
    "transformer_impl": "transformer_engine",
    "gradient_accumulation_fusion": True,
    "moe_grouped_gemm": True,
    "moe_permute_fusion": True,
    "masked_softmax_fusion": True,
    "moe_latent_size": 32,
    "mla_down_proj_fusion": True,
    "fp8": "hybrid",
    "fp4": "e2m1",
}


@pytest.mark.parametrize(("name", "works", "why"), _LOCAL_LIMITS)
def test_what_the_local_backend_cannot_do(name: str, works: Any, why: str) -> None:
    config = config_of("[*E]")
    assert getattr(config, name, works) == works
    setattr(config, name, BAD[name])
    assert problems("[*E]", config) == [f"the local backend needs {name}={works!r}, not {BAD[name]!r}: {why}"]
    check_config(Pattern("[*E]"), config, "te")


# ------------------------------------------------------------------------- configs that somebody made


def megatron_config(kind: type[TransformerConfig], **fields: Any) -> TransformerConfig:
    values: dict[str, Any] = {
        "num_layers": 2,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "ffn_hidden_size": 96,
        "transformer_impl": "local",
        "normalization": "RMSNorm",
        "add_bias_linear": False,
        "masked_softmax_fusion": False,
        "gradient_accumulation_fusion": False,
    }
    return kind(**{**values, **fields})


def test_a_config_of_megatrons_is_taken_as_it_is() -> None:
    config = megatron_config(TransformerConfig)
    model = build_model("[*-]", config, seed=1, backend="local")
    assert model.config is config
    assert model.vocab_size == 128
    assert build_model("[*-]", config, backend="local", vocab_size=256).vocab_size == 256


def test_a_latent_attention_config_of_megatrons_is_taken_as_it_is() -> None:
    config = megatron_config(
        MLATransformerConfig,
        multi_latent_attention=True,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_head_dim=8,
        qk_pos_emb_head_dim=8,
        v_head_dim=8,
        rope_type="rope",
        mla_down_proj_fusion=False,
    )
    assert build_model("[+-]", config, seed=1, backend="local").config is config


def test_megatrons_own_config_is_checked_against_the_pattern() -> None:
    with pytest.raises(WorkbenchError, match="num_layers is 2, the pattern has 3 sub-layers in 2 blocks"):
        build_model("M[*-]", megatron_config(TransformerConfig), backend="local")
