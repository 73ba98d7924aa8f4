"""megatron's `MambaMixer` in the attention slot, for one training step: two products around the scan that it calls."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.ssm import mamba_mixer
from torch import Tensor, nn

from workbench.fusion.lean.linear import lean_linear, lean_linears
from workbench.fusion.lean.step import Step


def mamba_reason(module: Any) -> str | None:
    """Why a `MambaMixer` must be called as a module, or None."""
    if not module.use_mem_eff_path or module.D_has_hdim or module.cp.cp_size != 1:
        return "its scan is split, or its skip has a value a channel"
    return None


class LeanMamba:
    """Calls as the module in the slot: [s, b, h] → ([s, b, h], bias)."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.in_proj, self.out_proj = lean_linear(module.in_proj), lean_linear(module.out_proj)
        # What `_ssm_training` (mamba_mixer.py:727) passes on beside tensors.
        self.options = {
            "activation": module.activation,
            "headdim": module.headdim,
            "ngroups": module.cp.ngroups_local_tpcp,
            "norm_before_gate": module.norm_before_gate,
            "seq_idx": None,
        }
        if mamba_mixer.MAMBA_HAS_STATE_DTYPE:
            self.options["state_dtype"] = module.mamba_training_ssm_states_dtype

    def passed_over(self, module: Any) -> list[nn.Module]:
        """The modules that this stands for, which are not called."""
        return [module, *lean_linears(module.in_proj, module.out_proj)]

    def __call__(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor | None]:
        """[s, b, h] → ([s, b, h], bias)."""
        module = self.module
        parts = module.cp  # holds the parameters as the scan takes them
        packed = self.in_proj(x)[0].transpose(0, 1).contiguous()
        y = mamba_mixer.mamba_split_conv1d_scan_combined(
            packed,
            parts.conv1d_weight_cp1.squeeze(1),
            parts.conv1d_bias_cp1,
            parts.dt_bias_cp1.float(),
            -torch.exp(parts.A_log_cp1.float()),
            D=parts.D_cp1,
            chunk_size=module.chunk_size,
            **self.options,
        )
        y = y.transpose(0, 1).contiguous()
        if module.rmsnorm:
            y = module.norm(y)
        return self.out_proj(y)
