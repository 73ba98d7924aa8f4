"""Mamba-2's state-space scan: the recurrence that defines it, and the chunked form that computes it with matrix products.

Source: Dao and Gu, "Transformers are SSMs", arXiv 2405.21060, equation 1 and section 6. Both functions share a signature.

Letters in the code: b batch, l tokens, q and k tokens within a chunk, g groups, r heads a group (h = g·r), p width of a
head, n width of the state.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.kernels.segments import places_from_lengths
from workbench.kernels.ssd_cuts import Cuts
from workbench.kernels.ssd_packed import Packing
from workbench.kernels.ssd_scan import Inputs, scan

# Tokens a chunk. Larger chunks do more work between pairs of tokens, smaller ones keep more states and have smaller products.
CHUNK = 64


def ssd_recurrent(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    final_state: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """The definition, token by token: s = exp(dt·A)·s + dt·x Bᵀ, y = s C + D·x.

    `x` [b, l, h, p], `dt` [b, l, h] (positive), `A` [h] (negative), `B` and `C` [b, l, g, n] with h a multiple of g,
    `D` [h] or [h, p], `initial_state` [b, h, p, n] (zeros without). Returns y [b, l, h, p] in the dtype of x and the final
    state [b, h, p, n], None unless `final_state`. Computed in float32, in float64 where x is. O(l · h · p · n).

    With `cu_seqlens` [m + 1], cumulative lengths from 0 to l, the one row (b = 1) holds m sequences end to end: each starts
    from its own of the `initial_state` [m, h, p, n] and leaves its own final state [m, h, p, n]; an empty one leaves what it
    started from. Raises `WorkbenchError` where shapes do not fit.
    """
    _check(x, dt, A, B, C, D, initial_state, cu_seqlens)
    if cu_seqlens is not None:
        outputs, states = [], []
        for i, (start, end) in enumerate(itertools.pairwise(places_from_lengths(cu_seqlens, x.shape[1]))):
            state = None if initial_state is None else initial_state[i : i + 1]
            if end > start:
                x_i, dt_i, B_i, C_i = (tensor[:, start:end] for tensor in (x, dt, B, C))
                y, state = ssd_recurrent(x_i, dt_i, A, B_i, C_i, D=D, initial_state=state)
                outputs.append(y)
            states.append(_zero_state(x, B) if state is None else state.to(_work_dtype(x)))
        return torch.cat(outputs, dim=1), torch.cat(states) if final_state else None
    kind, work = x.dtype, _work_dtype(x)
    heads, groups = x.shape[2], B.shape[2]
    x, dt, A, B, C = (tensor.to(work) for tensor in (x, dt, A, B, C))
    B, C = (tensor.repeat_interleave(heads // groups, dim=2) for tensor in (B, C))
    state = _zero_state(x, B) if initial_state is None else initial_state.to(work)
    outputs = []
    for t in range(x.shape[1]):
        decay = torch.exp(dt[:, t] * A)[..., None, None]
        write = (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None, :]
        state = decay * state + write
        outputs.append((state @ C[:, t, :, :, None])[..., 0])
    y = torch.stack(outputs, dim=1)
    if D is not None:
        y = y + x * (D if D.dim() == 2 else D[:, None]).to(work)
    return y.to(kind), state if final_state else None


def ssd_chunked(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    final_state: bool = True,
    chunk_size: int = CHUNK,
) -> tuple[Tensor, Tensor | None]:
    """The same as `ssd_recurrent`, chunk by chunk: attention-like products inside a chunk, one state between chunks.

    The length need not be a multiple of `chunk_size` (tokens), which changes the rounding alone; for packed sequences it is
    the largest chunk, and short sequences get smaller ones.

    Cost, multiply-adds a token: chunk · (g·n + h·p) for pairs and 2·h·p·n for states; backward computes the pairs' scores
    and the states' outputs again, and twice as much as forward besides. Kept for it are the inputs and h·p·n numbers a
    chunk, if there is more than one. Differentiable once (first derivatives), with respect to every tensor.
    """
    _check(x, dt, A, B, C, D, initial_state, cu_seqlens)
    if chunk_size < 1:
        raise WorkbenchError(f"chunk_size must be at least 1 token, not {chunk_size}")
    start = None if initial_state is None else initial_state.to(_work_dtype(x))
    if cu_seqlens is None:
        cuts = Cuts.of_one_sequence(x.shape[1], chunk_size)
        inputs = Inputs(x, dt, A, B, C, D, None if start is None else start[None])
        y, last = scan(inputs, cuts, final=final_state)
        return y, None if last is None else last[0]

    places = places_from_lengths(cu_seqlens, x.shape[1])
    filled = [i for i, (begin, end) in enumerate(itertools.pairwise(places)) if end > begin]
    some_empty = len(filled) < len(places) - 1
    packing = Packing.of(sorted(set(places)), chunk_size)
    x_slots, B_slots, C_slots = (packing.spread(tensor) for tensor in (x, B, C))
    chosen = start if start is None or not some_empty else start[filled]
    inputs = Inputs(x_slots, packing.steps(dt), A, B_slots, C_slots, D, None if chosen is None else chosen.unsqueeze(1))
    y, last = scan(inputs, packing.cuts, final=final_state)
    if last is None:
        return packing.gather(y), None
    states = last[:, 0]
    if some_empty:
        whole = _zero_state(x, B).repeat(len(places) - 1, 1, 1, 1) if start is None else start
        states = whole.index_copy(0, torch.tensor(filled), states)
    return packing.gather(y), states


# ------------------------------------------------------------------------------------------------------


def _work_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _zero_state(x: Tensor, B: Tensor) -> Tensor:
    return x.new_zeros(x.shape[0], *x.shape[2:], B.shape[-1], dtype=_work_dtype(x))


def _check(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    initial_state: Tensor | None,
    cu_seqlens: Tensor | None,
) -> None:
    fits = x.dim() == 4 and B.dim() == 4 and dt.shape == x.shape[:3] and A.shape == x.shape[2:3]
    fits = fits and B.shape == C.shape and B.shape[:2] == x.shape[:2]
    fits = fits and (D is None or D.shape in (x.shape[2:3], x.shape[2:4]))
    states = x.shape[0] if cu_seqlens is None else len(cu_seqlens) - 1
    fits = fits and (initial_state is None or initial_state.shape == (states, *x.shape[2:], B.shape[-1]))
    if not fits:
        optional = {"D": D, "initial_state": initial_state, "cu_seqlens": cu_seqlens}
        given = {"x": x, "dt": dt, "A": A, "B": B, "C": C} | {k: v for k, v in optional.items() if v is not None}
        raise WorkbenchError("shapes do not fit: " + ", ".join(f"{name} {list(v.shape)}" for name, v in given.items()))
    if cu_seqlens is not None and x.shape[0] != 1:
        raise WorkbenchError(f"packed sequences (cu_seqlens) lie in one row, not in {x.shape[0]}")
    if x.shape[1] == 0:
        raise WorkbenchError("a scan needs at least one token")
    if B.shape[2] == 0 or x.shape[2] % B.shape[2]:
        raise WorkbenchError(f"{x.shape[2]} heads are not a multiple of {B.shape[2]} groups")
