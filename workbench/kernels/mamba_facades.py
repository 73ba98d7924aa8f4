"""Mamba-2's scans under the names and signatures that megatron-core imports from mamba-ssm, on the CPU kernels.

What a caller may ask of the originals and cannot have here is an error that names the argument. One argument has no effect:
`chunk_size` is a GPU's tuning parameter that changes the rounding alone, and the CPU has its own (`workbench.kernels.ssd`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.errors import WorkbenchError
from workbench.kernels.arguments import bounds, refuse, same_tokens
from workbench.kernels.conv import causal_conv
from workbench.kernels.once import differentiable_once
from workbench.kernels.segments import check_index
from workbench.kernels.ssd import ssd_chunked

_NO_LIMIT = (0.0, float("inf"))


def mamba_chunk_scan_combined(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    seq_idx: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = _NO_LIMIT,
    return_final_states: bool = False,
    return_varlen_states: bool = False,
    state_dtype: torch.dtype | None = None,
) -> Any:
    """`mamba_ssm.ops.triton.ssd_combined.mamba_chunk_scan_combined`: shapes as `ssd_chunked`, `z` [b, l, h, p] gates y.

    Packed sequences: `seq_idx` [b, l] numbers them in every row and carries no states; `cu_seqlens` [m + 1] cuts one row, may
    start from `initial_states` [m, h, p, n] and gives back (y, states [m, h, p, n]) with `return_varlen_states`.
    `state_dtype` is that of the returned states; inside, states are float32 (float64 where x is) whatever it says.
    """
    name = "mamba_chunk_scan_combined"
    if z is not None and z.shape != x.shape:
        raise WorkbenchError(f"{name}: z {list(z.shape)} must have the shape of x {list(x.shape)}")
    if dt_bias is not None and dt_bias.shape != A.shape:
        raise WorkbenchError(f"{name}: dt_bias {list(dt_bias.shape)} must be [heads] {list(A.shape)}")
    _check_packing(name, cu_seqlens, seq_idx, initial_states, return_final_states, return_varlen_states)
    packed = cu_seqlens is not None or seq_idx is not None
    if packed:
        same_tokens(name, x=x, dt=dt, B=B, C=C)
    if cu_seqlens is not None:
        bounds(name, cu_seqlens, x)
    if seq_idx is not None:
        check_index(seq_idx, rows=x.shape[0], length=x.shape[1])
        cu_seqlens = _cumulative(seq_idx)

    shape, kind = x.shape, x.dtype
    wide = dt.to(torch.float64 if kind == torch.float64 else torch.float32)
    x = x.to(wide.dtype)  # so that y is rounded once, after its gate
    if dt_bias is not None:
        wide = wide + dt_bias.to(wide.dtype)
    if dt_softplus:
        wide = F.softplus(wide)
    if tuple(dt_limit) != _NO_LIMIT:
        wide = wide.clamp(*dt_limit)
    if packed:
        x, wide, B, C = (tensor.flatten(0, 1)[None] for tensor in (x, wide, B, C))
    final_state = return_final_states or return_varlen_states
    y, states = ssd_chunked(
        x, wide, A, B, C, D=D, initial_state=initial_states, cu_seqlens=cu_seqlens, final_state=final_state
    )
    y = y.view(shape)
    y = y.to(kind) if z is None else _Gated.apply(y, z, kind)
    return y if states is None else (y, states if state_dtype is None else states.to(state_dtype))


def mamba_split_conv1d_scan_combined(
    zxbcdt: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor | None,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    chunk_size: int,
    initial_states: Tensor | None = None,
    seq_idx: Tensor | None = None,
    dt_limit: tuple[float, float] = _NO_LIMIT,
    return_final_states: bool = False,
    activation: str | None = "silu",
    rmsnorm_weight: Tensor | None = None,
    rmsnorm_eps: float = 1e-6,
    outproj_weight: Tensor | None = None,
    outproj_bias: Tensor | None = None,
    headdim: int | None = None,
    ngroups: int = 1,
    norm_before_gate: bool = True,
    state_dtype: torch.dtype | None = None,
) -> Any:
    """`mamba_ssm…mamba_split_conv1d_scan_combined`: split, convolve, scan, gate.

    `zxbcdt` [b, l, 2·h·p + 2·g·n + h], `conv1d_weight` [h·p + 2·g·n, w], `A` [h], `D` [h, p], or [h] with `headdim` = p.
    Returns [b, l, h·p] = scan · silu(z); megatron applies its norm afterwards (`ssm/mamba_mixer.py:775`).
    """
    refuse(
        "mamba_split_conv1d_scan_combined",
        rmsnorm_weight=rmsnorm_weight,
        outproj_weight=outproj_weight,
        outproj_bias=outproj_bias,
    )
    width = D.shape[1] if D.dim() == 2 else headdim
    if width is None:
        raise WorkbenchError("mamba_split_conv1d_scan_combined: headdim must be given when D is [heads]")
    if headdim is not None and headdim != width:
        raise WorkbenchError(f"mamba_split_conv1d_scan_combined: headdim {headdim} contradicts D {list(D.shape)}")
    heads = D.shape[0]
    inner = heads * width
    shared = (zxbcdt.shape[-1] - 2 * inner - heads) // 2  # g·n
    if shared < ngroups or shared % ngroups or zxbcdt.shape[-1] != 2 * (inner + shared) + heads:
        raise WorkbenchError(
            f"mamba_split_conv1d_scan_combined: {zxbcdt.shape[-1]} channels are not 2·h·p + 2·g·n + h with {heads} heads (h) "
            f"of {width} (p) and {ngroups} groups (g)"
        )
    z, xBC, dt = zxbcdt.split([inner, inner + 2 * shared, heads], dim=-1)
    xBC = causal_conv(
        xBC.transpose(1, 2), conv1d_weight, conv1d_bias, seq_idx=seq_idx, activation=activation
    ).transpose(1, 2)
    x, B, C = xBC.split([inner, shared, shared], dim=-1)
    result = mamba_chunk_scan_combined(
        x.unflatten(-1, (heads, width)),
        dt,
        A,
        B.unflatten(-1, (ngroups, -1)),
        C.unflatten(-1, (ngroups, -1)),
        chunk_size,
        D=D,
        z=z.unflatten(-1, (heads, width)),
        dt_bias=dt_bias,
        initial_states=initial_states,
        seq_idx=seq_idx,
        dt_softplus=True,
        dt_limit=dt_limit,
        return_final_states=return_final_states,
        state_dtype=state_dtype,
    )
    if return_final_states:
        return result[0].flatten(-2), result[1]
    return result.flatten(-2)


# ------------------------------------------------------------------------------------------------------


class _Gated(torch.autograd.Function):
    """y · silu(z) in the dtype of y, rounded to `kind`: keeps y and z as they come, and computes silu(z) again."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, z: Tensor, kind: torch.dtype) -> Tensor:
        ctx.save_for_backward(y, z)
        return F.silu(z.to(y.dtype)).mul_(y).to(kind)

    @staticmethod
    @differentiable_once("the gate of Mamba-2's scan")
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        y, z = ctx.saved_tensors
        gradient, wide = gradient.to(y.dtype), z.to(y.dtype)
        dz = torch.ops.aten.silu_backward(gradient * y, wide)
        return F.silu(wide).mul_(gradient), dz.to(z.dtype), None


def _check_packing(
    name: str,
    cu_seqlens: Tensor | None,
    seq_idx: Tensor | None,
    initial_states: Tensor | None,
    return_final_states: bool,
    return_varlen_states: bool,
) -> None:
    if cu_seqlens is not None and seq_idx is not None:
        raise WorkbenchError(f"{name}: seq_idx and cu_seqlens say the same; give one of them")
    if return_varlen_states and cu_seqlens is None:
        raise WorkbenchError(f"{name}: return_varlen_states needs cu_seqlens, which say where sequences end")
    if seq_idx is not None and (initial_states is not None or return_final_states):
        raise WorkbenchError(f"{name}: packed sequences (seq_idx) carry no states; leave them out, or give cu_seqlens")
    if cu_seqlens is not None and return_final_states:
        raise WorkbenchError(f"{name}: packed sequences (cu_seqlens) have a state each; ask for return_varlen_states")


def _cumulative(seq_idx: Tensor) -> Tensor:
    """Numbers of sequences [b, l] → cumulative lengths of all rows end to end; where a row ends, a sequence ends."""
    first = torch.ones_like(seq_idx, dtype=torch.bool)
    first[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
    return torch.cat([first.flatten().nonzero()[:, 0], torch.tensor([seq_idx.numel()])])
