"""Published models that are no presets: their counts, from their sizes alone.

`PUBLISHED` holds a pattern, sizes and the count as published, to the last parameter. Counts are those of the released
checkpoints (the total that Hugging Face shows of a model's safetensors files, or what `num_parameters` says of the
model), unless `FROM_TEXT` says that authors wrote them down.
"""

from __future__ import annotations

from typing import Any

import pytest

from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.cost.parameters import parameters

Published = tuple[str, dict[str, Any], int]


def dense(hidden: int, heads: int, groups: int, ffn: int, vocab: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": hidden, "num_attention_heads": heads, "num_query_groups": groups, "ffn_hidden_size": ffn,
        "vocab_size": vocab, **more,
    }  # fmt: skip


def sparse(
    hidden: int, heads: int, groups: int, vocab: int, experts: tuple[int, int, int], **more: Any
) -> dict[str, Any]:
    """`experts`: how many, how many a token, and how wide."""
    number, topk, width = experts
    sizes = dense(hidden, heads, groups, 1, vocab) | {"moe_experts": number, "moe_topk": topk, "moe_ffn": width}
    return sizes | {"ffn_hidden_size": None} | more


def latent(
    hidden: int, heads: int, queries: int | None, vocab: int, experts: tuple[int, int, int], **more: Any
) -> dict[str, Any]:
    """DeepSeek's latent attention: all releases have these ranks and widths."""
    sizes = sparse(hidden, heads, heads, vocab, experts)
    sizes |= {"q_lora_rank": queries, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64}
    return sizes | {"v_head_dim": 128, "qk_layernorm": True} | more


def gpt2(hidden: int, heads: int) -> dict[str, Any]:
    sizes = dense(hidden, heads, heads, 4 * hidden, 50257, tied_embeddings=True, max_sequence_length=1024)
    return sizes | {"normalization": "LayerNorm", "linear_bias": True, "activation": "gelu"} | {
        "position_embedding": "learned_absolute"
    }  # fmt: skip


def neox(hidden: int, heads: int, vocab: int) -> dict[str, Any]:
    """Attention and MLP side by side, which has the weights of one after the other."""
    sizes = dense(hidden, heads, heads, 4 * hidden, vocab, position_embedding="rope 25%")
    return sizes | {"normalization": "LayerNorm", "linear_bias": True, "activation": "gelu"}


def mamba2(hidden: int) -> dict[str, Any]:
    return {
        "hidden_size": hidden, "vocab_size": 50277, "vocab_multiple": 16, "tied_embeddings": True,
        "mamba_state_dim": 128, "mamba_head_dim": 64, "mamba_num_groups": 1,
    }  # fmt: skip


TIED, NORMED, BIASED = {"tied_embeddings": True}, {"qk_layernorm": True}, {"qkv_bias": True}
OPT = {"vocab_size": 50272, "activation": "relu", "max_sequence_length": 2050}
SINKS = {"linear_bias": True, "attention_sinks": True}

