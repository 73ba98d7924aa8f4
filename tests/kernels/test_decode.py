"""A step of decoding is a token of the whole sequence: outputs, states in their slots, what is left alone, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.errors import WorkbenchError
from workbench.kernels.conv import causal_conv, last_tokens
from workbench.kernels.decode import causal_conv1d_update, selective_state_update
from workbench.kernels.ssd import ssd_recurrent

ROWS, CHANNELS, HEADS, WIDTH, GROUPS, STATE = 3, 6, 4, 3, 2, 5
# Rows 0 and 2 have states, in slots 3 and 0 of five; row 1 is padding.
SLOTS, INDICES = 5, torch.tensor([3, -1, 0], dtype=torch.int32)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def same(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-12)


def scan_inputs(*step: int, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """`step` is [s], or nothing for inputs without a token dimension."""
    given = {
        "x": normal(ROWS, *step, HEADS, WIDTH),
        "dt": normal(ROWS, *step, HEADS, 1).expand(ROWS, *step, HEADS, WIDTH),
        "A": -normal(HEADS, 1, 1).exp().expand(HEADS, WIDTH, STATE),
        "B": normal(ROWS, *step, GROUPS, STATE),
        "C": normal(ROWS, *step, GROUPS, STATE),
    }
    return {name: tensor.to(dtype) for name, tensor in given.items()}


TOKENS = ("x", "dt", "B", "C", "z")


def cut(given: dict[str, Any], start: int, end: int) -> dict[str, Any]:
    return {name: value[:, start:end] if name in TOKENS else value for name, value in given.items()}


# ------------------------------------------------------------------------------ the convolution


@pytest.mark.parametrize("activation", [None, "silu", "swish"])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("width", "length"), [(1, 0), (2, 1), (4, 3), (4, 4), (4, 7)])
@pytest.mark.parametrize("step", [1, 3])
def test_conv_steps_are_the_sequence(
    step: int, width: int, length: int, with_bias: bool, activation: str | None
) -> None:
    x, weight = normal(ROWS, 6, CHANNELS), normal(CHANNELS, width)
    bias, state = normal(CHANNELS) if with_bias else None, normal(ROWS, CHANNELS, length)
    channels_first, before = x.transpose(1, 2), state[..., length - width + 1 :].clone()
    expected = causal_conv(channels_first, weight, bias, activation=activation, before=before)
    last = last_tokens(channels_first, length, state.clone())
    steps = [causal_conv1d_update(x[:, t : t + step], state, weight, bias, activation, None) for t in range(0, 6, step)]
    same(torch.cat(steps, dim=1).transpose(1, 2), expected)
    assert torch.equal(state, last)


def test_conv_of_a_single_token_without_its_dimension() -> None:
    x, weight, state = normal(ROWS, CHANNELS), normal(CHANNELS, 4), normal(ROWS, CHANNELS, 4)
    other = state.clone()
    y = causal_conv1d_update(x, state, weight, None, "silu", None)
    assert torch.equal(y, causal_conv1d_update(x[:, None], other, weight, None, "silu", None)[:, 0])
    assert torch.equal(state, other)


def test_conv_in_slots() -> None:
    x, weight, state = normal(ROWS, 3, CHANNELS), normal(CHANNELS, 4), normal(SLOTS, CHANNELS, 4)
    before, between = state.clone(), torch.full((SLOTS, 3, CHANNELS, 4), torch.nan, dtype=torch.float64)
    y = causal_conv1d_update(x, state, weight, None, None, INDICES, between)
    assert y[1].eq(0).all()
    for row, slot in ((0, 3), (2, 0)):
        alone = before[slot : slot + 1].clone()
        for t in range(3):
            same(y[row, t], causal_conv1d_update(x[row : row + 1, t], alone, weight, None, None, None)[0])
            assert torch.equal(between[slot, t], alone[0])
        assert torch.equal(state[slot], alone[0])
    untouched = [1, 2, 4]
    assert torch.equal(state[untouched], before[untouched])
    assert between[untouched].isnan().all()


def test_conv_keeps_the_dtypes_of_x_and_of_the_state() -> None:
    x, state = normal(ROWS, CHANNELS).bfloat16(), normal(ROWS, CHANNELS, 4).float()
    y = causal_conv1d_update(x, state, normal(CHANNELS, 4).bfloat16(), None, "silu", None)
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(state[..., -1], x.float())


# ------------------------------------------------------------------------------ the scan


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("prepared", [True, False])
@pytest.mark.parametrize("step", [1, 3])
def test_scan_steps_are_the_sequence(step: int, prepared: bool, gated: bool) -> None:
    given, state = scan_inputs(6), normal(ROWS, HEADS, WIDTH, STATE)
    dt, options = given["dt"][..., 0], {}
    if prepared:
        bias, D = normal(HEADS), normal(HEADS, WIDTH)
        options = {"D": D, "dt_bias": bias[:, None].expand(HEADS, WIDTH), "dt_softplus": True}
        dt = F.softplus(dt + bias)
    expected, last = ssd_recurrent(
        given["x"], dt, given["A"][:, 0, 0], given["B"], given["C"], D=options.get("D"), initial_state=state.clone()
    )
    if gated:
        given["z"] = normal(ROWS, 6, HEADS, WIDTH)
        expected = expected * F.silu(given["z"])
    steps = [selective_state_update(state, **cut(given, t, t + step), **options) for t in range(0, 6, step)]
    same(torch.cat(steps, dim=1), expected)
    same(state, last)


def test_scan_with_a_decay_and_a_step_for_every_channel() -> None:
    given, state = scan_inputs(1), normal(ROWS, HEADS, WIDTH, STATE)
    given |= {"dt": normal(ROWS, 1, HEADS, WIDTH), "A": -normal(HEADS, WIDTH, STATE).exp()}
    expected = torch.zeros(ROWS, HEADS, WIDTH, dtype=torch.float64)
    before = state.clone()
    y = selective_state_update(state, **given)
    for h in range(HEADS):
        for p in range(WIDTH):
            for n in range(STATE):
                dt, g = given["dt"][:, 0, h, p], h // (HEADS // GROUPS)
                new = (dt * given["A"][h, p, n]).exp() * before[:, h, p, n]
                new = new + dt * given["B"][:, 0, g, n] * given["x"][:, 0, h, p]
                same(state[:, h, p, n], new)
                expected[:, h, p] += new * given["C"][:, 0, g, n]
    same(y[:, 0], expected)


def test_scan_of_a_single_token_without_its_dimension() -> None:
    given, state = scan_inputs() | {"z": normal(ROWS, HEADS, WIDTH)}, normal(ROWS, HEADS, WIDTH, STATE)
    other = state.clone()
    y = selective_state_update(state, **given)
    widened = {name: tensor[:, None] if name in TOKENS else tensor for name, tensor in given.items()}
    assert torch.equal(y, selective_state_update(other, **widened)[:, 0])
    assert torch.equal(state, other)


def test_scan_in_slots() -> None:
    given, state = scan_inputs(3), normal(SLOTS, HEADS, WIDTH, STATE)
    before, between = state.clone(), torch.full((SLOTS, 3, HEADS, WIDTH, STATE), torch.nan, dtype=torch.float64)
    y = selective_state_update(state, **given, state_batch_indices=INDICES, intermediate_ssm_states=between)
    assert y[1].eq(0).all()
    for row, slot in ((0, 3), (2, 0)):
        alone = before[slot : slot + 1].clone()
        own = {name: tensor[row : row + 1] if name in TOKENS else tensor for name, tensor in given.items()}
        for t in range(3):
            same(y[row, t], selective_state_update(alone, **cut(own, t, t + 1))[0, 0])
            same(between[slot, t], alone[0])
        same(state[slot], alone[0])
    untouched = [1, 2, 4]
    assert torch.equal(state[untouched], before[untouched])
    assert between[untouched].isnan().all()


def test_scan_keeps_the_dtypes_of_x_and_of_the_state_and_rounds_once() -> None:
    given = scan_inputs(1, dtype=torch.bfloat16)
    state = normal(ROWS, HEADS, WIDTH, STATE).bfloat16()
    wide = state.double()
    y = selective_state_update(state, **given)
    exact = selective_state_update(wide, **{name: tensor.double() for name, tensor in given.items()})
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.bfloat16)
    torch.testing.assert_close(y.double(), exact, rtol=2**-8, atol=1e-5)
    torch.testing.assert_close(state.double(), wide, rtol=2**-8, atol=1e-5)


def test_all_padding_changes_nothing() -> None:
    nothing = torch.full((ROWS,), -1)
    conv, state = normal(SLOTS, CHANNELS, 4), normal(SLOTS, HEADS, WIDTH, STATE)
    before = conv.clone(), state.clone()
    y = causal_conv1d_update(normal(ROWS, CHANNELS), conv, normal(CHANNELS, 4), None, "silu", nothing)
    assert y.eq(0).all()
    assert selective_state_update(state, **scan_inputs(), state_batch_indices=nothing).eq(0).all()
    assert torch.equal(conv, before[0])
    assert torch.equal(state, before[1])


def test_no_gradient_is_recorded() -> None:
    given, state = scan_inputs(1), normal(ROWS, HEADS, WIDTH, STATE)
    given["x"].requires_grad_()
    assert not selective_state_update(state, **given).requires_grad
    weight, conv = normal(CHANNELS, 4).requires_grad_(), normal(ROWS, CHANNELS, 4)
    assert not causal_conv1d_update(normal(ROWS, CHANNELS), conv, weight, None, None, None).requires_grad
    assert not state.requires_grad
    assert not conv.requires_grad


# ------------------------------------------------------------------------------ what is refused

CONV_MISFITS: dict[str, dict[str, tuple[int, ...]]] = {
    "other channels": {"x": (ROWS, 1, CHANNELS + 1)},
    "no tokens": {"x": (ROWS, 0, CHANNELS)},
    "a state too short": {"conv_state": (ROWS, CHANNELS, 2)},
    "weight as torch has it": {"weight": (CHANNELS, 1, 4)},
    "bias of one channel": {"bias": (1,)},
    "intermediate states of one token": {"x": (ROWS, 2, CHANNELS), "intermediate_conv_states": (ROWS, 1, CHANNELS, 4)},
}


@pytest.mark.parametrize("wrong", CONV_MISFITS.values(), ids=CONV_MISFITS)
def test_conv_shapes_that_do_not_fit(wrong: dict[str, tuple[int, ...]]) -> None:
    shapes = {"x": (ROWS, 1, CHANNELS), "conv_state": (ROWS, CHANNELS, 4), "weight": (CHANNELS, 4), "bias": (CHANNELS,)}
    given: dict[str, Any] = {name: normal(*shape) for name, shape in (shapes | wrong).items()}
    with pytest.raises(WorkbenchError, match=r"^causal_conv1d_update: shapes do not fit: x \[") as caught:
        causal_conv1d_update(**given, silu_activation="silu", conv_state_indices=None)
    assert all(f"{name} {list(shape)}" in str(caught.value) for name, shape in wrong.items())


SCAN_MISFITS: dict[str, dict[str, tuple[int, ...]]] = {
    "a state without heads, as Mamba-1 has": {"state": (ROWS, WIDTH, STATE)},
    "a state turned round": {"state": (ROWS, HEADS, STATE, WIDTH)},
    "no tokens": {"x": (ROWS, 0, HEADS, WIDTH)},
    "dt for every head": {"dt": (ROWS, 1, HEADS)},
    "A for every head": {"A": (HEADS,)},
    "B unlike C": {"B": (ROWS, 1, GROUPS, STATE + 1)},
    "B without groups": {"B": (ROWS, 1, STATE)},
    "D for every head": {"D": (HEADS,)},
    "z of one channel": {"z": (ROWS, 1, HEADS, 1)},
    "dt_bias for every head": {"dt_bias": (HEADS,)},
    "intermediate states of two tokens": {"intermediate_ssm_states": (ROWS, 2, HEADS, WIDTH, STATE)},
}


@pytest.mark.parametrize("wrong", SCAN_MISFITS.values(), ids=SCAN_MISFITS)
def test_scan_shapes_that_do_not_fit(wrong: dict[str, tuple[int, ...]]) -> None:
    given = {"state": normal(ROWS, HEADS, WIDTH, STATE)} | scan_inputs(1)
    given |= {name: normal(*shape) for name, shape in wrong.items()}
    with pytest.raises(WorkbenchError, match=r"^selective_state_update: shapes do not fit: state \[") as caught:
        selective_state_update(**given)
    assert all(f"{name} {list(shape)}" in str(caught.value) for name, shape in wrong.items())


def test_uneven_groups() -> None:
    given = scan_inputs(1) | {"B": normal(ROWS, 1, 3, STATE), "C": normal(ROWS, 1, 3, STATE)}
    with pytest.raises(WorkbenchError, match=r"^selective_state_update: 4 heads are not a multiple of 3 groups$"):
        selective_state_update(normal(ROWS, HEADS, WIDTH, STATE), **given)


def test_unknown_activation_leaves_the_state_alone() -> None:
    state = normal(ROWS, CHANNELS, 4)
    before = state.clone()
    with pytest.raises(WorkbenchError, match=r"^activation must be None, 'silu' or 'swish', not True$"):
        causal_conv1d_update(normal(ROWS, CHANNELS), state, normal(CHANNELS, 4), None, True, None)  # type: ignore[arg-type]
    assert torch.equal(state, before)


@pytest.mark.parametrize("scan", [True, False])
@pytest.mark.parametrize(
    ("indices", "message"),
    [
        # A batch given as tokens looks like this, and would be scanned as one sequence.
        (None, "3 rows and 5 states; match them, or give {name}"),
        ([0, 1], "{name} must be [3], one slot a row, not [2]"),
        ([0, 1, 5], "{name} must name different slots below 5, not [0, 1, 5]"),
        ([2, -1, 2], "{name} must name different slots below 5, not [2, -1, 2]"),
    ],
)
def test_slots_that_are_not_there_or_not_different(indices: list[int] | None, message: str, scan: bool) -> None:
    slots = None if indices is None else torch.tensor(indices)
    conv = (normal(ROWS, CHANNELS), normal(SLOTS, CHANNELS, 4), normal(CHANNELS, 4), None, "silu", slots)
    state, given = normal(SLOTS, HEADS, WIDTH, STATE), scan_inputs(1) | {"state_batch_indices": slots}
    with pytest.raises(WorkbenchError) as caught:
        _ = selective_state_update(state, **given) if scan else causal_conv1d_update(*conv)
    function, name = (
        ("selective_state_update", "state_batch_indices") if scan else ("causal_conv1d_update", "conv_state_indices")
    )
    assert str(caught.value) == f"{function}: {message.format(name=name)}"
