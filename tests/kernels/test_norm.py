"""The gated RMSNorm and the L2 norm against their formulas, written out in float64, in every form they take."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.kernels import norm as norms
from workbench.kernels.norm import RMSNormGated, l2norm, l2norm_plain, rms_norm_gated, rms_norm_gated_plain

HIDDEN, EPS = 12, 1e-5


@pytest.fixture(autouse=True, params=["small", "one block", "blocks"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs through torch's operations, through the backward written by hand, and through that in two blocks."""
    if request.param != "small":
        monkeypatch.setattr(norms, "_SMALL_ELEMENTS", 0)
    if request.param == "blocks":
        monkeypatch.setattr(norms, "_BLOCK_ELEMENTS", 4 * HIDDEN)


def formula(x: Tensor, z: Tensor | None, weight: Tensor, group: int, norm_before_gate: bool) -> Tensor:
    """Channel by channel, with nothing but sums."""
    gate = torch.ones_like(x) if z is None else z / (1 + (-z).exp())
    seen = x if norm_before_gate else x * gate
    y = torch.empty_like(x)
    for start in range(0, x.shape[-1], group):
        part = seen[..., start : start + group]
        mean = sum(part[..., i] ** 2 for i in range(group)) / group
        y[..., start : start + group] = part / (mean[..., None] + EPS).sqrt() * weight[start : start + group]
    return y * gate if norm_before_gate else y


def norm(group_size: int | None, norm_before_gate: bool, dtype: torch.dtype = torch.float64) -> RMSNormGated:
    module = RMSNormGated(HIDDEN, EPS, group_size, norm_before_gate, dtype=dtype)
    with torch.no_grad():
        module.weight.copy_(torch.randn(HIDDEN))
    return module


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("norm_before_gate", [True, False])
@pytest.mark.parametrize("group_size", [None, 4, 1])
def test_against_the_formula(group_size: int | None, norm_before_gate: bool, gated: bool) -> None:
    module = norm(group_size, norm_before_gate)
    x = torch.randn(3, 2, HIDDEN, dtype=torch.float64)
    z = torch.randn_like(x) if gated else None
    expected = formula(x, z, module.weight, group_size or HIDDEN, norm_before_gate)
    torch.testing.assert_close(module(x, z), expected, rtol=1e-12, atol=1e-14)


