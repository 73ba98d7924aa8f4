"""The linears of a mixture of experts: tokens sorted by expert, every expert's product, in one call for all experts.

`expert_linear_plain` is the definition, `expert_linear` the fast form: one node of autograd's graph for all experts instead of
one and its neighbours for each. Sorting the tokens is not here: measured, megatron-core's CPU path for it
(`transformer/moe/moe_utils.py:337-545`) takes as long as what was tried in its place (benchmarks/small_kernels.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.errors import WorkbenchError
from workbench.kernels.once import differentiable_once


def expert_linear(x: Tensor, weights: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """`x` [n, i] sorted by expert, `counts[j]` rows of it for expert j with `weights[j]` [o, i] → [n, o]: x · weightᵀ.

    Forward and gradients have the bits of one product after the other, since they are the same products. An expert without
    rows has a gradient of zeros. Cost: O(n · i · o), three products an expert; x and the weights are kept. Differentiable once.
    """
    _check(x, weights, counts)
    y: Tensor = _ExpertLinear.apply(x, tuple(counts), *weights)
    return y


def expert_linear_plain(x: Tensor, weights: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """`expert_linear`'s definition with its arguments: one expert after the other."""
    _check(x, weights, counts)
    parts = x.split(list(counts))
    return torch.cat([F.linear(part, weight) for part, weight in zip(parts, weights, strict=True)])


class _ExpertLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: tuple[int, ...], *weights: Tensor) -> Tensor:
        ctx.save_for_backward(x, *weights)
        ctx.counts = counts
        y = torch.empty(len(x), len(weights[0]), dtype=x.dtype, device=x.device)
        for part, weight, out in zip(x.split(counts), weights, y.split(counts), strict=True):
            torch.mm(part, weight.t(), out=out)
        return y

    @staticmethod
    @differentiable_once("expert_linear")
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        given = dy.split(ctx.counts)
        dx = None
        if wanted[0]:
            dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
            for part, weight, out in zip(given, weights, dx.split(ctx.counts), strict=True):
                torch.mm(part, weight, out=out)
        pieces = zip(given, x.split(ctx.counts), wanted[2:], strict=True)
        return dx, None, *(part.t().mm(seen) if needed else None for part, seen, needed in pieces)


def _check(x: Tensor, weights: Sequence[Tensor], counts: Sequence[int]) -> None:
    shapes = {tuple(weight.shape) for weight in weights}
    fits = x.dim() == 2 and len(shapes) == 1 and len(weights) == len(counts) and sum(counts) == len(x)
    if not fits or weights[0].shape[1:] != x.shape[1:]:
        raise WorkbenchError(
            f"shapes do not fit: x {list(x.shape)}, {len(weights)} weights of shape {sorted(map(list, shapes))}, "
            f"counts {list(counts)}"
        )
