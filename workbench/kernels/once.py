"""Backward passes written by hand: a second derivative through them is an error that says so, never a silent zero."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from workbench.errors import WorkbenchError

Backward = Callable[..., tuple[Tensor | None, ...]]


def differentiable_once(kernel: str) -> Callable[[Backward], Backward]:
    """Decorates `backward` of an autograd function: what it returns cannot be differentiated, which `kernel` is named for.

    torch's own `once_differentiable` leaves the gradients unconnected to the inputs, so that `torch.autograd.grad(…,
    allow_unused=True)` answers None. Here they are connected to every saved tensor, and the answer is a `WorkbenchError`.
    Costs one question a call unless `create_graph` is on.
    """

    def decorate(backward: Backward) -> Backward:
        @functools.wraps(backward)
        def once(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
            if not torch.is_grad_enabled():
                return backward(ctx, *gradients)
            with torch.no_grad():
                results = backward(ctx, *gradients)
            sources = [t for t in (*gradients, *ctx.saved_tensors) if t is not None and t.requires_grad]
            return tuple(None if result is None else _Refuse.apply(kernel, result, *sources) for result in results)

        return once

    return decorate


class _Refuse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: str, result: Tensor, *_: Tensor) -> Tensor:
        ctx.kernel = kernel
        return result.view_as(result)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise WorkbenchError(
            f"{ctx.kernel} can be differentiated once, not twice; for second derivatives take its plain definition"
        )
