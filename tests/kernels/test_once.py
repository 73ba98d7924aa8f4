"""A second derivative through a hand-written backward is refused, however it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.kernels.once import differentiable_once


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @differentiable_once("cube")
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return (3 * x**2 * dy,)


def cube(x: Tensor) -> Tensor:
    y: Tensor = Cube.apply(x)
    return y


def test_the_first_derivative_is_right() -> None:
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(cube, x)
    (with_graph,) = torch.autograd.grad(cube(x).sum(), x, create_graph=True)
    (without,) = torch.autograd.grad(cube(x).sum(), x)
    assert torch.equal(with_graph, without)


@pytest.mark.parametrize("loss", [torch.sum, lambda y: y.square().sum()], ids=["linear", "square"])
@pytest.mark.parametrize("allow_unused", [False, True])
def test_the_second_is_refused(loss: Callable[[Tensor], Tensor], allow_unused: bool) -> None:
    x = torch.randn(3, requires_grad=True)
    (dx,) = torch.autograd.grad(loss(cube(x)), x, create_graph=True)
    message = r"^cube can be differentiated once, not twice; for second derivatives take its plain definition$"
    with pytest.raises(WorkbenchError, match=message):
        torch.autograd.grad(dx.sum(), x, allow_unused=allow_unused)
    with pytest.raises(WorkbenchError, match=message):
        dx.sum().backward()
