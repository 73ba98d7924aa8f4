"""Linears and norms without what they do around one matrix product on one rank.

Upstream's linears call two custom autograd functions each: one that would reduce over tensor-parallel ranks, and one
(`tensor_parallel/layers.py:525`) that would gather, defer or accumulate. Their matrix products are those that torch's own
linear makes, in forward and backward, when the tensors are laid out in rows; `LeanLinear` takes that one then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.identity_op import IdentityOp
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.fusion.adapters import ExpertRowParallelLinear, LocalNorm

Linear = Callable[[Tensor], tuple[Tensor, Tensor | None]]
Norm = Callable[[Tensor], Tensor]


class LeanLinear:
    """Calls as the module does: [s, b, input_size] → ([s, b, output_size], bias that is still to be added, or None).

    The input may be [n, input_size] as well.
    """

    def __init__(self, module: Any) -> None:
        self.module: Linear = module
        self.parameters = module._parameters  # looked into in every call: parameters may be replaced

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """[s, b, input_size] → ([s, b, output_size], bias)."""
        # Upstream's product of an input that is not laid out in rows is a batch of products, maybe of other bits.
        if x.dim() == 3:
            rows, columns, _ = x.stride()
            if rows != columns * x.size(1):
                return self.module(x)
        parameters = self.parameters
        return F.linear(x, parameters["weight"]), parameters["bias"]


def linear_reason(module: Any) -> str | None:
    """Why a linear must be called as a module, or None."""
    if type(module) not in (ColumnParallelLinear, RowParallelLinear, ExpertRowParallelLinear):
        return f"a {type(module).__name__} is not one of megatron's local linears"
    if module.weight is None:
        return "its weight is another module's"
    if module.tp_group.size() != 1 or module.explicit_expert_comm or module.sequence_parallel:
        return "it communicates"
    if module.gtp_remat_size != 1 or module.gradient_accumulation_fusion:
        return "its weight gradient is special"
    if module.bias is not None and (not module.skip_bias_add or type(module) is ExpertRowParallelLinear):
        return "it adds its bias"
    if isinstance(module, RowParallelLinear) and not module.input_is_parallel:
        return "it scatters its input"
    return None


class LeanNorm:
    """A `LocalNorm` that is an RMSNorm of the dtype of its input; anything else is called as the module."""

    def __init__(self, module: LocalNorm) -> None:
        self.module: Norm = module
        self.parameters = module._parameters
        self.shape = [module.hidden_size]
        self.eps = module.eps

    def __call__(self, x: Tensor) -> Tensor:
        """[..., hidden_size] → the same shape."""
        weight = self.parameters["weight"]
        if weight is None or weight.dtype != x.dtype:
            return self.module(x)
        return torch.rms_norm(x, self.shape, weight, self.eps)


def lean_norm(module: nn.Module) -> tuple[Norm, bool]:
    """A norm's arithmetic, and whether the module itself is passed over."""
    if type(module) is LocalNorm and module.bias is None and not module.zero_centered:
        return LeanNorm(module), True
    return module, False


def lean_linear(module: Any) -> Linear:
    """A linear's arithmetic, or the module itself where `linear_reason` says why it must be called."""
    return LeanLinear(module) if linear_reason(module) is None else module


def lean_linears(*modules: Any) -> list[nn.Module]:
    """Those of the modules that `lean_linear` stands for."""
    return [module for module in modules if linear_reason(module) is None]


def is_identity(module: Any) -> bool:
    """True for upstream's placeholder, which gives its input back, and for nothing."""
    return module is None or type(module) is IdentityOp
