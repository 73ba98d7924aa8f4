"""A `config.json` is a stranger's: every refusal with its field, and nothing that it says takes long or much memory."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.arch.hugging_face import FAMILIES, Converted, from_hugging_face
from workbench.arch.hugging_face.config import MOST_LAYERS
from workbench.errors import WorkbenchError

KNOWN = (
    "bamba, deepseek_v2, deepseek_v3, deepseek_v32, gpt_oss, granitemoehybrid, jamba, kimi_k2, llama, mamba2, mistral, "
    "mixtral, nemotron_h, qwen2, qwen3, qwen3_5, qwen3_5_moe, qwen3_5_moe_text, qwen3_5_text, qwen3_moe, qwen3_next"
)


def refusal(config: Any) -> str:
    with pytest.raises(WorkbenchError) as caught:
        from_hugging_face(config)
    said = str(caught.value)
    assert said.startswith("config.json: ")
    return said.removeprefix("config.json: ")


# -- the family


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ([], "a configuration must be an object, not []"),
        ({}, f"model_type is missing; it must be one of {KNOWN}"),
        ({"model_type": "gpt2"}, f"model_type 'gpt2' is not supported; it must be one of {KNOWN}"),
        ({"model_type": ["llama"]}, f"model_type ['llama'] is not supported; it must be one of {KNOWN}"),
        ({"model_type": "x" * 500}, f"model_type '{'x' * 27}...{'x' * 28}' is not supported; it must be one of {KNOWN}"),
        ({"model_type": "llama", "text_config": 5}, "text_config must be an object, not 5"),
        ({"text_config": {}}, f"model_type is missing; it must be one of {KNOWN}"),
    ],
)  # fmt: skip
def test_the_family(config, said):
    assert refusal(config) == said


# -- fields of a type


@pytest.mark.parametrize(
    ("model_type", "changes", "said"),
    [
        ("llama", {"hidden_size": "4096"}, "hidden_size must be a whole number of at least 1, not '4096'"),
        ("llama", {"hidden_size": None}, "hidden_size must be a whole number of at least 1, not null"),
        ("llama", {"hidden_size": True}, "hidden_size must be a whole number of at least 1, not true"),
        ("llama", {"hidden_size": 4096.0}, "hidden_size must be a whole number of at least 1, not 4096.0"),
        ("llama", {"vocab_size": 0}, "vocab_size must be a whole number of at least 1, not 0"),
        (
            "llama",
            {"intermediate_size": 2**41},
            "intermediate_size must be a whole number of at least 1 and at most 1099511627776, not 2199023255552",
        ),
        ("llama", {"tie_word_embeddings": 1}, "tie_word_embeddings must be true or false, not 1"),
        ("llama", {"rms_norm_eps": "small"}, "rms_norm_eps must be a number of at least 0, not 'small'"),
        ("llama", {"rms_norm_eps": float("inf")}, "rms_norm_eps must be a number of at least 0, not inf"),
        ("llama", {"rms_norm_eps": float("nan")}, "rms_norm_eps must be a number of at least 0, not nan"),
        ("llama", {"attention_dropout": -1}, "attention_dropout must be a number of at least 0, not -1"),
        (
            "llama",
            {"hidden_act": "tanh"},
            "hidden_act must be one of silu, swish, gelu, gelu_new, gelu_pytorch_tanh, not 'tanh'",
        ),
        (
            "llama",
            {"hidden_act": None},
            "hidden_act must be one of silu, swish, gelu, gelu_new, gelu_pytorch_tanh, not null",
        ),
        ("llama", {"rope_scaling": "yarn"}, "rope_scaling must be an object, not 'yarn'"),
        ("llama", {"rope_theta": "10000"}, "rope_theta must be a number of at least 0, not '10000'"),
        ("llama", {"rope_theta": 0.5}, "rope_theta must be a whole number of at least 1, not 0.5"),
        ("llama", {"rope_parameters": {"rope_theta": []}}, "rope_theta must be a number of at least 0, not []"),
        (
            "llama",
            {"partial_rotary_factor": 0.333},
            "partial_rotary_factor must be a whole percentage of a head, not 0.333",
        ),
        (
            "granitemoehybrid",
            {"layer_types": "mamba"},
            "layer_types must be a list, not 'mamba'",
        ),
        (
            "granitemoehybrid",
            {"layer_types": ["mamba"]},
            "layer_types has 1 entries for num_hidden_layers 32",
        ),
        (
            "granitemoehybrid",
            {"layer_types": ["mamba", "conv"], "num_hidden_layers": 2},
            "layer_types[1] must be one of mamba, linear_attention, attention, full_attention, not 'conv'",
        ),
        (
            "granitemoehybrid",
            {"layer_types": ["attention"] * 32, "position_embedding_type": "alibi"},
            "position_embedding_type must be one of rope, nope, null, not 'alibi'",
        ),
        (
            "bamba",
            {"attn_layer_indices": [3, 32]},
            "attn_layer_indices must be a list of layer numbers from 0 to 31, not [3, 32]",
        ),
        (
            "bamba",
            {"attn_layer_indices": [False]},
            "attn_layer_indices must be a list of layer numbers from 0 to 31, not [False]",
        ),
        (
            "deepseek_v3",
            {"topk_method": "best"},
            "topk_method must be one of noaux_tc, greedy, group_limited_greedy, null, not 'best'",
        ),
        (
            "deepseek_v3",
            {"num_nextn_predict_layers": 101},
            "num_nextn_predict_layers must be a whole number of at least 0 and at most 100, not 101",
        ),
        (
            "deepseek_v2",
            {},
            "num_experts_per_tok must be a whole number of at least 1, not null",
        ),
        ("nemotron_h", {"hybrid_override_pattern": 5}, "hybrid_override_pattern must be a text, not 5"),
        (
            "nemotron_h",
            {"hybrid_override_pattern": "M", "time_step_limit": [0]},
            "time_step_limit must be a list of two numbers, not [0]",
        ),
    ],
)
def test_types(model_type, changes, said):
    assert refusal({"model_type": model_type} | changes).removeprefix("rope_parameters: ") == said


# -- what Megatron Core cannot build, and what contradicts itself


@pytest.mark.parametrize(
    ("model_type", "changes", "said"),
    [
        (
            "nemotron_h",
            {"hybrid_override_pattern": "M-Z"},
            "hybrid_override_pattern must be 1 to 10000 of the symbols M, *, - and E, not 'Z'",
        ),
        (
            "nemotron_h",
            {"hybrid_override_pattern": ""},
            "hybrid_override_pattern must be 1 to 10000 of the symbols M, *, - and E, not 0 symbols",
        ),
        (
            "nemotron_h",
            {},
            "hybrid_override_pattern or layers_block_type must say what the layers are",
        ),
        (
            "nemotron_h",
            {"hybrid_override_pattern": "M-", "conv_kernel": 2},
            "conv_kernel must be 4, which Megatron's Mamba mixer always has, not 2",
        ),
        (
            "nemotron_h",
            {"hybrid_override_pattern": "M-", "use_conv_bias": False},
            "use_conv_bias must be true: Megatron's Mamba mixer always has a convolution bias",
        ),
        (
            "bamba",
            {"mamba_proj_bias": True},
            "mamba_proj_bias must be false: Megatron's Mamba mixer has no biases on its projections",
        ),
        (
            "bamba",
            {"mamba_d_head": 32},
            "mamba_n_heads 128 times mamba_d_head 32 must be mamba_expand × hidden_size, 8192",
        ),
        ("mamba2", {"head_dim": 32}, "num_heads 128 times head_dim 32 must be expand × hidden_size, 8192"),
        (
            "gpt_oss",
            {"attention_bias": False},
            "attention_bias must be true: the experts of gpt_oss always have biases, and the sizes know all or none",
        ),
        (
            "llama",
            {"num_attention_heads": 33},
            "hidden_size 4096 is not a multiple of num_attention_heads 33, and there is no head_dim",
        ),
        (
            "llama",
            {"num_key_value_heads": 5},
            "num_attention_heads 32 is not a multiple of num_query_groups 5",
        ),
        ("mixtral", {"num_experts_per_tok": 9}, "moe_topk 9 is more than moe_experts 8"),
        ("llama", {"attention_dropout": 1.0}, "attention_dropout must be at least 0 and below 1, not 1.0"),
    ],
)
def test_what_cannot_be(model_type, changes, said):
    assert refusal({"model_type": model_type} | changes) == said


# -- hostile sizes


@pytest.mark.parametrize("name", FAMILIES)
def test_the_number_of_layers_is_bounded(name):
    if name == "nemotron_h":
        said = refusal({"model_type": name, "hybrid_override_pattern": "M" * (MOST_LAYERS + 1)})
        assert said == "hybrid_override_pattern must be 1 to 10000 of the symbols M, *, - and E, not 10001 symbols"
        said = refusal({"model_type": name, "layers_block_type": ["mamba"] * (MOST_LAYERS + 1)})
        assert said == "layers_block_type must have at most 10000 entries, not 10001"
        return
    assert refusal({"model_type": name, "num_experts_per_tok": 1, "num_hidden_layers": 10**9}) == (
        "num_hidden_layers must be a whole number of at least 1 and at most 10000, not 1000000000"
    )


def test_the_number_of_experts_is_bounded():
    assert refusal({"model_type": "mixtral", "num_local_experts": 10**9}) == (
        "num_local_experts must be a whole number of at least 1 and at most 100000, not 1000000000"
    )


def test_the_largest_model_is_read_soon():
    started = time.process_time()
    from_hugging_face({"model_type": "llama", "num_hidden_layers": MOST_LAYERS})
    assert time.process_time() - started < 2  # seconds


def test_numbers_of_thousands_of_digits():
    said = refusal({"model_type": "llama", "hidden_size": 10**5000})
    assert said.endswith("not a number of thousands of digits")
    assert refusal({"model_type": "llama", "rope_theta": 10**5000}) == (
        "rope_theta must be a number of at least 0 and at most 1099511627776, not a number of thousands of digits"
    )


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
_FIELDS = sorted({field for _, defaults in FAMILIES.values() for field in defaults} | {
    "layer_types", "layers_block_type", "hybrid_override_pattern", "attn_layer_indices", "mlp_only_layers",
    "rope_scaling", "rope_parameters", "sliding_window", "time_step_limit", "text_config", "attention_multiplier",
    "n_group", "topk_group", "scoring_func", "quantization_config", "mtp_layers_block_type", "use_sliding_window",
})  # fmt: skip


@given(st.sampled_from(sorted(FAMILIES)), st.dictionaries(st.sampled_from(_FIELDS), _VALUES, max_size=6))
def test_any_file_is_converted_or_refused(name, changes):
    try:
        found = from_hugging_face({"model_type": name} | changes)
    except WorkbenchError:
        return
    assert isinstance(found, Converted)
