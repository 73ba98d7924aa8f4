"""Tiny random models of Hugging Face transformers, one or more a family with rules; importing this pays for transformers.

No weight is at a value that hides where it is used (a norm of ones, a bias of zeros), and every model computes well: a relative
change of its weights by 6e-8, one step of float32, moves its logits by less than 3e-6.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
import transformers
from torch import Tensor

VOCABULARY = 96
_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.06,
}
_MAMBA = {"mamba_num_heads": 8, "mamba_head_dim": 8, "n_groups": 2, "ssm_state_size": 8, "chunk_size": 16}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_DELTA = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_NEMOTRON = {
    **_COMMON,
    **_MAMBA,
    "head_dim": 12,
    "n_routed_experts": 8,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 16,
    "moe_shared_expert_intermediate_size": 24,
}

_DEEPSEEK = {
    **_COMMON,
    "num_hidden_layers": 3,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "n_routed_experts": 8,
    "num_experts_per_tok": 4,
    "n_group": 4,
    "topk_group": 2,
    "n_shared_experts": 2,
    "moe_intermediate_size": 16,
    "num_key_value_heads": 4,
    "num_mtp_layers": 0,
    "q_lora_rank": 24,
}

# Where a query meets no key, what a delta net reads is next to nothing, and its norm makes rounding large.
_EPSILON = 1e-4
_QWEN3_5 = {
    **_COMMON,
    **_DELTA,
    "num_hidden_layers": 4,
    "head_dim": 16,
    "rms_norm_eps": _EPSILON,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.25,
        "mrope_section": [1, 1, 0],
        "mrope_interleaved": True,
    },
}

# A name for each model, the family's first, and its configuration.
CONFIGS: dict[str, Any] = {
    "llama": transformers.LlamaConfig(**_COMMON, num_hidden_layers=2),
    "llama with biases, tied": transformers.LlamaConfig(
        **_COMMON, num_hidden_layers=2, attention_bias=True, mlp_bias=True, tie_word_embeddings=True
    ),
    "mistral": transformers.MistralConfig(**_COMMON, num_hidden_layers=2, head_dim=12, sliding_window=None),
    "qwen2": transformers.Qwen2Config(**_COMMON, num_hidden_layers=2),
    "qwen3": transformers.Qwen3Config(**_COMMON, num_hidden_layers=2, head_dim=12),
    "mixtral": transformers.MixtralConfig(**_COMMON, num_hidden_layers=2, num_local_experts=4, num_experts_per_tok=2),
    "qwen3_moe": transformers.Qwen3MoeConfig(
        **_COMMON, **_EXPERTS, num_hidden_layers=3, head_dim=12, mlp_only_layers=[1]
    ),
    "mamba2": transformers.Mamba2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=3,
        state_size=8,
        num_heads=8,
        head_dim=8,
        n_groups=2,
        chunk_size=16,
        initializer_range=0.06,
    ),
    "bamba": transformers.BambaConfig(
        **_COMMON,
        num_hidden_layers=3,
        attn_layer_indices=[1],
        mamba_n_heads=8,
        mamba_n_groups=2,
        mamba_d_state=8,
        mamba_chunk_size=16,
        pad_token_id=None,  # transformers gives the padding token's row of the embedding no gradient
    ),
    "deepseek_v3": transformers.DeepseekV3Config(**_DEEPSEEK),
    "nemotron_h": transformers.NemotronHConfig(
        **_NEMOTRON, hybrid_override_pattern="M-ME*-M*E", routed_scaling_factor=2.5
    ),
    "nemotron_h with groups of experts": transformers.NemotronHConfig(
        **_NEMOTRON, hybrid_override_pattern="ME*E", n_group=4, topk_group=2
    ),
    "qwen3_next": transformers.Qwen3NextConfig(
        **_COMMON,
        **_EXPERTS,
        **_DELTA,
        num_hidden_layers=4,
        head_dim=16,
        shared_expert_intermediate_size=24,
        mlp_only_layers=[1],
        rms_norm_eps=_EPSILON,
    ),
    "qwen3_5_text": transformers.Qwen3_5TextConfig(**_QWEN3_5),
    "qwen3_5_moe_text": transformers.Qwen3_5MoeTextConfig(
        **{name: value for name, value in _QWEN3_5.items() if name != "intermediate_size"},
        **_EXPERTS,
        shared_expert_intermediate_size=24,
    ),
}
# What is taken instead of a configuration's own fields: no step of these models is as small as the limit that NemotronH has.
ASSUMED: dict[str, dict[str, Any]] = {
    kind: {"time_step_min": 0.0} if kind.startswith("nemotron_h") else {} for kind in CONFIGS
}


@cache
def model(kind: str) -> Any:
    """The model of a name above, in float32 and evaluation mode; the same each time: do not change it, take a `copied` one."""
    torch.manual_seed(1234)
    made = transformers.AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[kind]), dtype=torch.float32).eval()
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if name.endswith("dt_bias"):
                weight.normal_(0.0, 0.5, generator=noise)  # steps of about 0.7
            elif name.endswith("A_log"):
                weight.uniform_(
                    -4.0, -1.0, generator=noise
                )  # with them, a memory of 4 to 80 tokens: longer than a chunk
            else:
                weight += 0.05 * torch.randn(weight.shape, generator=noise)
        for name, buffer in made.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.normal_(0.0, 0.1, generator=noise)
    return made


def copied(kind: str) -> Any:
    """The same model again, to be changed."""
    return copy.deepcopy(model(kind))


def tokens(length: int) -> Tensor:
    """Token ids [2, length], always the same."""
    return torch.randint(0, VOCABULARY, (2, length), generator=torch.Generator().manual_seed(7))