PUBLISHED: dict[str, Published] = {
    "Llama-2-7B": ("*-" * 32, dense(4096, 32, 32, 11008, 32000), 6_738_415_616),
    "Llama-2-13B": ("*-" * 40, dense(5120, 40, 40, 13824, 32000), 13_015_864_320),
    "Llama-2-70B": ("*-" * 80, dense(8192, 64, 8, 28672, 32000), 68_976_648_192),
    "Llama-3.1-70B": ("*-" * 80, dense(8192, 64, 8, 28672, 128256), 70_553_706_496),
    "Llama-3.1-405B": ("*-" * 126, dense(16384, 128, 8, 53248, 128256), 405_853_388_800),
    "Llama-3.2-1B": ("*-" * 16, dense(2048, 32, 8, 8192, 128256, **TIED), 1_235_814_400),
    "Llama-3.2-3B": ("*-" * 28, dense(3072, 24, 8, 8192, 128256, head_dim=128, **TIED), 3_212_749_824),
    "Mistral-7B": ("*-" * 32, dense(4096, 32, 8, 14336, 32000), 7_241_732_096),
    "Mistral-Nemo-12B": ("*-" * 40, dense(5120, 32, 8, 14336, 131072, head_dim=128), 12_247_782_400),
    "Mistral-Small-24B": ("*-" * 40, dense(5120, 32, 8, 32768, 131072, head_dim=128), 23_572_403_200),
    "Mistral-Large-2": ("*-" * 88, dense(12288, 96, 8, 28672, 32768), 122_610_069_504),
    "Mixtral-8x22B": ("*E" * 56, sparse(6144, 48, 8, 32768, (8, 2, 16384)), 140_630_071_296),
    "TinyLlama-1.1B": ("*-" * 22, dense(2048, 32, 4, 5632, 32000), 1_100_048_384),
    "Yi-6B": ("*-" * 32, dense(4096, 32, 4, 11008, 64000), 6_061_035_520),
    "Yi-34B": ("*-" * 60, dense(7168, 56, 8, 20480, 64000), 34_388_917_248),
    "Phi-3-mini": ("*-" * 32, dense(3072, 32, 32, 8192, 32064), 3_821_079_552),
    "Phi-4": ("*-" * 40, dense(5120, 40, 10, 17920, 100352), 14_659_507_200),
    "SmolLM2-135M": ("*-" * 30, dense(576, 9, 3, 1536, 49152, **TIED), 134_515_008),
    "SmolLM3-3B": ("*-" * 36, dense(2048, 16, 4, 11008, 128256, **TIED), 3_075_098_624),
    "Qwen2.5-0.5B": ("*-" * 24, dense(896, 14, 2, 4864, 151936, **BIASED, **TIED), 494_032_768),
    "Qwen2.5-7B": ("*-" * 28, dense(3584, 28, 4, 18944, 152064, **BIASED), 7_615_616_512),
    "Qwen2.5-32B": ("*-" * 64, dense(5120, 40, 8, 27648, 152064, **BIASED), 32_763_876_352),
    "Qwen2.5-72B": ("*-" * 80, dense(8192, 64, 8, 29568, 152064, **BIASED), 72_706_203_648),
    "Qwen1.5-MoE-A2.7B": (
        "*E" * 24,
        sparse(2048, 16, 16, 151936, (60, 4, 1408), moe_shared_ffn=5632, shared_expert_gate=True, **BIASED),
        14_315_784_192,
    ),
    "Qwen3-0.6B": ("*-" * 28, dense(1024, 16, 8, 3072, 151936, head_dim=128, **NORMED, **TIED), 596_049_920),
    "Qwen3-4B": ("*-" * 36, dense(2560, 32, 8, 9728, 151936, head_dim=128, **NORMED, **TIED), 4_022_468_096),
    "Qwen3-8B": ("*-" * 36, dense(4096, 32, 8, 12288, 151936, **NORMED), 8_190_735_360),
    "Qwen3-32B": ("*-" * 64, dense(5120, 64, 8, 25600, 151936, head_dim=128, **NORMED), 32_762_123_264),
    "Qwen3-30B-A3B": ("*E" * 48, sparse(2048, 32, 4, 151936, (128, 8, 768), head_dim=128, **NORMED), 30_532_122_624),
    "Qwen3-235B-A22B": (
        "*E" * 94,
        sparse(4096, 64, 4, 151936, (128, 8, 1536), head_dim=128, **NORMED),
        235_093_634_560,
    ),
    "Qwen3-Coder-480B-A35B": (
        "*E" * 62,
        sparse(6144, 96, 8, 151936, (160, 8, 2560), head_dim=128, **NORMED),
        480_154_875_392,
    ),
    "DeepSeekMoE-16B": (
        "*-" + "*E" * 27,
        sparse(2048, 16, 16, 102400, (64, 6, 1408), ffn_hidden_size=10944, moe_shared_ffn=2 * 1408),
        16_375_728_128,
    ),
    "DeepSeek-V2-Lite": (
        "+-" + "+E" * 26,
        latent(2048, 16, None, 102400, (64, 6, 1408), ffn_hidden_size=10944, moe_shared_ffn=2 * 1408),
        15_706_484_224,
    ),
    "DeepSeek-V2": (
        "+-" + "+E" * 59,
        latent(5120, 128, 1536, 102400, (160, 6, 1536), ffn_hidden_size=12288, moe_shared_ffn=2 * 1536),
        235_741_434_880,
    ),
    "gpt-oss-120b": (
        "*E" * 36,
        sparse(2880, 64, 8, 201088, (128, 4, 2880), head_dim=64, **SINKS),
        116_829_156_672,
    ),
    "Gemma-2B": ("*-" * 18, dense(2048, 8, 1, 16384, 256000, activation="geglu", **TIED), 2_506_172_416),
    "Gemma-7B": ("*-" * 28, dense(3072, 16, 16, 24576, 256000, head_dim=256, activation="geglu", **TIED), 8_537_680_896),
    "GPT-2": ("*-" * 12, gpt2(768, 12), 124_439_808),
    "GPT-2 medium": ("*-" * 24, gpt2(1024, 16), 354_823_168),
    "GPT-2 large": ("*-" * 36, gpt2(1280, 20), 774_030_080),
    "GPT-2 XL": ("*-" * 48, gpt2(1600, 25), 1_557_611_200),
    # OPT's table of positions has two rows more than its longest sequence.
    "OPT-125M": ("*-" * 12, gpt2(768, 12) | OPT, 125_239_296),
    "OPT-1.3B": ("*-" * 24, gpt2(2048, 32) | OPT, 1_315_758_080),
    "StarCoder2-3B": (
        "*-" * 30,
        dense(3072, 24, 2, 12288, 49152, normalization="LayerNorm", linear_bias=True, activation="gelu", **TIED),
        3_030_371_328,
    ),
    "GPT-NeoX-20B": ("*-" * 44, neox(6144, 64, 50432), 20_554_567_680),
    "Pythia-160M": ("*-" * 12, neox(768, 12, 50304), 162_322_944),
    "Pythia-1B": ("*-" * 16, neox(2048, 8, 50304), 1_011_781_632),
    "Pythia-2.8B": ("*-" * 32, neox(2560, 32, 50304), 2_775_208_960),
    "Pythia-6.9B": ("*-" * 32, neox(4096, 32, 50432), 6_857_302_016),
    "Pythia-12B": ("*-" * 36, neox(5120, 40, 50688), 11_846_072_320),
    "mamba2-130m": ("M" * 24, mamba2(768), 128_989_632),
    "Mamba-Codestral-7B": (
        "M" * 64,
        mamba2(4096) | {"vocab_size": 32768, "tied_embeddings": False, "mamba_num_groups": 8},
        7_285_403_648,
    ),
    "mamba2-2.7b": ("M" * 64, mamba2(2560), 2_702_599_680),
}  # fmt: skip

