"""The gated delta rule: the recurrence that defines it, and the chunked form (WY representation). One signature.

Source: Yang, Kautz and Hatamizadeh, "Gated Delta Networks", arXiv 2412.06464, equations 10 and 11 and section 3.3.

Letters in the code: b batch, l tokens, h heads, d key width, v value width, s packed sequences.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.kernels.delta_chunks import ChunkedDelta
from workbench.kernels.delta_plan import plan
from workbench.kernels.segments import places_from_lengths

CHUNK_SIZE = 32


def gated_delta_recurrent(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The definition, token by token: s = exp(g)·s, s = s + beta·k (v − kᵀs), o = scale · qᵀs.

    `q` and `k` [b, l, h, d], `v` [b, l, h, v], `g` [b, l, h] (log decay, at most 0), `beta` [b, l, h] (0 to 1),
    `initial_state` [b, h, d, v] (zeros where None); `scale` defaults to 1/√d. Returns o [b, l, h, v] in the dtype of v and
    the final state [b, h, d, v]. Computed in float32, in float64 where v is. O(l · h · d · v).

    With `cu_seqlens` [s + 1] (cumulative lengths) the one row (b = 1) holds s sequences end to end, each for itself, and
    the states are [s, h, d, v]. Raises `WorkbenchError` where shapes do not fit.
    """
    places, states = _prepare(q, k, v, g, beta, initial_state, cu_seqlens)
    if cu_seqlens is None:
        return _recurrent(q, k, v, g, beta, scale, states)
    outputs, last = [], []
    for index, (start, end) in enumerate(itertools.pairwise(places)):
        state = states[index : index + 1]
        if end > start:
            part = slice(start, end)
            o, state = _recurrent(q[:, part], k[:, part], v[:, part], g[:, part], beta[:, part], scale, state)
            outputs.append(o)
        last.append(state)
    return torch.cat(outputs, dim=1), torch.cat(last)


def gated_delta_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    chunk_size: int = CHUNK_SIZE,
) -> tuple[Tensor, Tensor]:
    """The same as `gated_delta_recurrent`, chunk by chunk; a length need not be a multiple of `chunk_size` (tokens).

    Inside a chunk every write depends on the ones before it through a unit lower triangular system, which is inverted once.
    O(l · h · (chunk_size · (d + v) + d · v)), of which only l / chunk_size products of [chunk_size, d] with [d, v] wait for
    each other. The backward pass is written by hand and cannot be differentiated again; it keeps the inputs and, in the
    working dtype, l · h · (d · v / chunk_size + 2 · chunk_size + v) numbers.
    """
    if chunk_size < 1:
        raise WorkbenchError(f"chunk_size must be at least 1 token, not {chunk_size}")
    places, states = _prepare(q, k, v, g, beta, initial_state, cu_seqlens)
    batch, _, heads, width = q.shape
    scale = width**-0.5 if scale is None else scale
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (q, k, v, g, beta, states))
    # One sequence a row, or many in one row: either way a list of states for all rows and heads.
    lined = states.view(-1, batch * heads, *states.shape[2:]) if cu_seqlens is not None else states.flatten(0, 1)[None]
    o, last = ChunkedDelta.apply(q, k, v, g, beta, lined, scale, plan(places, batch * heads, chunk_size), keep)
    return o, last.view(states.shape)


# ------------------------------------------------------------------------------------------------------


def _recurrent(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, scale: float | None, state: Tensor
) -> tuple[Tensor, Tensor]:
    kind = v.dtype
    q, k, v, g, beta = (tensor.transpose(1, 2).to(state.dtype) for tensor in (q, k, v, g, beta))
    q = q * (scale if scale is not None else q.shape[-1] ** -0.5)
    outputs = []
    for t in range(v.shape[2]):
        state = g[:, :, t].exp()[..., None, None] * state
        key = k[:, :, t]
        error = v[:, :, t] - (key[..., None, :] @ state)[..., 0, :]
        state = state + key[..., None] * (beta[:, :, t, None] * error)[..., None, :]
        outputs.append((q[:, :, t][..., None, :] @ state)[..., 0, :])
    return torch.stack(outputs, dim=2).transpose(1, 2).to(kind), state


def _prepare(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
) -> tuple[list[int], Tensor]:
    """Where the sequences lie in a row, and the states to start from, in the working dtype."""
    fits = q.dim() == 4 and v.dim() == 4 and q.shape == k.shape
    fits = fits and all(tensor.shape[:3] == q.shape[:3] for tensor in (v, g, beta)) and g.dim() == beta.dim() == 3
    sequences = v.shape[0] if cu_seqlens is None else len(cu_seqlens) - 1
    state_shape = (sequences, *q.shape[2:], *v.shape[3:])
    if not fits or (initial_state is not None and initial_state.shape != state_shape):
        given = {"q": q, "k": k, "v": v, "g": g, "beta": beta}
        if initial_state is not None:
            given["initial_state"] = initial_state
        raise WorkbenchError("shapes do not fit: " + ", ".join(f"{name} {list(t.shape)}" for name, t in given.items()))
    length = v.shape[1]
    if cu_seqlens is not None:
        if v.shape[0] != 1:
            raise WorkbenchError(f"packed sequences (cu_seqlens) lie in one row, not in {v.shape[0]}")
        places = places_from_lengths(cu_seqlens, length)
    elif length == 0:
        raise WorkbenchError("the gated delta rule needs at least one token")
    else:
        places = [0, length]
    work = torch.float64 if v.dtype == torch.float64 else torch.float32
    if initial_state is None:
        return places, v.new_zeros(state_shape, dtype=work)
    return places, initial_state.to(work)
