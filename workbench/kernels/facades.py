"""The kernels under the names and signatures that megatron-core imports from mamba-ssm, causal-conv1d and FLA.

What a caller may ask of the originals and cannot have here is an error that names the argument; nothing is ignored.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.kernels.arguments import refuse
from workbench.kernels.conv import causal_conv, last_tokens
from workbench.kernels.decode import causal_conv1d_update, selective_state_update
from workbench.kernels.fla_facades import chunk_gated_delta_rule, fla_causal_conv1d, l2norm
from workbench.kernels.mamba_facades import mamba_chunk_scan_combined, mamba_split_conv1d_scan_combined
from workbench.kernels.norm import RMSNormGated
from workbench.kernels.segments import places_from_lengths

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
