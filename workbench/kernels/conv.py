"""The short causal depthwise convolution in front of Mamba-2 and gated delta net: every channel looks a few tokens back."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.errors import WorkbenchError

_ACTIVATIONS = {None: None, "silu": F.silu, "swish": F.silu}


def causal_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: str | None = None,
    before: Tensor | None = None,
) -> Tensor:
    """y[t] = act(bias + Σ weight[i] · x[t − w + 1 + i]), channel by channel.

    `x` [b, d, l], `weight` [d, w], `bias` [d], `before` [b, d, w − 1] the tokens in front of x (zeros without).
    Returns [b, d, l] in the dtype of x. O(l · d · w). `activation` is None, "silu" or "swish" (the same).
    """
    if activation not in _ACTIVATIONS:
        raise WorkbenchError(f"activation must be None, 'silu' or 'swish', not {activation!r}")
    _check(x, weight, bias, before)
    channels, width = weight.shape
    if before is None:
        before = x.new_zeros(x.shape[0], channels, width - 1)
    padded = torch.cat([before.to(x.dtype), x], dim=-1)
    y = F.conv1d(padded, weight[:, None].to(x.dtype), None if bias is None else bias.to(x.dtype), groups=channels)
    act = _ACTIVATIONS[activation]
    return y if act is None else act(y)


def last_tokens(x: Tensor, count: int, before: Tensor | None = None) -> Tensor:
    """The last `count` tokens of `x` [b, d, l], with `before` or zeros in front where x is shorter: [b, d, count]."""
    if before is None:
        before = x.new_zeros(*x.shape[:2], count)
    joined = torch.cat([before.to(x.dtype), x], dim=-1)
    missing = count - joined.shape[-1]
    return F.pad(joined, (missing, 0)) if missing > 0 else joined[..., joined.shape[-1] - count :]


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, before: Tensor | None) -> None:
    fits = x.dim() == 3 and weight.dim() == 2 and x.shape[1] == weight.shape[0]
    fits = fits and (bias is None or bias.shape == weight.shape[:1])
    fits = fits and (before is None or before.shape == (*x.shape[:2], weight.shape[1] - 1))
    if not fits:
        optional = {"bias": bias, "before": before}
        given = {"x": x, "weight": weight} | {name: t for name, t in optional.items() if t is not None}
        raise WorkbenchError("shapes do not fit: " + ", ".join(f"{name} {list(t.shape)}" for name, t in given.items()))
    if x.shape[2] == 0:
        raise WorkbenchError("a convolution needs at least one token")
