"""One step of decoding: the convolution and the scan of Mamba-2 with their states updated in place.

megatron-core has Triton kernels of its own for this (`ssm/ops/causal_conv1d_triton.py`, `ssm/ops/mamba_ssm.py`), which
`MambaMixer._ssm_decode` calls; these have the same signatures and layouts. Nothing here is differentiable, as there.

Letters: b batch, s tokens of the step (more than one with speculative tokens), m slots for states, d channels, h heads,
p width of a head, g groups, n width of the state.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.errors import WorkbenchError
from workbench.kernels.conv import causal_conv


@torch.no_grad()
def causal_conv1d_update(
    x: Tensor,
    conv_state: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    silu_activation: str | None,
    conv_state_indices: Tensor | None,
    intermediate_conv_states: Tensor | None = None,
) -> Tensor:
    """Convolve the tokens of one step and shift them into `conv_state`, the last tokens seen, newest last.

    `x` [b, d] or [b, s, d], `conv_state` [m, d, l] with l ≥ w − 1, `weight` [d, w], `bias` [d]. `silu_activation` is, for all
    its name, None, "silu" or "swish". `conv_state_indices` [b] gives the slot of each row (row i has slot i without); a row
    with a negative one is padding: zeros come out and no state changes. `intermediate_conv_states` [m, s, d, l] receives
    the state after every token. Returns y in the shape and dtype of x. O(b · s · d · w).
    """
    function = "causal_conv1d_update"
    tokens = x[:, None] if x.dim() == 2 else x
    fits = tokens.dim() == 3 and conv_state.dim() == 3 and weight.dim() == 2 and tokens.shape[1] > 0
    fits = fits and tokens.shape[2] == conv_state.shape[1] == weight.shape[0]
    fits = fits and conv_state.shape[2] >= weight.shape[1] - 1 and (bias is None or bias.shape == weight.shape[:1])
    if fits and intermediate_conv_states is not None:
        slots, channels, length = conv_state.shape
        fits = intermediate_conv_states.shape == (slots, tokens.shape[1], channels, length)
    if not fits:
        raise _misfit(
            function,
            x=x,
            conv_state=conv_state,
            weight=weight,
            bias=bias,
            intermediate_conv_states=intermediate_conv_states,
        )
    rows, places = _slots(function, "conv_state_indices", conv_state_indices, len(x), conv_state)
    y = torch.zeros_like(tokens)
    if len(rows):
        length, width = conv_state.shape[2], weight.shape[1]
        state = conv_state[places]
        new = tokens[rows].transpose(1, 2)
        before = state[..., length - width + 1 :]
        y[rows] = causal_conv(new, weight, bias, activation=silu_activation, before=before).transpose(1, 2)
        joined = torch.cat([state, new.to(state.dtype)], dim=-1)
        if intermediate_conv_states is not None:
            after = [joined[..., s : s + length] for s in range(1, tokens.shape[1] + 1)]
            intermediate_conv_states[places] = torch.stack(after, dim=1).to(intermediate_conv_states.dtype)
        conv_state[places] = joined[..., joined.shape[-1] - length :]
    return y.view(x.shape)


@torch.no_grad()
def selective_state_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    state_batch_indices: Tensor | None = None,
    intermediate_ssm_states: Tensor | None = None,
) -> Tensor:
    """Scan the tokens of one step on from `state`, which holds the state after them when this returns.

    s = exp(dt·A)·s + dt·x Bᵀ, y = (s C + D·x) · silu(z), as `ssd_recurrent` but with dt, A and D for every channel.

    `state` [m, h, p, n]; `x`, `dt` and `z` [b, h, p] or [b, s, h, p]; `A` [h, p, n] (negative); `B` and `C` [b, g, n] or
    [b, s, g, n] with h a multiple of g; `D` and `dt_bias` [h, p]. `state_batch_indices` and `intermediate_ssm_states`
    [m, s, h, p, n] as in `causal_conv1d_update`. States without heads (Mamba-1) are refused. Returns y in the shape and dtype
    of x. Computed in float32, in float64 where x is. O(b · s · h · p · n).
    """
    function = "selective_state_update"
    tensors = {"x": x, "dt": dt, "A": A, "B": B, "C": C, "D": D, "z": z, "dt_bias": dt_bias}
    _check_scan(function, {"state": state, **tensors, "intermediate_ssm_states": intermediate_ssm_states})
    rows, places = _slots(function, "state_batch_indices", state_batch_indices, len(x), state)
    y = torch.zeros_like(x)
    if len(rows) == 0:
        return y
    work = torch.float64 if x.dtype == torch.float64 else torch.float32
    x, dt, B, C = ((tensor if tensor.dim() == 4 else tensor[:, None])[rows].to(work) for tensor in (x, dt, B, C))
    A = A.to(work)
    if dt_bias is not None:
        dt = dt + dt_bias.to(work)
    if dt_softplus:
        dt = F.softplus(dt)
    B, C = (tensor.repeat_interleave(x.shape[2] // B.shape[2], dim=2) for tensor in (B, C))  # b s h n
    outputs, states, now = [], [], state[places].to(work)
    for s in range(x.shape[1]):
        now = torch.exp(dt[:, s, ..., None] * A) * now + (dt[:, s] * x[:, s])[..., None] * B[:, s, :, None]
        outputs.append((now @ C[:, s, ..., None])[..., 0])
        states.append(now)
    out = torch.stack(outputs, dim=1)
    if D is not None:
        out = out + D.to(work) * x
    if y.dim() == 3:
        out = out[:, 0]
    if z is not None:
        out = out * F.silu(z[rows].to(work))
    y[rows] = out.to(y.dtype)
    if intermediate_ssm_states is not None:
        intermediate_ssm_states[places] = torch.stack(states, dim=1).to(intermediate_ssm_states.dtype)
    state[places] = now.to(state.dtype)
    return y


# ------------------------------------------------------------------------------------------------------


def _check_scan(function: str, given: dict[str, Tensor | None]) -> None:
    state, x, B = given["state"], given["x"], given["B"]
    assert state is not None
    assert x is not None
    assert B is not None
    if state.dim() != 4 or x.dim() not in (3, 4) or B.dim() != x.dim() or 0 in x.shape[1:]:
        raise _misfit(function, **given)
    tokens = 1 if x.dim() == 3 else x.shape[1]
    heads, width = x.shape[-2:]
    slots, size, groups = state.shape[0], state.shape[3], B.shape[-2]
    expected = {
        "state": (slots, heads, width, size),
        "x": x.shape,
        "dt": x.shape,
        "A": (heads, width, size),
        "B": (*x.shape[:-2], groups, size),
        "C": (*x.shape[:-2], groups, size),
        "D": (heads, width),
        "z": x.shape,
        "dt_bias": (heads, width),
        "intermediate_ssm_states": (slots, tokens, heads, width, size),
    }
    if any(tensor is not None and tensor.shape != expected[name] for name, tensor in given.items()):
        raise _misfit(function, **given)
    if groups == 0 or heads % groups:
        raise WorkbenchError(f"{function}: {heads} heads are not a multiple of {groups} groups")


def _slots(function: str, name: str, indices: Tensor | None, rows: int, state: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that are not padding, and the slot of each."""
    slots = len(state)
    if indices is None:
        # More states than rows is what a batch given as tokens looks like, and would be scanned as one sequence.
        if rows != slots:
            raise WorkbenchError(f"{function}: {rows} rows and {slots} states; match them, or give {name}")
        every = torch.arange(rows, device=state.device)
        return every, every
    if indices.shape != (rows,):
        raise WorkbenchError(f"{function}: {name} must be [{rows}], one slot a row, not {list(indices.shape)}")
    real = (indices >= 0).nonzero()[:, 0]
    places = indices[real].long()
    # Two rows in one slot would each leave a state of their own there, in no certain order.
    if len(places) and (int(places.max()) >= slots or len(places.unique()) < len(places)):
        raise WorkbenchError(f"{function}: {name} must name different slots below {slots}, not {indices.tolist()}")
    return real, places


def _misfit(function: str, **tensors: Tensor | None) -> WorkbenchError:
    shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items() if tensor is not None)
    return WorkbenchError(f"{function}: shapes do not fit: {shapes}")
