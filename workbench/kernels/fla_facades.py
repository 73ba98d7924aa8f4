"""The kernels under the names and signatures that megatron-core imports from FLA (`fla.modules`, `fla.ops`).

What a caller may ask of the originals and cannot have here is an error that names the argument; nothing is ignored.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.kernels.arguments import bounds, refuse
from workbench.kernels.conv import causal_conv
from workbench.kernels.delta import gated_delta_chunked
from workbench.kernels.norm import l2norm

__all__ = ["chunk_gated_delta_rule", "fla_causal_conv1d", "l2norm"]


def fla_causal_conv1d(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool | None = False,
    activation: str | None = None,
    backend: str | None = None,
    cu_seqlens: Tensor | None = None,
    **unknown: Any,
) -> tuple[Tensor, None]:
    """`fla.modules.convolution.causal_conv1d`: `x` [b, l, d], `weight` [d, w] → ([b, l, d], None)."""
    refuse(
        "fla causal_conv1d",
        residual=residual,
        initial_state=initial_state,
        output_final_state=output_final_state or None,
        backend=backend,
        **unknown,
    )
    if weight is None:
        raise WorkbenchError("fla causal_conv1d: weight must be given")
    channels = x.transpose(1, 2)
    if cu_seqlens is None:
        y = causal_conv(channels, weight, bias, activation=activation)
    else:
        parts = [
            causal_conv(channels[..., start:end], weight, bias, activation=activation)
            for start, end in bounds("fla causal_conv1d", cu_seqlens, x)
        ]
        y = torch.cat(parts, dim=-1)
    return y.transpose(1, 2), None


def chunk_gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: Tensor | None = None,
    **unknown: Any,
) -> tuple[Tensor, Tensor | None]:
    """`fla.ops.gated_delta_rule.chunk_gated_delta_rule`: shapes as `gated_delta_chunked`; (o, final state or None).

    With `cu_seqlens` [s + 1] the row holds s sequences, and `initial_state` and the final state are [s, h, d, v].
    """
    refuse("chunk_gated_delta_rule", **unknown)
    if use_qk_l2norm_in_kernel:
        q, k = l2norm(q), l2norm(k)
    if cu_seqlens is not None:
        bounds("chunk_gated_delta_rule", cu_seqlens, v)
    o, state = gated_delta_chunked(q, k, v, g, beta, scale=scale, initial_state=initial_state, cu_seqlens=cu_seqlens)
    return o, state if output_final_state else None
