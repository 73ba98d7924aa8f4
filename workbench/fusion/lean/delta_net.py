"""megatron's `GatedDeltaNet` for one training step on one rank: its own steps, without what asks for other ranks."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.ssm.gated_delta_net import gdn
from torch import Tensor, nn

from workbench.fusion.lean.linear import lean_linear, lean_linears
from workbench.fusion.lean.step import Step


def delta_net_reason(module: Any) -> str | None:
    """Why a `GatedDeltaNet` must be called as a module, or None."""
    if module.cp_size != 1 or module.sp_size != 1:
        return "it communicates"
    if module.recompute_norm_out or module.config.deterministic_mode:
        return "parts of it are computed again, or by deterministic kernels"
    return None


class LeanDeltaNet:
    """Calls as the module in the slot: [s, b, h] → ([s, b, h], bias)."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.in_proj, self.out_proj = lean_linear(module.in_proj), lean_linear(module.out_proj)
        self.sections = tuple(module.feat_dim_split)

    def passed_over(self, module: Any) -> list[nn.Module]:
        """The modules that this stands for, which are not called."""
        return [module, module.conv1d, *lean_linears(module.in_proj, module.out_proj)]

    def __call__(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor | None]:
        """[s, b, h] → ([s, b, h], bias)."""
        module = self.module
        length, batch, _ = x.shape
        projected = self.in_proj(x)[0].transpose(0, 1)
        mixed, gate, beta, alpha = torch.split_with_sizes(projected, self.sections, -1)
        gate = gate.reshape(batch, length, -1, module.value_head_dim)
        conv = module.conv1d
        mixed, _ = gdn.causal_conv1d(
            x=mixed,
            weight=conv.weight.squeeze(1),
            bias=conv.bias if module.conv_bias else None,
            activation=module.activation,
            initial_state=None,
            output_final_state=False,
            cu_seqlens=None,
        )
        query, key, value, gate, beta, alpha = module._prepare_input_for_gated_delta_rule(
            mixed, gate, batch, length, beta, alpha
        )
        decay, beta = module._compute_g_and_beta(module.A_log, module.dt_bias, alpha, beta)
        out, _ = module.gated_delta_rule(
            query,
            key,
            value,
            g=decay,
            beta=beta,
            initial_state=None,
            output_final_state=False,
            use_qk_l2norm_in_kernel=False,
            cu_seqlens=None,
        )
        normed = module._apply_gated_norm(out, gate).reshape(batch, length, -1)
        return self.out_proj(normed.transpose(0, 1).contiguous())
