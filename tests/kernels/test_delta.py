"""The chunked gated delta rule is the recurrence that defines it: values, states, gradients, causality, precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.errors import WorkbenchError
from workbench.kernels.delta import gated_delta_chunked, gated_delta_recurrent

BATCH, HEADS, KEY, VALUE = 2, 3, 4, 5
LENGTHS = [1, 7, 16, 17, 64, 100]


def inputs(length: int, start: bool = True, dtype: Any = torch.float64) -> dict[str, Any]:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64)

    given = {
        "q": F.normalize(normal(BATCH, length, HEADS, KEY), dim=-1),
        "k": F.normalize(normal(BATCH, length, HEADS, KEY), dim=-1),
        "v": normal(BATCH, length, HEADS, VALUE),
        "g": -normal(BATCH, length, HEADS).exp() * 0.3,
        "beta": normal(BATCH, length, HEADS).sigmoid(),
        "initial_state": normal(BATCH, HEADS, KEY, VALUE) if start else None,
    }
    return {name: None if tensor is None else tensor.to(dtype) for name, tensor in given.items()}


def run(kernel: Any, given: dict[str, Any], **options: Any) -> dict[str, Tensor]:
    """The output, the final state and the gradient of every input under fixed, unequal weights."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in given.items() if tensor is not None}
    o, state = kernel(**{**given, **leaves}, **options)
    loss = (o * torch.linspace(-1, 1, o.numel(), dtype=o.dtype).view_as(o)).sum()
    loss = loss + (state * torch.linspace(1, 2, state.numel(), dtype=state.dtype).view_as(state)).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {
        "o": o.detach(),
        "state": state.detach(),
        **{f"d{name}": grad for name, grad in zip(leaves, gradients, strict=True)},
    }


