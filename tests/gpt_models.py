"""Models of megatron's own `GPTModel` from its own local spec, and their checkpoints as megatron writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from megatron.core import dist_checkpointing
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.models.gpt.gpt_model import GPTModel

from workbench.arch.sizes import ModelSizes
from workbench.fusion import runtime
from workbench.fusion.config import transformer_config
from workbench.pattern.model import Pattern

LAYERS = 3


def gpt(sizes: ModelSizes, *, experts: bool = False, layers: int = LAYERS) -> Any:
    """A GPT model of megatron's local spec; no weight is at a value (0, 1) that hides where it is used."""
    runtime.forget_models()
    runtime.seed(7)
    pattern = Pattern(("*E" if experts else "*-") * layers)
    config = transformer_config(pattern, sizes, num_layers=layers, is_hybrid_model=False)
    spec = get_gpt_layer_local_spec(
        num_experts=sizes.moe_experts if experts else None,
        qk_layernorm=sizes.qk_layernorm,
        normalization=sizes.normalization,
    )
    model = GPTModel(
        config=config,
        transformer_layer_spec=spec,
        vocab_size=sizes.vocab_size,
        max_sequence_length=sizes.max_sequence_length,
        share_embeddings_and_output_weights=sizes.tied_embeddings,
        position_embedding_type="rope",
        rotary_percent=sizes.rotary_percent,
        rotary_base=sizes.rotary_base,
    )
    noise = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=noise)
    return model


def save_gpt(model: Any, path: Path, **metadata: Any) -> Path:
    """As GPT training saves: megatron's own sharded state dict, by its own writer."""
    path.mkdir(parents=True)
    dist_checkpointing.save({"model": model.sharded_state_dict(metadata=metadata), "iteration": 12}, str(path))
    return path
