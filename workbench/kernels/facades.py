"""The kernels under the names and signatures that megatron-core imports from mamba-ssm, causal-conv1d and FLA.

What a caller may ask of the originals and cannot have here is an error that names the argument; nothing is ignored.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.errors import WorkbenchError
from workbench.kernels.arguments import index, refuse, same_tokens
from workbench.kernels.conv import causal_conv, last_tokens
from workbench.kernels.decode import causal_conv1d_update, selective_state_update
from workbench.kernels.fla_facades import chunk_gated_delta_rule, fla_causal_conv1d, l2norm
from workbench.kernels.norm import RMSNormGated
from workbench.kernels.segments import each_sequence, places_from_lengths
from workbench.kernels.ssd import ssd_chunked

__all__ = [
    "RMSNormGated",
    "causal_conv1d_fn",
    "causal_conv1d_update",
    "causal_conv1d_varlen_states",
    "chunk_gated_delta_rule",
    "fla_causal_conv1d",
    "l2norm",
    "mamba_chunk_scan_combined",
    "mamba_split_conv1d_scan_combined",
    "selective_state_update",
]

_NO_LIMIT = (0.0, float("inf"))


def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    seq_idx: Tensor | None = None,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    final_states_out: Tensor | None = None,
    activation: str | None = None,
) -> Any:
    """`causal_conv1d.causal_conv1d_fn`: `x` [b, d, l], `weight` [d, w], `seq_idx` [b, l] → [b, d, l]."""
    refuse("causal_conv1d_fn", final_states_out=final_states_out)
    if seq_idx is not None:
        if initial_states is not None or return_final_states:
            raise WorkbenchError("causal_conv1d_fn: packed sequences (seq_idx) carry no states; leave them out")
        return causal_conv(x, weight, bias, activation=activation, seq_idx=seq_idx)
    y = causal_conv(x, weight, bias, activation=activation, before=initial_states)
    return (y, last_tokens(x, weight.shape[1] - 1, initial_states)) if return_final_states else y


def causal_conv1d_varlen_states(x: Tensor, cu_seqlens: Tensor, state_len: int) -> Tensor:
    """The last `state_len` tokens of each packed sequence: `x` [total, d], `cu_seqlens` [n + 1] → [n, d, state_len]."""
    places = places_from_lengths(cu_seqlens, x.shape[0])
    states = [last_tokens(x[start:end].T[None], state_len) for start, end in itertools.pairwise(places)]
    return torch.cat(states)


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

    `state_dtype` is that of the returned state; inside, states are float32 (float64 where x is) whatever it says.
    """
    refuse("mamba_chunk_scan_combined", return_varlen_states=return_varlen_states or None)
    if z is not None and z.shape != x.shape:
        raise WorkbenchError(f"mamba_chunk_scan_combined: z {list(z.shape)} must have the shape of x {list(x.shape)}")
    if dt_bias is not None and dt_bias.shape != A.shape:
        raise WorkbenchError(
            f"mamba_chunk_scan_combined: dt_bias {list(dt_bias.shape)} must be [heads] {list(A.shape)}"
        )
    kind = x.dtype
    wide = dt.to(torch.float64 if kind == torch.float64 else torch.float32)
    x = x.to(wide.dtype)  # so that y is rounded once, after its gate
    if dt_bias is not None:
        wide = wide + dt_bias.to(wide.dtype)
    if dt_softplus:
        wide = F.softplus(wide)
    if tuple(dt_limit) != _NO_LIMIT:
        wide = wide.clamp(*dt_limit)
    if cu_seqlens is not None:
        if seq_idx is not None:
            raise WorkbenchError("mamba_chunk_scan_combined: seq_idx and cu_seqlens say the same; give one of them")
        seq_idx = index("mamba_chunk_scan_combined", cu_seqlens, x)
    if seq_idx is not None:
        if initial_states is not None or return_final_states:
            raise WorkbenchError("mamba_chunk_scan_combined: packed sequences carry no states; leave them out")

        same_tokens("mamba_chunk_scan_combined", x=x, dt=dt, B=B, C=C)

        def run(row: int, start: int, end: int) -> Tensor:
            x_part, dt_part, B_part, C_part = (tensor[row : row + 1, start:end] for tensor in (x, wide, B, C))
            return ssd_chunked(x_part, dt_part, A, B_part, C_part, D=D, chunk_size=chunk_size)[0]

        y, state = each_sequence(run, seq_idx, rows=x.shape[0], length=x.shape[1], dim=1), None
    else:
        y, state = ssd_chunked(x, wide, A, B, C, D=D, initial_state=initial_states, chunk_size=chunk_size)
    if z is not None:
        y = y * F.silu(z.to(wide.dtype))
    y = y.to(kind)
    if return_final_states:
        assert state is not None
        return y, state if state_dtype is None else state.to(state_dtype)
    return y


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
    xBC = causal_conv1d_fn(
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
