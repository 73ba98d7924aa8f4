"""Norms of the recurrent mixers: RMSNorm over groups of channels with a gate, and the L2 norm of queries and keys.

The forms that end in `_plain` are the definitions; the others have the same arguments. Where there is much to do they have a
backward written by hand: it takes some rows at a time, so that a block stays in the cache through all its passes, and keeps
the inputs and one number a group. Where there is little, what counts is the time a call takes whatever its size, and few of
torch's own operations are faster than an autograd function in Python.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.errors import WorkbenchError
from workbench.kernels.once import differentiable_once

_SMALL_ELEMENTS = 128 * 1024  # up to here torch's own operations are as fast (benchmarks/small_kernels.py)
_BLOCK_ELEMENTS = 256 * 1024  # 1 MiB of float32: several such blocks fit into a core's L2 cache


class RMSNormGated(nn.Module):
    """RMSNorm over groups of `group_size` channels, times silu(z); [..., hidden_size] → the same shape and dtype.

    With `norm_before_gate` the norm comes first, else it sees the gated input. Computed as `rms_norm_gated`. Same constructor
    and parameter name (`weight` [hidden_size]) as `mamba_ssm.ops.triton.layernorm_gated.RMSNorm`, of which megatron's
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
        return rms_norm_gated(
            x, self.weight, z, eps=self.eps, group_size=self.group_size, norm_before_gate=self.norm_before_gate
        )


def rms_norm_gated(
    x: Tensor,
    weight: Tensor,
    z: Tensor | None = None,
    *,
    eps: float = 1e-5,
    group_size: int | None = None,
    norm_before_gate: bool = True,
) -> Tensor:
    """y = norm(x) · weight · silu(z), or norm(x · silu(z)) · weight unless `norm_before_gate`; without `z` norm(x) · weight.

    norm(u) = u / √(mean(u²) + eps) over each group of `group_size` channels (all of them by default). `x` and `z` [..., d],
    `weight` [d] with d a multiple of `group_size`. Returns [..., d] in the dtype of x. Computed in float32, float64 where x
    is, and rounded once. Source: the Mamba-2 paper (arXiv 2405.21060, section 7) and mamba_ssm's `layernorm_gated`.
    Cost: O(numel), and of a large x nothing but the arguments and a number a group is kept. Differentiable once.
    """
    groups = _groups(x, weight, z, group_size)
    if x.numel() <= _SMALL_ELEMENTS:
        return _small_rms_norm_gated(x, weight, z, eps, groups, norm_before_gate)
    y: Tensor = _GatedNorm.apply(x, z, weight, groups, eps, norm_before_gate)
    return y


def rms_norm_gated_plain(
    x: Tensor,
    weight: Tensor,
    z: Tensor | None = None,
    *,
    eps: float = 1e-5,
    group_size: int | None = None,
    norm_before_gate: bool = True,
) -> Tensor:
    """`rms_norm_gated`'s definition with its arguments."""
    shape, work = _groups(x, weight, z, group_size), _work_dtype(x)
    gate = 1 if z is None else F.silu(z.to(work)).reshape(shape)
    u = x.to(work).reshape(shape)
    if not norm_before_gate:
        u = u * gate
    y = u / torch.sqrt(u.square().mean(dim=-1, keepdim=True) + eps) * weight.to(work).view(shape[1:])
    if norm_before_gate:
        y = y * gate
    return y.reshape(x.shape).to(x.dtype)


def l2norm(x: Tensor, eps: float = 1e-6, output_dtype: torch.dtype | None = None) -> Tensor:
    """x / √(Σ x² + eps) over the last dimension [..., d]; as `fla.modules.l2norm.l2norm`.

    Computed in float32, float64 where x is; `output_dtype` is that of x by default. Cost: O(numel). Differentiable once.
    """
    if x.numel() <= _SMALL_ELEMENTS:
        wide = x.to(_work_dtype(x))
        return (wide * torch.rsqrt(wide.square().sum(dim=-1, keepdim=True) + eps)).to(output_dtype or x.dtype)
    y: Tensor = _L2Norm.apply(x, eps, output_dtype or x.dtype)
    return y


def l2norm_plain(x: Tensor, eps: float = 1e-6, output_dtype: torch.dtype | None = None) -> Tensor:
    """`l2norm`'s definition with its arguments."""
    wide = x.to(_work_dtype(x))
    return (wide / torch.sqrt(wide.square().sum(dim=-1, keepdim=True) + eps)).to(output_dtype or x.dtype)


# ------------------------------------------------------------------------------------------------------


def _small_rms_norm_gated(
    x: Tensor, weight: Tensor, z: Tensor | None, eps: float, groups: tuple[int, int, int], norm_first: bool
) -> Tensor:
    u, gate = x.to(_work_dtype(x)), None
    if z is not None:
        gate = F.silu(z.to(u.dtype))
        u = u if norm_first else u * gate
    if groups[1] == 1:
        y = F.rms_norm(u, groups[2:], weight.to(u.dtype), eps)
    else:
        y = F.rms_norm(u.unflatten(-1, groups[1:]), groups[2:], None, eps).flatten(-2) * weight.to(u.dtype)
    return (y if gate is None or not norm_first else y * gate).to(x.dtype)


