"""The chunked scan of Mamba-2 is the recurrence that defines it: values, states, gradients, causality, precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.kernels.ssd import ssd_chunked, ssd_recurrent

BATCH, HEADS, WIDTH, STATE = 2, 4, 3, 5
LENGTHS = [1, 7, 16, 17, 64, 100]
D_SHAPES = {"none": None, "[h]": (HEADS,), "[h, p]": (HEADS, WIDTH)}


def inputs(
    length: int, groups: int = 2, d: str = "[h]", start: bool = True, dtype: Any = torch.float64
) -> dict[str, Any]:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64)

    d_shape = D_SHAPES[d]
    given = {
        "x": normal(BATCH, length, HEADS, WIDTH),
        "dt": normal(BATCH, length, HEADS).exp() * 0.3,
        "A": -torch.rand(HEADS, dtype=torch.float64) - 0.1,
        "B": normal(BATCH, length, groups, STATE),
        "C": normal(BATCH, length, groups, STATE),
        "D": None if d_shape is None else normal(*d_shape),
        "initial_state": normal(BATCH, HEADS, WIDTH, STATE) if start else None,
    }
    return {name: None if tensor is None else tensor.to(dtype) for name, tensor in given.items()}


def run(kernel: Any, given: dict[str, Any], **options: Any) -> dict[str, Tensor]:
    """The output, the final state and the gradient of every input under fixed, unequal weights."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in given.items() if tensor is not None}
    y, state = kernel(**{**given, **leaves}, **options)
    loss = (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum()
    loss = loss + (state * torch.linspace(1, 2, state.numel(), dtype=state.dtype).view_as(state)).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {
        "y": y.detach(),
        "state": state.detach(),
        **{f"d{name}": grad for name, grad in zip(leaves, gradients, strict=True)},
    }


def distance(left: Tensor, right: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert left.shape == right.shape
    return float((left.double() - right.double()).abs().max() / right.double().abs().max().clamp(min=1e-300))


@pytest.mark.parametrize("chunk_size", [1, 16, 256])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("length", LENGTHS)
def test_chunked_is_recurrent(length: int, groups: int, chunk_size: int) -> None:
    given = inputs(length, groups)
    expected, got = run(ssd_recurrent, given), run(ssd_chunked, given, chunk_size=chunk_size)
    assert {name: distance(got[name], expected[name]) < 1e-10 for name in expected} == dict.fromkeys(expected, True)


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("d", D_SHAPES)
def test_chunked_is_recurrent_for_every_skip_and_start(d: str, start: bool) -> None:
    given = inputs(17, d=d, start=start)
    expected, got = run(ssd_recurrent, given), run(ssd_chunked, given, chunk_size=8)
    assert set(expected) == set(got)
    assert ("dD" in got, "dinitial_state" in got) == (d != "none", start)
    assert max(distance(got[name], expected[name]) for name in expected) < 1e-10


def test_recurrence_by_hand() -> None:
    one = torch.ones(1, 2, 1, 1, dtype=torch.float64)
    dt = torch.tensor([[[0.5], [2.0]]], dtype=torch.float64)
    A, D = torch.tensor([-1.0]).double(), torch.tensor([10.0]).double()
    y, state = ssd_recurrent(one, dt, A, 3 * one, 2 * one, D=D)
    first = 0.5 * 3
    second = first * torch.exp(torch.tensor(-2.0).double()) + 2.0 * 3
    assert torch.allclose(y.flatten(), torch.tensor([2 * first + 10, 2 * float(second) + 10]).double(), rtol=1e-14)
    assert torch.allclose(state.flatten(), second)


@pytest.mark.parametrize("cut", [1, 16, 30])
@pytest.mark.parametrize("kernel", [ssd_recurrent, ssd_chunked])
def test_states_carry_a_sequence_on(kernel: Any, cut: int) -> None:
    given = inputs(33)
    whole, last = kernel(**given)
    tokens = ("x", "dt", "B", "C")
    first = given | {name: given[name][:, :cut] for name in tokens}
    second = given | {name: given[name][:, cut:] for name in tokens}
    y_first, state = kernel(**first)
    y_second, end = kernel(**(second | {"initial_state": state}))
    assert distance(torch.cat([y_first, y_second], dim=1), whole) < 1e-10
    assert distance(end, last) < 1e-10


@pytest.mark.parametrize("kernel", [ssd_recurrent, ssd_chunked])
def test_gradients_are_those_of_finite_differences(kernel: Any) -> None:
    given = inputs(5, d="[h, p]")
    names = list(given)
    options = {"chunk_size": 2} if kernel is ssd_chunked else {}
    leaves = [given[name].requires_grad_() for name in names]
    assert torch.autograd.gradcheck(
        lambda *tensors: kernel(**dict(zip(names, tensors, strict=True)), **options), leaves, fast_mode=True
    )


@pytest.mark.parametrize("changed", [0, 1, 15, 16, 30])
@pytest.mark.parametrize("name", ["x", "dt", "B", "C"])
@pytest.mark.parametrize("kernel", [ssd_recurrent, ssd_chunked])
def test_no_token_sees_a_later_one(kernel: Any, name: str, changed: int) -> None:
    given = inputs(33, dtype=torch.float32)
    options = {"chunk_size": 16} if kernel is ssd_chunked else {}
    before, _ = kernel(**given, **options)
    other = given[name].clone()
    other[:, changed] += 0.5
    after, _ = kernel(**(given | {name: other}), **options)
    assert torch.equal(before[:, :changed], after[:, :changed])
    assert not torch.equal(before[:, changed], after[:, changed])


@pytest.mark.parametrize("kernel", [ssd_recurrent, ssd_chunked])
def test_half_precision_goes_in_and_out_and_float32_is_inside(kernel: Any) -> None:
    given = inputs(40, dtype=torch.bfloat16)
    y, state = kernel(**given)
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    exact, exact_state = ssd_recurrent(**{name: tensor.double() for name, tensor in given.items()})
    assert distance(y, exact) < 2**-8  # only the last rounding is bfloat16
    assert distance(state, exact_state) < 1e-5


@pytest.mark.parametrize("kernel", [ssd_recurrent, ssd_chunked])
def test_float32_is_close_to_float64(kernel: Any) -> None:
    given = inputs(100, dtype=torch.float32)
    got = run(kernel, given)
    expected = run(ssd_recurrent, {name: tensor.double() for name, tensor in given.items()})
    assert got["y"].dtype == torch.float32
    assert max(distance(got[name], expected[name]) for name in expected) < 2e-5


def test_strong_decay_stays_finite() -> None:
    given = inputs(64, dtype=torch.float32) | {"A": torch.full((HEADS,), -1e4)}
    assert all(bool(tensor.isfinite().all()) for tensor in run(ssd_chunked, given).values())


@pytest.mark.parametrize("kernel", [ssd_recurrent, ssd_chunked])
def test_twice_gives_the_same_bits(kernel: Any) -> None:
    given = inputs(100, dtype=torch.float32)
    first, second = run(kernel, given), run(kernel, given)
    assert all(torch.equal(first[name], second[name]) for name in first)


# ------------------------------------------------------------------------------------------------------

MISFITS: dict[str, dict[str, tuple[int, ...]]] = {
    "x is not four-dimensional": {"x": (BATCH, 6, HEADS)},
    "dt of another length": {"dt": (BATCH, 5, HEADS)},
    "A of one head would broadcast": {"A": (1,)},
    "B unlike C": {"B": (BATCH, 6, 2, STATE + 1)},
    "B and C of another length": {"B": (BATCH, 5, 2, STATE), "C": (BATCH, 5, 2, STATE)},
    "B and C without groups": {"B": (BATCH, 6, STATE), "C": (BATCH, 6, STATE)},
    "D of one head would broadcast": {"D": (1,)},
    "D [p]": {"D": (WIDTH,)},
    "D [h, p, n]": {"D": (HEADS, WIDTH, STATE)},
    "a state of one row would broadcast": {"initial_state": (1, HEADS, WIDTH, STATE)},
    "a state turned round": {"initial_state": (BATCH, HEADS, STATE, WIDTH)},
}


@pytest.mark.parametrize("kernel", [ssd_recurrent, ssd_chunked])
@pytest.mark.parametrize("wrong", MISFITS.values(), ids=MISFITS)
def test_shapes_that_do_not_fit(kernel: Any, wrong: dict[str, tuple[int, ...]]) -> None:
    given = inputs(6) | {name: torch.ones(shape, dtype=torch.float64) for name, shape in wrong.items()}
    with pytest.raises(WorkbenchError, match=r"^shapes do not fit: x \[") as caught:
        kernel(**given)
    assert all(f"{name} {list(shape)}" in str(caught.value) for name, shape in wrong.items())


@pytest.mark.parametrize("kernel", [ssd_recurrent, ssd_chunked])
def test_the_message_lists_every_shape(kernel: Any) -> None:
    with pytest.raises(WorkbenchError) as caught:
        kernel(**(inputs(6, start=False) | {"A": torch.ones(1)}))
    assert str(caught.value) == (
        "shapes do not fit: x [2, 6, 4, 3], dt [2, 6, 4], A [1], B [2, 6, 2, 5], C [2, 6, 2, 5], D [4]"
    )


@pytest.mark.parametrize("kernel", [ssd_recurrent, ssd_chunked])
def test_no_tokens_and_uneven_groups(kernel: Any) -> None:
    with pytest.raises(WorkbenchError, match=r"^a scan needs at least one token$"):
        kernel(**inputs(0))
    for groups in (0, 3):
        with pytest.raises(WorkbenchError, match=rf"^4 heads are not a multiple of {groups} groups$"):
            kernel(**inputs(6, groups=groups))


@pytest.mark.parametrize("chunk_size", [0, -1])
def test_a_chunk_is_a_token_at_least(chunk_size: int) -> None:
    with pytest.raises(WorkbenchError, match=rf"^chunk_size must be at least 1 token, not {chunk_size}$"):
        ssd_chunked(**inputs(6), chunk_size=chunk_size)