# Counts that their authors print: Black et al., arXiv 2204.06745, section 3; the model cards of EleutherAI/pythia-*; Mistral's
# announcement of Codestral Mamba.
FROM_TEXT = {
    "Mamba-Codestral-7B",
    "GPT-NeoX-20B",
    "Pythia-160M",
    "Pythia-1B",
    "Pythia-2.8B",
    "Pythia-6.9B",
    "Pythia-12B",
}

# What a token goes through without the embedding table, as the release says it, in billions to a digit or two.
ACTIVE = {"gpt-oss-120b": 5.13, "DeepSeek-V2": 21, "Qwen3-235B-A22B": 22, "Mixtral-8x22B": 39, "Qwen3-30B-A3B": 3}


def architecture(name: str) -> Architecture:
    pattern, sizes, _ = PUBLISHED[name]
    return Architecture(pattern, ModelSizes.from_mapping(sizes))


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts(name: str) -> None:
    assert architecture(name).parameters == PUBLISHED[name][2]


@pytest.mark.parametrize("name", ACTIVE)
def test_active_counts(name: str) -> None:
    digits = 2 if ACTIVE[name] % 1 else 0
    assert round(parameters(architecture(name)).active_without_embedding / 1e9, digits) == ACTIVE[name]


GLM = {"head_dim": 128, "qkv_bias": True, "moe_router_bias": True, "position_embedding": "rope 50%"}


@pytest.mark.parametrize(
    ("pattern", "sizes", "published"),
    [
        (
            "*-" + "*E" * 45 + "/*E",
            sparse(4096, 96, 8, 151552, (128, 8, 1408), ffn_hidden_size=10944, moe_shared_ffn=1408, **GLM),
            110_468_824_832,  # GLM-4.5-Air
        ),
        (
            "*-" * 3 + "*E" * 89 + "/*E",
            sparse(5120, 96, 8, 151552, (160, 8, 1536), ffn_hidden_size=12288, moe_shared_ffn=1536, **GLM, **NORMED),
            358_337_791_296,  # GLM-4.5
        ),
    ],
)
def test_multi_token_prediction(pattern: str, sizes: dict[str, Any], published: int) -> None:
    """The release has the embedding and the output layer again in its MTP module, and counts the router's biases."""
    model = Architecture(pattern, ModelSizes.from_mapping(sizes))
    copies = 2 * sizes["vocab_size"] * sizes["hidden_size"]
    biases = sum(row.elements for part in model.parts for row in part.rows if not row.trained)
    assert model.parameters + copies + biases == published


def test_counts_from_texts_are_among_them() -> None:
    assert not FROM_TEXT - set(PUBLISHED)


@pytest.mark.parametrize("field", ["tied_embeddings", "linear_bias", "attention_sinks", "qk_layernorm", "qkv_bias"])
def test_a_wrong_option_is_a_wrong_count(field: str) -> None:
    """The counts are sharp enough to tell: turning an option around misses every model that states it."""
    for name, (pattern, sizes, published) in PUBLISHED.items():
        if field in sizes:
            other = ModelSizes.from_mapping(sizes | {field: not sizes[field]})
            assert Architecture(pattern, other).parameters != published, name
