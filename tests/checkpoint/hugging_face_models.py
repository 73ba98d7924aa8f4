"""Tiny random models as Hugging Face transformers builds and saves them; a test that imports this pays for transformers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers

_COMMON = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}

# Family → its configuration. NemotronH has every kind of layer: Mamba-2, experts, attention, MLP.
CONFIGS: dict[str, Any] = {
    "llama": transformers.LlamaConfig(**_COMMON, num_hidden_layers=2),
    "mixtral": transformers.MixtralConfig(**_COMMON, num_hidden_layers=2, num_local_experts=4, num_experts_per_tok=2),
    "qwen3_next": transformers.Qwen3NextConfig(
        **_COMMON,
        num_hidden_layers=4,
        head_dim=8,
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    ),
    "nemotron_h": transformers.NemotronHConfig(
        **_COMMON,
        hybrid_override_pattern="ME*-ME",
        num_hidden_layers=6,
        head_dim=8,
        mamba_num_heads=8,
        mamba_head_dim=8,
        n_groups=2,
        ssm_state_size=8,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        moe_shared_expert_intermediate_size=16,
    ),
}


@cache
def model(family: str) -> Any:
    """The model of a family, with random weights in bfloat16; the same each time."""
    torch.manual_seed(1234)
    return transformers.AutoModelForCausalLM.from_config(CONFIGS[family], dtype=torch.bfloat16)


def save(family: str, folder: Path, **options: Any) -> Path:
    """`save_pretrained`; a small `max_shard_size` ("40KB") makes an indexed set of files."""
    with _quiet():
        model(family).save_pretrained(folder, **options)
    return folder


@contextmanager
def _quiet() -> Iterator[None]:
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.ERROR)
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)
        transformers.logging.enable_progress_bar()