def distance(left: Tensor, right: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert left.shape == right.shape
    return float((left.double() - right.double()).abs().max() / right.double().abs().max().clamp(min=1e-300))


def close(got: dict[str, Tensor], expected: dict[str, Tensor], bound: float) -> dict[str, float]:
    """What is further apart than `bound`. The gradient of g at the first token of a zero state is zero: compare as is."""
    assert set(got) == set(expected)
    apart = {}
    for name in expected:
        scale = max(float(expected[name].abs().max()), 1e-3)
        apart[name] = float((got[name].double() - expected[name].double()).abs().max()) / scale
    return {name: far for name, far in apart.items() if far >= bound}


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("chunk_size", [1, 16, 256])
@pytest.mark.parametrize("length", LENGTHS)
def test_chunked_is_recurrent(length: int, chunk_size: int, start: bool) -> None:
    given = inputs(length, start)
    expected = run(gated_delta_recurrent, given)
    assert close(run(gated_delta_chunked, given, chunk_size=chunk_size), expected, 1e-10) == {}


@pytest.mark.parametrize("kernel", [gated_delta_recurrent, gated_delta_chunked])
def test_rule_by_hand(kernel: Any) -> None:
    k = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    v = torch.tensor([2.0, -1.0], dtype=torch.float64)
    g, beta = torch.tensor([-0.1, -0.5]).double(), torch.tensor([0.5, 0.25]).double()
    state = torch.zeros(2, dtype=torch.float64)
    outputs = []
    for t in range(2):
        state = state * g[t].exp()
        state = state + k[t] * beta[t] * (v[t] - k[t] @ state)
        outputs.append(3.0 * k[t] @ state)
    per_head = (k[None, :, None], k[None, :, None], v[None, :, None, None], g[None, :, None], beta[None, :, None])
    o, last = kernel(*per_head, scale=3.0)
    assert torch.allclose(o.flatten(), torch.stack(outputs), rtol=1e-14)
    assert torch.allclose(last.flatten(), state, rtol=1e-14)


@pytest.mark.parametrize("kernel", [gated_delta_recurrent, gated_delta_chunked])
def test_scale_multiplies_the_output_and_not_the_state(kernel: Any) -> None:
    given = inputs(17)
    (usual, usual_state), (scaled, state) = kernel(**given), kernel(**given, scale=3.0)
    assert distance(scaled, usual * 3.0 * KEY**0.5) < 1e-14
    assert torch.equal(state, usual_state)
    assert kernel(**given, scale=0.0)[0].eq(0).all()


@pytest.mark.parametrize("kernel", [gated_delta_recurrent, gated_delta_chunked])
def test_without_decay_a_full_write_is_read_back(kernel: Any) -> None:
    given = inputs(9) | {"g": torch.zeros(BATCH, 9, HEADS).double(), "beta": torch.ones(BATCH, 9, HEADS).double()}
    o, _ = kernel(**(given | {"q": given["k"]}), scale=1.0)
    assert distance(o, given["v"]) < 1e-12


@pytest.mark.parametrize("cut", [1, 16, 30])
@pytest.mark.parametrize("kernel", [gated_delta_recurrent, gated_delta_chunked])
def test_states_carry_a_sequence_on(kernel: Any, cut: int) -> None:
    given = inputs(33)
    whole, last = kernel(**given)
    tokens = ("q", "k", "v", "g", "beta")
    o_first, state = kernel(**(given | {name: given[name][:, :cut] for name in tokens}))
    o_second, end = kernel(**({name: given[name][:, cut:] for name in tokens} | {"initial_state": state}))
    assert distance(torch.cat([o_first, o_second], dim=1), whole) < 1e-10
    assert distance(end, last) < 1e-10


@pytest.mark.parametrize("kernel", [gated_delta_recurrent, gated_delta_chunked])
def test_gradients_are_those_of_finite_differences(kernel: Any) -> None:
    given = inputs(5)
    options = {"chunk_size": 2} if kernel is gated_delta_chunked else {}
    names = list(given)
    leaves = [given[name].requires_grad_() for name in names]
    assert torch.autograd.gradcheck(
        lambda *tensors: kernel(**dict(zip(names, tensors, strict=True)), **options), leaves, fast_mode=True
    )


@pytest.mark.parametrize("changed", [0, 1, 15, 16, 30])
@pytest.mark.parametrize("name", ["q", "k", "v", "g", "beta"])
@pytest.mark.parametrize("kernel", [gated_delta_recurrent, gated_delta_chunked])
def test_no_token_sees_a_later_one(kernel: Any, name: str, changed: int) -> None:
    given = inputs(33, dtype=torch.float32)
    before, _ = kernel(**given)
    other = given[name].clone()
    other[:, changed] += 0.5
    after, _ = kernel(**(given | {name: other}))
    assert torch.equal(before[:, :changed], after[:, :changed])
    assert not torch.equal(before[:, changed], after[:, changed])


@pytest.mark.parametrize("kernel", [gated_delta_recurrent, gated_delta_chunked])
def test_half_precision_goes_in_and_out_and_float32_is_inside(kernel: Any) -> None:
    given = inputs(40, dtype=torch.bfloat16)
    o, state = kernel(**given)
    assert (o.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    exact, exact_state = gated_delta_recurrent(**{name: tensor.double() for name, tensor in given.items()})
    assert distance(o, exact) < 2**-8  # only the last rounding is bfloat16
    assert distance(state, exact_state) < 1e-5


@pytest.mark.parametrize("kernel", [gated_delta_recurrent, gated_delta_chunked])
def test_float32_is_close_to_float64(kernel: Any) -> None:
    given = inputs(100, dtype=torch.float32)
    expected = run(gated_delta_recurrent, {name: tensor.double() for name, tensor in given.items()})
    got = run(kernel, given)
    assert got["o"].dtype == torch.float32
    assert close(got, expected, 2e-5) == {}


def test_strong_decay_stays_finite() -> None:
    given = inputs(64, dtype=torch.float32)
    given["g"] = given["g"] * 1e4
    assert all(bool(tensor.isfinite().all()) for tensor in run(gated_delta_chunked, given).values())


@pytest.mark.parametrize("kernel", [gated_delta_recurrent, gated_delta_chunked])
def test_twice_gives_the_same_bits(kernel: Any) -> None:
    given = inputs(100, dtype=torch.float32)
    first, second = run(kernel, given), run(kernel, given)
    assert all(torch.equal(first[name], second[name]) for name in first)


# ------------------------------------------------------------------------------------------------------

MISFITS: dict[str, dict[str, tuple[int, ...]]] = {
    "q is not four-dimensional": {"q": (BATCH, 6, KEY), "k": (BATCH, 6, KEY)},
    "q unlike k": {"q": (BATCH, 6, HEADS, KEY + 1)},
    "v with more heads": {"v": (BATCH, 6, 2 * HEADS, VALUE)},
    "g of another length": {"g": (BATCH, 5, HEADS)},
    "g for every channel": {"g": (BATCH, 6, HEADS, KEY)},
    "beta of one head would broadcast": {"beta": (BATCH, 6, 1)},
    "a state of one row would broadcast": {"initial_state": (1, HEADS, KEY, VALUE)},
    "a state turned round": {"initial_state": (BATCH, HEADS, VALUE, KEY)},
}


@pytest.mark.parametrize("kernel", [gated_delta_recurrent, gated_delta_chunked])
@pytest.mark.parametrize("wrong", MISFITS.values(), ids=MISFITS)
def test_shapes_that_do_not_fit(kernel: Any, wrong: dict[str, tuple[int, ...]]) -> None:
    given = inputs(6) | {name: torch.ones(shape, dtype=torch.float64) for name, shape in wrong.items()}
    with pytest.raises(WorkbenchError, match=r"^shapes do not fit: q \[") as caught:
        kernel(**given)
    assert all(f"{name} {list(shape)}" in str(caught.value) for name, shape in wrong.items())


@pytest.mark.parametrize("kernel", [gated_delta_recurrent, gated_delta_chunked])
def test_no_tokens(kernel: Any) -> None:
    with pytest.raises(WorkbenchError, match=r"^the gated delta rule needs at least one token$"):
        kernel(**inputs(0))


@pytest.mark.parametrize("chunk_size", [0, -1])
def test_a_chunk_is_a_token_at_least(chunk_size: int) -> None:
    with pytest.raises(WorkbenchError, match=rf"^chunk_size must be at least 1 token, not {chunk_size}$"):
        gated_delta_chunked(**inputs(6), chunk_size=chunk_size)