def test_the_order_of_norm_and_gate_matters() -> None:
    x, z = torch.randn(2, 3, HIDDEN, dtype=torch.float64)
    before, after = norm(4, True), norm(4, False)
    after.load_state_dict(before.state_dict())
    assert not torch.allclose(before(x, z), after(x, z), rtol=0.1)


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("norm_before_gate", [True, False])
@pytest.mark.parametrize("group_size", [None, 4])
def test_fast_form_is_the_definition_with_every_gradient(
    group_size: int | None, norm_before_gate: bool, gated: bool
) -> None:
    x, z, dy = torch.randn(3, 3, 2, HIDDEN, dtype=torch.float64)
    weight = torch.randn(HIDDEN, dtype=torch.float64)
    leaves = [tensor.requires_grad_() for tensor in ((x, weight, z) if gated else (x, weight))]
    results = []
    for run in (rms_norm_gated, rms_norm_gated_plain):
        y = run(*leaves, eps=EPS, group_size=group_size, norm_before_gate=norm_before_gate)
        results.append([y, *torch.autograd.grad(y, leaves, dy)])
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm_before_gate", [True, False])
def test_gradients_are_those_of_finite_differences(norm_before_gate: bool) -> None:
    x, z = (torch.randn(5, HIDDEN, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weight = torch.randn(HIDDEN, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, weight, *z: rms_norm_gated(x, weight, *z, group_size=4, norm_before_gate=norm_before_gate),
        (x, weight, z),
    )
    assert torch.autograd.gradcheck(lambda x, weight: rms_norm_gated(x, weight, group_size=6), (x, weight))
    assert torch.autograd.gradcheck(l2norm, x)


def test_inputs_that_are_views_and_twice_the_same_bits() -> None:
    """Tokens turned around and channels cut out of something wider, as megatron hands them over."""
    wide = torch.randn(2, 3, 2 * HIDDEN)
    x, z = wide[..., :HIDDEN].transpose(0, 1), wide[..., HIDDEN:].transpose(0, 1)
    module = norm(4, False, torch.float32)
    # 12 channels fill no vector: torch rounds silu by where an element lies in memory
    torch.testing.assert_close(module(x, z), module(x.contiguous(), z.contiguous()), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(l2norm(x), l2norm(x.contiguous()), rtol=1e-6, atol=1e-7)
    assert torch.equal(module(x, z), module(x, z))
    assert torch.equal(l2norm(x), l2norm(x))


def test_second_derivatives_of_the_backward_written_by_hand_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms, "_SMALL_ELEMENTS", 0)
    x, weight = torch.randn(2, HIDDEN, requires_grad=True), torch.randn(HIDDEN)
    for name, y in {"rms_norm_gated": rms_norm_gated(x, weight), "l2norm": l2norm(x)}.items():
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        with pytest.raises(WorkbenchError, match=rf"^{name} can be differentiated once, not twice"):
            torch.autograd.grad(dx.sum(), x)


def test_half_precision_goes_in_and_out_and_float32_is_inside() -> None:
    module = norm(4, False, torch.bfloat16)
    x, z = (torch.randn(5, HIDDEN).bfloat16() for _ in range(2))
    y = module(x, z)
    assert y.dtype == torch.bfloat16
    exact = formula(x.double(), z.double(), module.weight.double(), 4, False)
    torch.testing.assert_close(y.double(), exact, rtol=2**-8, atol=1e-9)


def test_parameters_are_those_of_the_original() -> None:
    module = RMSNormGated(HIDDEN, dtype=torch.bfloat16)
    assert {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()} == {"weight": (HIDDEN,)}
    assert module.weight.dtype == torch.bfloat16
    assert module.weight.eq(1).all()
    assert module.bias is None
    assert (module.eps, module.group_size, module.norm_before_gate) == (1e-5, HIDDEN, True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_l2norm(dtype: torch.dtype) -> None:
    x = torch.randn(3, 4, 8).to(dtype)
    wide = x.double()
    expected = wide / (sum(wide[..., i] ** 2 for i in range(8))[..., None] + 1e-6).sqrt()
    bound = {torch.float64: 1e-13, torch.float32: 1e-6, torch.bfloat16: 2**-8}[dtype]
    y = l2norm(x)
    assert y.dtype == l2norm_plain(x).dtype == dtype
    torch.testing.assert_close(l2norm_plain(x).double(), expected, rtol=bound, atol=1e-14)
    torch.testing.assert_close(y.double(), expected, rtol=bound, atol=1e-14)
    assert l2norm(x, output_dtype=torch.float32).dtype == torch.float32


def test_l2norm_of_zero_is_zero_and_has_a_gradient() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    y = l2norm(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.eq(0).all()
    assert gradient.isfinite().all()


def test_nothing_comes_out_of_nothing() -> None:
    assert rms_norm_gated(torch.ones(0, 2, HIDDEN), torch.ones(HIDDEN)).shape == (0, 2, HIDDEN)
    assert l2norm(torch.ones(2, 0, 4)).shape == (2, 0, 4)


# ------------------------------------------------------------------------------------------------------


def test_groups_that_do_not_divide() -> None:
    with pytest.raises(WorkbenchError, match=r"^hidden_size 12 is not a multiple of group_size 5$"):
        RMSNormGated(HIDDEN, group_size=5)
    with pytest.raises(WorkbenchError, match=r"^12 channels are not a multiple of group_size 5$"):
        rms_norm_gated(torch.ones(2, HIDDEN), torch.ones(HIDDEN), group_size=5)


@pytest.mark.parametrize(
    ("x", "z", "message"),
    [
        ((2, 1), None, "shapes do not fit: x [2, 1], z None, weight [12]"),
        ((2, 12), (1, 12), "shapes do not fit: x [2, 12], z [1, 12], weight [12]"),
        ((2, 12), (2, 4), "shapes do not fit: x [2, 12], z [2, 4], weight [12]"),
    ],
)
def test_shapes_that_do_not_fit(x: tuple[int, ...], z: tuple[int, ...] | None, message: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        RMSNormGated(HIDDEN)(torch.ones(x), None if z is None else torch.ones(z))
    assert str(caught.value) == message
