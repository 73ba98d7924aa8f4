"""megatron's `MLP` for one training step: two products and what stands between them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.fusion.lean.linear import lean_linear, lean_linears
from workbench.fusion.lean.step import Step


def mlp_reason(module: Any) -> str | None:
    """Why an `MLP` must be called as a module, or None."""
    config = module.config
    if config.use_te_activation_func or config.bias_activation_fusion or config.activation_func_clamp_value is not None:
        return "its activation is fused, clamped or Transformer Engine's"
    return None


class LeanMLP:
    """Calls as the module does: [s, b, h] → ([s, b, h], bias)."""

    def __init__(self, module: Any) -> None:
        self.up, self.down = lean_linear(module.linear_fc1), lean_linear(module.linear_fc2)
        config = module.config
        self.gated = config.gated_linear_unit
        activation = config.activation_func if self.gated else module.activation_func
        self.activation = torch._C._nn.silu if activation is F.silu else activation
        self.offset = config.glu_linear_offset

    def passed_over(self, module: Any) -> list[nn.Module]:
        """The modules that this stands for, which are not called."""
        return [module, *lean_linears(module.linear_fc1, module.linear_fc2)]

    def __call__(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor | None]:
        """[s, b, h] → ([s, b, h], bias)."""
        x, bias = self.up(x)
        if bias is not None:
            x = x + bias
        if self.gated:
            gate, linear = torch.chunk(x, 2, dim=-1)
            x = self.activation(gate) * (linear + self.offset)
        else:
            x = self.activation(x)
        return self.down(x)
