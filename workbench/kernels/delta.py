"""The gated delta rule: the recurrence that defines it, and the chunked form (WY representation). One signature.

Source: Yang, Kautz and Hatamizadeh, "Gated Delta Networks", arXiv 2412.06464, equations 10 and 11 and section 3.3.

Letters in the code: b batch, l tokens, c chunks, q and k tokens within a chunk, h heads, d key width, v value width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.errors import WorkbenchError


def gated_delta_recurrent(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The definition, token by token: s = exp(g)·s, s = s + beta·k (v − kᵀs), o = scale · qᵀs.

    `q` and `k` [b, l, h, d], `v` [b, l, h, v], `g` [b, l, h] (log decay, at most 0), `beta` [b, l, h] (0 to 1),
    `initial_state` [b, h, d, v]; `scale` defaults to 1/√d. Returns o [b, l, h, v] in the dtype of v and the final state
    [b, h, d, v]. Computed in float32, in float64 where v is. O(l · h · d · v).
    """
    kind = v.dtype
    q, k, v, g, beta, state = _prepare(q, k, v, g, beta, scale, initial_state)
    outputs = []
    for t in range(v.shape[2]):
        state = g[:, :, t].exp()[..., None, None] * state
        key = k[:, :, t]
        error = v[:, :, t] - (key[..., None, :] @ state)[..., 0, :]
        state = state + key[..., None] * (beta[:, :, t, None] * error)[..., None, :]
        outputs.append((q[:, :, t][..., None, :] @ state)[..., 0, :])
    return torch.stack(outputs, dim=2).transpose(1, 2).to(kind), state


def gated_delta_chunked(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    *,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    chunk_size: int = 16,
) -> tuple[Tensor, Tensor]:
    """The same as `gated_delta_recurrent`, chunk by chunk; the length need not be a multiple of `chunk_size` (tokens).

    Inside a chunk every write depends on the ones before it through a unit lower triangular system, which is solved once.
    O(l · h · (chunk_size · (d + v) + d · v)).
    """
    if chunk_size < 1:
        raise WorkbenchError(f"chunk_size must be at least 1 token, not {chunk_size}")
    kind = v.dtype
    q, k, v, g, beta, state = _prepare(q, k, v, g, beta, scale, initial_state)
    length = v.shape[2]
    chunk = min(chunk_size, length)
    # A padded token has g = 0 and beta = 0: it neither decays nor writes.
    q, k, v, g, beta = (_chunks(tensor, chunk) for tensor in (q, k, v, g, beta))  # b h c q …

    total = g.cumsum(dim=-1)
    above = torch.ones(chunk, chunk, dtype=torch.bool, device=v.device).triu(1)
    between = (total[..., :, None] - total[..., None, :]).masked_fill(above, float("-inf")).exp()
    keys = k @ k.transpose(-1, -2)
    # The diagonal is one by definition of the system (`unitriangular` does not read it).
    system = beta[..., None] * keys * between
    right = torch.cat([beta[..., None] * v, (beta * total.exp())[..., None] * k], dim=-1)
    solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    values, reads = solved.split([v.shape[-1], k.shape[-1]], dim=-1)

    scores = q @ k.transpose(-1, -2) * between
    q_decayed = q * total.exp()[..., None]
    k_to_end = k * (total[..., -1:] - total).exp()[..., None]
    whole = total[..., -1].exp()[..., None, None]
    outputs = []
    for c in range(v.shape[2]):
        new = values[:, :, c] - reads[:, :, c] @ state
        outputs.append(q_decayed[:, :, c] @ state + scores[:, :, c] @ new)
        state = whole[:, :, c] * state + k_to_end[:, :, c].transpose(-1, -2) @ new
    o = torch.cat(outputs, dim=2)[:, :, :length]
    return o.transpose(1, 2).to(kind), state


# ------------------------------------------------------------------------------------------------------


def _prepare(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, scale: float | None, initial_state: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Heads before tokens, the working dtype, `scale` applied to q, and the state to start from."""
    fits = q.dim() == 4 and v.dim() == 4 and q.shape == k.shape
    fits = fits and all(tensor.shape[:3] == q.shape[:3] for tensor in (v, g, beta)) and g.dim() == beta.dim() == 3
    state_shape = (v.shape[0], *q.shape[2:], *v.shape[3:])
    if not fits or (initial_state is not None and initial_state.shape != state_shape):
        given = {"q": q, "k": k, "v": v, "g": g, "beta": beta}
        if initial_state is not None:
            given["initial_state"] = initial_state
        raise WorkbenchError("shapes do not fit: " + ", ".join(f"{name} {list(t.shape)}" for name, t in given.items()))
    if v.shape[1] == 0:
        raise WorkbenchError("the gated delta rule needs at least one token")
    work = torch.float64 if v.dtype == torch.float64 else torch.float32
    q, k, v, g, beta = (tensor.transpose(1, 2).to(work) for tensor in (q, k, v, g, beta))
    q = q * (scale if scale is not None else q.shape[-1] ** -0.5)
    if initial_state is None:
        initial_state = v.new_zeros(state_shape)
    return q, k, v, g, beta, initial_state.to(work)


def _chunks(tensor: Tensor, size: int) -> Tensor:
    """[b, h, l, …] → [b, h, c, q, …], padded with zeros at the end."""
    missing = -tensor.shape[2] % size
    if missing:
        zeros = tensor.new_zeros(*tensor.shape[:2], missing, *tensor.shape[3:])
        tensor = torch.cat([tensor, zeros], dim=2)
    return tensor.unflatten(2, (-1, size))
