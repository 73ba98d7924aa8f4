"""Norms of the recurrent mixers: RMSNorm over groups of channels with a gate, and the L2 norm of queries and keys."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.errors import WorkbenchError


class RMSNormGated(nn.Module):
    """RMSNorm over groups of `group_size` channels, times silu(z); [..., hidden_size] → the same shape and dtype.

    With `norm_before_gate` the norm comes first, else it sees the gated input. Computed in float32. Same constructor and
    parameter name (`weight` [hidden_size]) as `mamba_ssm.ops.triton.layernorm_gated.RMSNorm`, of which megatron's
    `ExtendedRMSNorm` is a subclass.
    """

    def __init__(
        self,
        hidden_size: int,
        eps: float = 1e-5,
        group_size: int | None = None,
        norm_before_gate: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if hidden_size % (group_size or hidden_size):
            raise WorkbenchError(f"hidden_size {hidden_size} is not a multiple of group_size {group_size}")
        self.eps, self.group_size, self.norm_before_gate = eps, group_size or hidden_size, norm_before_gate
        self.weight = nn.Parameter(torch.ones(hidden_size, device=device, dtype=dtype))
        self.register_parameter("bias", None)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """`x` and the gate `z` [..., hidden_size]."""
        if x.shape[-1:] != self.weight.shape or (z is not None and z.shape != x.shape):
            raise WorkbenchError(
                f"shapes do not fit: x {list(x.shape)}, z {None if z is None else list(z.shape)}, "
                f"weight {list(self.weight.shape)}"
            )
        kind = x.dtype
        work = torch.float64 if kind == torch.float64 else torch.float32
        x = x.to(work)
        gate = None if z is None else F.silu(z.to(work))
        if gate is not None and not self.norm_before_gate:
            x = x * gate
        groups = x.unflatten(-1, (-1, self.group_size))
        scale = torch.rsqrt(groups.square().mean(dim=-1, keepdim=True) + self.eps)
        x = (groups * scale).flatten(-2) * self.weight.to(work)
        if gate is not None and self.norm_before_gate:
            x = x * gate
        return x.to(kind)


def l2norm(x: Tensor, eps: float = 1e-6, output_dtype: torch.dtype | None = None) -> Tensor:
    """x / √(Σ x² + eps) over the last dimension, computed in float32; as `fla.modules.l2norm.l2norm`."""
    work = torch.float64 if x.dtype == torch.float64 else torch.float32
    wide = x.to(work)
    return (wide * torch.rsqrt(wide.square().sum(dim=-1, keepdim=True) + eps)).to(output_dtype or x.dtype)
