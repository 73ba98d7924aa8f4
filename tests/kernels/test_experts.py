"""All experts' linears in one call: the bits of one after the other, and every gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.kernels.experts import expert_linear, expert_linear_plain

COUNTS = {"uneven": [3, 0, 5, 1], "nothing at all": [0, 0, 0, 0], "one has all": [0, 9, 0, 0]}


def leaves(counts: list[int], dtype: torch.dtype, width: int = 6) -> list[Tensor]:
    """x [n, width] and a weight [5, width] for each expert."""
    x = torch.randn(sum(counts), width).to(dtype)
    return [tensor.requires_grad_() for tensor in (x, *(torch.randn(5, width).to(dtype) for _ in counts))]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_bits_of_the_definition(counts: list[int], dtype: torch.dtype) -> None:
    x, *weights = leaves(counts, dtype)
    dy = torch.randn(sum(counts), 5).to(dtype)
    results = []
    for form in (expert_linear, expert_linear_plain):
        y = form(x, weights, counts)
        results.append([y, *torch.autograd.grad(y, [x, *weights], dy)])
    for fast, plain in zip(*results, strict=True):
        assert fast.dtype == dtype
        assert torch.equal(fast, plain)


def test_gradients_are_those_of_finite_differences() -> None:
    counts = COUNTS["uneven"]
    assert torch.autograd.gradcheck(lambda x, *w: expert_linear(x, w, counts), leaves(counts, torch.float64))


def test_frozen_weights_and_inputs_get_no_gradient() -> None:
    counts = COUNTS["uneven"]
    x, *weights = leaves(counts, torch.float32)
    weights[1].requires_grad_(False)
    expert_linear(x.detach(), weights, counts).sum().backward()
    assert x.grad is None
    assert [weight.grad is None for weight in weights] == [False, True, False, False]


def test_second_derivatives_are_refused() -> None:
    counts = COUNTS["uneven"]
    x, *weights = leaves(counts, torch.float32)
    (dx,) = torch.autograd.grad(expert_linear(x, weights, counts).square().sum(), x, create_graph=True)
    with pytest.raises(WorkbenchError, match=r"^expert_linear can be differentiated once"):
        dx.sum().backward()


@pytest.mark.parametrize(
    ("shape", "widths", "counts", "said"),
    [
        ((4, 6), [6, 6], [2, 1], "x [4, 6], 2 weights of shape [[5, 6]], counts [2, 1]"),
        ((4, 6), [6, 6], [4], "x [4, 6], 2 weights of shape [[5, 6]], counts [4]"),
        ((4, 6), [6, 7], [2, 2], "x [4, 6], 2 weights of shape [[5, 6], [5, 7]], counts [2, 2]"),
        ((4, 7), [6, 6], [2, 2], "x [4, 7], 2 weights of shape [[5, 6]], counts [2, 2]"),
        ((0, 6), [], [], "x [0, 6], 0 weights of shape [], counts []"),
        ((2, 2, 6), [6, 6], [1, 1], "x [2, 2, 6], 2 weights of shape [[5, 6]], counts [1, 1]"),
    ],
)
def test_shapes_that_do_not_fit(shape: tuple[int, ...], widths: list[int], counts: list[int], said: str) -> None:
    for form in (expert_linear, expert_linear_plain):
        with pytest.raises(WorkbenchError) as caught:
            form(torch.ones(shape), [torch.ones(5, width) for width in widths], counts)
        assert str(caught.value) == f"shapes do not fit: {said}"
