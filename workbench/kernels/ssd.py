"""Mamba-2's state-space scan: the recurrence that defines it, and the chunked form that computes it with matrix products.

Source: Dao and Gu, "Transformers are SSMs", arXiv 2405.21060, equation 1 and section 6. Both functions share a signature.

Letters in the code: b batch, l tokens, c chunks, q and k tokens within a chunk, g groups, r heads a group (h = g·r),
p width of a head, n width of the state.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.kernels.ssd_cuts import Cuts
from workbench.kernels.ssd_scan import Inputs, scan


def ssd_recurrent(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The definition, token by token: s = exp(dt·A)·s + dt·x Bᵀ, y = s C + D·x.

    `x` [b, l, h, p], `dt` [b, l, h] (positive), `A` [h] (negative), `B` and `C` [b, l, g, n] with h a multiple of g,
    `D` [h] or [h, p], `initial_state` [b, h, p, n]. Returns y [b, l, h, p] in the dtype of x and the final state
    [b, h, p, n]. Computed in float32, in float64 where x is. O(l · h · p · n).
    """
    kind, work = x.dtype, _work_dtype(x)
    _check(x, dt, A, B, C, D, initial_state)
    heads, groups = x.shape[2], B.shape[2]
    x, dt, A, B, C = (tensor.to(work) for tensor in (x, dt, A, B, C))
    B, C = (tensor.repeat_interleave(heads // groups, dim=2) for tensor in (B, C))
    state = _start(x, B, initial_state)
    outputs = []
    for t in range(x.shape[1]):
        decay = torch.exp(dt[:, t] * A)[..., None, None]
        write = (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None, :]
        state = decay * state + write
        outputs.append((state @ C[:, t, :, :, None])[..., 0])
    y = torch.stack(outputs, dim=1)
    return _skip(y, x, D).to(kind), state


def ssd_chunked(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    initial_state: Tensor | None = None,
    chunk_size: int = 64,
) -> tuple[Tensor, Tensor]:
    """The same as `ssd_recurrent`, chunk by chunk: attention-like products inside a chunk, one state between chunks.

    O(l · chunk_size · h · (p + n / r)) for what is inside a chunk and O(l · h · p · n) for the states. The length need
    not be a multiple of `chunk_size` (tokens).
    """
    _check(x, dt, A, B, C, D, initial_state)
    if chunk_size < 1:
        raise WorkbenchError(f"chunk_size must be at least 1 token, not {chunk_size}")
    start = None if initial_state is None else initial_state.to(_work_dtype(x))[None]
    y, last = scan(Inputs(x, dt, A, B, C, D, start), Cuts.of_one_sequence(x.shape[1], chunk_size), final=True)
    assert last is not None
    return y, last[0]


# ------------------------------------------------------------------------------------------------------


def _work_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _chunks(tensor: Tensor, size: int) -> Tensor:
    """[b, l, …] → [b, c, q, …], padded with zeros at the end."""
    missing = -tensor.shape[1] % size
    if missing:
        tensor = torch.cat([tensor, tensor.new_zeros(tensor.shape[0], missing, *tensor.shape[2:])], dim=1)
    return tensor.unflatten(1, (-1, size))


def _start(x: Tensor, B: Tensor, initial_state: Tensor | None) -> Tensor:
    if initial_state is not None:
        return initial_state.to(x.dtype)
    return x.new_zeros(x.shape[0], x.shape[2], x.shape[3], B.shape[-1])


def _skip(y: Tensor, x: Tensor, D: Tensor | None) -> Tensor:
    if D is None:
        return y
    return y + x * (D if D.dim() == 2 else D[:, None]).to(x.dtype)


def _check(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, initial_state: Tensor | None
) -> None:
    fits = x.dim() == 4 and B.dim() == 4 and dt.shape == x.shape[:3] and A.shape == x.shape[2:3]
    fits = fits and B.shape == C.shape and B.shape[:2] == x.shape[:2]
    fits = fits and (D is None or D.shape in (x.shape[2:3], x.shape[2:4]))
    fits = fits and (initial_state is None or initial_state.shape == (x.shape[0], *x.shape[2:], B.shape[-1]))
    if not fits:
        optional = {"D": D, "initial_state": initial_state}
        given = {"x": x, "dt": dt, "A": A, "B": B, "C": C} | {k: v for k, v in optional.items() if v is not None}
        raise WorkbenchError("shapes do not fit: " + ", ".join(f"{name} {list(v.shape)}" for name, v in given.items()))
    if x.shape[1] == 0:
        raise WorkbenchError("a scan needs at least one token")
    if B.shape[2] == 0 or x.shape[2] % B.shape[2]:
        raise WorkbenchError(f"{x.shape[2]} heads are not a multiple of {B.shape[2]} groups")