class _GatedNorm(torch.autograd.Function):
    """`x` and `z` [..., d], `weight` [d] → [..., d]; inside, all are [n, g, c] (`groups`)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        z: Tensor | None,
        weight: Tensor,
        groups: tuple[int, int, int],
        eps: float,
        norm_first: bool,
    ) -> Tensor:
        wide = weight.to(_work_dtype(x)).view(groups[1:])
        y = torch.empty(groups, dtype=x.dtype, device=x.device)
        scales = wide.new_empty(*groups[:2], 1)
        for x_now, z_now, y_now, scale in _blocks(groups, x, z, y, scales):
            u, gate = x_now.to(wide.dtype), None if z_now is None else F.silu(z_now.to(wide.dtype))
            if gate is not None and not norm_first:
                u = gate.mul_(u)
            _inverse_norm(u, groups[2], eps, out=scale)
            made = y_now if y.dtype == wide.dtype else torch.empty_like(u)
            torch.mul(u, scale, out=made).mul_(wide)
            if gate is not None and norm_first:
                made.mul_(gate)
            if made is not y_now:
                y_now.copy_(made)
        ctx.save_for_backward(x, z, weight, scales)
        ctx.groups, ctx.norm_first = groups, norm_first
        return y.view(x.shape)

    @staticmethod
    @differentiable_once("rms_norm_gated")
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, z, weight, scales = ctx.saved_tensors
        groups, norm_first = ctx.groups, ctx.norm_first
        wide = weight.to(scales.dtype).view(groups[1:])
        dx = torch.empty(groups, dtype=x.dtype, device=x.device)
        dz = None if z is None else torch.empty(groups, dtype=z.dtype, device=z.device)
        dweight = torch.zeros_like(wide)
        for x_now, z_now, scale, given, dx_now, dz_now in _blocks(groups, x, z, scales, dy, dx, dz):
            x_now, given = x_now.to(wide.dtype), given.to(wide.dtype)
            normed = x_now * scale
            # y = v · gate where the norm comes first, and v = normed · weight: through the gate, the weight, the norm
            dv = given
            if z_now is not None:
                z_now = z_now.to(wide.dtype)
                gate = F.silu(z_now)
                if norm_first:
                    dv = given * gate
                else:
                    normed.mul_(gate)
            through = dv * normed
            dweight.add_(through.sum(dim=0))
            along = through.mul_(wide).sum(dim=-1, keepdim=True)
            du = torch.mul(dv, wide, out=through).addcmul_(normed, along, value=-1 / groups[2]).mul_(scale)
            if z_now is not None:
                dgate = normed.mul_(wide).mul_(given) if norm_first else torch.mul(du, x_now, out=normed)
                dz_now.copy_(torch.ops.aten.silu_backward.grad_input(dgate, z_now, grad_input=dgate))
                if not norm_first:
                    du.mul_(gate)
            dx_now.copy_(du)
        dz = None if dz is None else dz.view(x.shape)
        return dx.view(x.shape), dz, dweight.view_as(weight).to(weight.dtype), None, None, None


class _L2Norm(torch.autograd.Function):
    """`x` [..., c] → [..., c]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float, output_dtype: torch.dtype) -> Tensor:
        rows = (x.numel() // max(1, x.shape[-1]), x.shape[-1])
        work = _work_dtype(x)
        y = torch.empty(rows, dtype=output_dtype, device=x.device)
        scales = torch.empty(rows[0], 1, dtype=work, device=x.device)
        for x_now, y_now, scale in _blocks(rows, x, y, scales):
            u = x_now.to(work)
            _inverse_norm(u, 1, eps, out=scale)
            if output_dtype == work:
                torch.mul(u, scale, out=y_now)
            else:
                y_now.copy_(u * scale)
        ctx.save_for_backward(x, scales)
        ctx.rows = rows
        return y.view(x.shape)

    @staticmethod
    @differentiable_once("l2norm")
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, scales = ctx.saved_tensors
        dx = torch.empty(ctx.rows, dtype=x.dtype, device=x.device)
        for x_now, scale, given, dx_now in _blocks(ctx.rows, x, scales, dy, dx):
            u, given = x_now.to(scales.dtype), given.to(scales.dtype)
            du = given * u
            along = du.sum(dim=-1, keepdim=True).mul_(scale).mul_(scale)
            torch.addcmul(given, u, along, value=-1, out=du).mul_(scale)
            dx_now.copy_(du)
        return dx.view(x.shape), None, None


def _inverse_norm(u: Tensor, count: int, eps: float, out: Tensor) -> None:
    """1 / √(Σ u² / count + eps) over the last dimension, which stays as one, into `out`."""
    torch.linalg.vector_norm(u, dim=-1, keepdim=True, out=out)  # one pass that stores no squares
    out.square_().mul_(1 / count).add_(eps).rsqrt_()


def _blocks(shape: tuple[int, ...], *tensors: Tensor | None) -> Iterable[tuple[Any, ...]]:
    """Some rows of every tensor at a time, each seen as `shape` = (n, …) but for its last dimension; None stays None."""
    seen = [None if t is None else t.reshape(*shape[:-1], -1) for t in tensors]
    at_once = max(1, _BLOCK_ELEMENTS // max(1, math.prod(shape[1:])))
    if shape[0] <= at_once:
        return [tuple(seen)]
    count = -(-shape[0] // at_once)
    return zip(*([None] * count if t is None else t.split(at_once) for t in seen), strict=True)


def _work_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _groups(x: Tensor, weight: Tensor, z: Tensor | None, group_size: int | None) -> tuple[int, int, int]:
    """(rows, groups, channels of a group); `WorkbenchError` where the shapes do not fit."""
    if weight.dim() != 1 or x.shape[-1:] != weight.shape or (z is not None and z.shape != x.shape):
        raise WorkbenchError(
            f"shapes do not fit: x {list(x.shape)}, z {None if z is None else list(z.shape)}, weight {list(weight.shape)}"
        )
    channels = len(weight)
    group = group_size or channels
    if channels == 0 or channels % group:
        raise WorkbenchError(f"{channels} channels are not a multiple of group_size {group}")
    return x.numel() // channels, channels // group, group
