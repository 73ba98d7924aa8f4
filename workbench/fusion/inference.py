"""What megatron's inference engine asks of a model, answered for a fused one as for its unfused twin."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import torch
from megatron.core.inference.config import MambaInferenceStateConfig
from torch import nn

from workbench.fusion.names import unwrapped
from workbench.fusion.trace import slots


def mamba_state_config(
    model: nn.Module, conv_states_dtype: torch.dtype | None = None, ssm_states_dtype: torch.dtype | None = None
) -> MambaInferenceStateConfig | None:
    """`MambaInferenceStateConfig.from_model` with the chunk size that the Mamba layers have; None without any on this rank.

    Upstream looks for it by pairing sub-layers with modules by position (`inference/config.py:66-70`), which finds none
    where they are fused, and then takes the default.
    """
    inner = unwrapped(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="megatron's MambaInferenceStateConfig")
        config = MambaInferenceStateConfig.from_model(inner, conv_states_dtype, ssm_states_dtype)
    if config is None:
        return None
    stack = inner.decoder
    local_index = next(index for index, block in enumerate(stack.blocks) if block.symbols[0] == "M")
    mixer: Any = next(slots(stack, local_index))[2]
    return replace(config, mamba_chunk_size=int(mixer.chunk_size))
