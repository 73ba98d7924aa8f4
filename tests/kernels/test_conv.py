"""The causal convolution against its definition and torch's own, packed and in blocks, and the tokens that it hands on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.errors import WorkbenchError
from workbench.kernels import conv
from workbench.kernels.conv import causal_conv, causal_conv_plain, last_tokens

BATCH, CHANNELS = 2, 6


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("activation", [None, "silu", "swish"])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 3, 16])
def test_against_torch_with_padding(length: int, width: int, with_bias: bool, activation: str | None) -> None:
    x, weight, bias = normal(BATCH, CHANNELS, length), normal(CHANNELS, width), normal(CHANNELS) if with_bias else None
    expected = F.conv1d(x, weight[:, None], bias, padding=width - 1, groups=CHANNELS)[..., :length]
    if activation is not None:
        expected = expected * expected.sigmoid()
    torch.testing.assert_close(causal_conv(x, weight, bias, activation=activation), expected, rtol=1e-12, atol=1e-14)


def test_formula_of_the_docstring() -> None:
    x, weight, bias, before = (
        normal(BATCH, CHANNELS, 5),
        normal(CHANNELS, 4),
        normal(CHANNELS),
        normal(BATCH, CHANNELS, 3),
    )
    seen = torch.cat([before, x], dim=-1)  # token t of x is token t + 3 here
    expected = torch.stack([bias + sum(weight[:, i] * seen[..., t + i] for i in range(4)) for t in range(5)], dim=-1)
    torch.testing.assert_close(causal_conv(x, weight, bias, before=before), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cut", [1, 2, 3, 9])
def test_states_carry_a_sequence_on(cut: int) -> None:
    x, weight, before = normal(BATCH, CHANNELS, 11), normal(CHANNELS, 4), normal(BATCH, CHANNELS, 3)
    whole = causal_conv(x, weight, before=before, activation="silu")
    first, second = x[..., :cut], x[..., cut:]
    parts = [
        causal_conv(first, weight, before=before, activation="silu"),
        causal_conv(second, weight, before=last_tokens(first, 3, before), activation="silu"),
    ]
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, rtol=1e-12, atol=1e-14)


PACKINGS = {
    "several lengths": [[0, 0, 0, 1, 2, 2, 2, 2, 2, 3, 3], [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 4]],
    "a number comes back": [[0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0]] * 2,
}


def kinds_of_front(rows: int, channels: int, width: int) -> dict[str, dict[str, Any]]:
    packings = {name: {"seq_idx": torch.tensor(index)} for name, index in PACKINGS.items()}
    return {"nothing before": {}, "before": {"before": normal(rows, channels, width - 1)}} | packings


@pytest.fixture(params=[conv._BLOCK_ELEMENTS, 4 * CHANNELS])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything in one block, and rows and tokens in several."""
    monkeypatch.setattr(conv, "_BLOCK_ELEMENTS", request.param)


@pytest.mark.parametrize("activation", [None, "silu"])
@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("front", list(kinds_of_front(1, 1, 1)))
@pytest.mark.usefixtures("block")
def test_fast_form_is_the_definition_with_every_gradient(front: str, width: int, activation: str | None) -> None:
    given = {"x": normal(BATCH, CHANNELS, 11), "weight": normal(CHANNELS, width), "bias": normal(CHANNELS)}
    given |= kinds_of_front(BATCH, CHANNELS, width)[front]
    leaves = [tensor.requires_grad_() for tensor in given.values() if tensor.is_floating_point()]
    dy = normal(BATCH, CHANNELS, 11)
    results = []
    for form in (causal_conv, causal_conv_plain):
        y = form(**given, activation=activation)  # type: ignore[arg-type]
        results.append([y, *torch.autograd.grad(y, leaves, dy, materialize_grads=True)])
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("front", list(kinds_of_front(1, 1, 1)))
@pytest.mark.usefixtures("block")
def test_gradients_are_those_of_finite_differences(front: str) -> None:
    leaves = {"x": normal(2, 3, 11), "weight": normal(3, 4), "bias": normal(3)} | kinds_of_front(2, 3, 4)[front]
    tensors = [leaf.requires_grad_(leaf.is_floating_point()) for leaf in leaves.values()]
    assert torch.autograd.gradcheck(
        lambda *given: causal_conv(**dict(zip(leaves, given, strict=True)), activation="silu"),  # type: ignore[misc]
        tensors,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_packed_sequence_is_as_if_alone_even_beside_infinities(dtype: torch.dtype) -> None:
    # 32 channels: silu rounds elements that fill no vector differently
    x, weight, dy = normal(1, 32, 11).to(dtype), normal(32, 4).to(dtype), normal(1, 32, 11).to(dtype)
    x[..., 3], dy[..., 4] = float("inf"), float("nan")
    packed = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3]])
    whole = x.clone().requires_grad_()
    y = causal_conv(whole, weight, activation="silu", seq_idx=packed)
    y.backward(dy)
    assert whole.grad is not None
    for start, end in [(0, 3), (5, 8), (8, 11)]:
        part = x[..., start:end].clone().requires_grad_()
        alone = causal_conv(part, weight, activation="silu")
        alone.backward(dy[..., start:end])
        assert torch.equal(y[..., start:end], alone)
        assert part.grad is not None
        assert torch.equal(whole.grad[..., start:end], part.grad)


def test_layouts_give_the_same_bits() -> None:
    """[b, d, l] and the transpose of [b, l, d], dense or cut out of something wider."""
    x, weight = normal(BATCH, CHANNELS, 8).float(), normal(CHANNELS, 4).float()
    wide = torch.cat([x, x], dim=1).transpose(1, 2).contiguous()
    expected = causal_conv(x, weight, activation="silu")
    assert expected.transpose(1, 2).is_contiguous()
    assert torch.equal(causal_conv(x.transpose(1, 2).contiguous().transpose(1, 2), weight, activation="silu"), expected)
    assert torch.equal(causal_conv(wide[..., CHANNELS:].transpose(1, 2), weight, activation="silu"), expected)


def test_second_derivatives_are_refused() -> None:
    x, weight = normal(1, 2, 5).requires_grad_(), normal(2, 4)
    (dx,) = torch.autograd.grad(causal_conv(x, weight).square().sum(), x, create_graph=True)
    with pytest.raises(WorkbenchError, match=r"^causal_conv can be differentiated once"):
        torch.autograd.grad(dx.sum(), x)


@pytest.mark.parametrize("changed", [0, 4, 9])
def test_no_token_sees_a_later_one_or_one_further_back_than_the_width(changed: int) -> None:
    x, weight = normal(BATCH, CHANNELS, 16).float(), normal(CHANNELS, 4).float()
    other = x.clone()
    other[..., changed] += 1.0
    same = (causal_conv(x, weight) == causal_conv(other, weight)).all(dim=1).all(dim=0)
    assert [t for t in range(16) if not same[t]] == list(range(changed, changed + 4))


def test_dtype_of_x_comes_out() -> None:
    x, weight, bias = normal(BATCH, CHANNELS, 8), normal(CHANNELS, 4), normal(CHANNELS)
    y = causal_conv(x.bfloat16(), weight.float(), bias.float(), before=normal(BATCH, CHANNELS, 3).float())
    assert y.dtype == torch.bfloat16
    exact = causal_conv(x, weight, bias, activation="silu")
    torch.testing.assert_close(
        causal_conv(x.float(), weight, bias, activation="silu").double(), exact, rtol=1e-4, atol=1e-6
    )


def test_twice_gives_the_same_bits() -> None:
    x, weight = normal(BATCH, CHANNELS, 64).float(), normal(CHANNELS, 4).float()
    assert torch.equal(causal_conv(x, weight, activation="silu"), causal_conv(x, weight, activation="silu"))


@pytest.mark.parametrize(
    ("length", "before", "expected"),
    [
        (5, None, [3, 4, 5]),
        (3, None, [1, 2, 3]),
        (1, None, [0, 0, 1]),
        (1, [-3, -2, -1], [-2, -1, 1]),
        (4, [-3, -2, -1], [2, 3, 4]),
        (1, [-1], [0, -1, 1]),
    ],
)
def test_last_tokens(length: int, before: list[int] | None, expected: list[int]) -> None:
    x = torch.arange(1, length + 1)[None, None]
    front = None if before is None else torch.tensor(before)[None, None]
    assert last_tokens(x, 3, front).tolist() == [[expected]]
    assert last_tokens(x, 0, front).shape == (1, 1, 0)


# ------------------------------------------------------------------------------------------------------


def test_unknown_activation() -> None:
    with pytest.raises(WorkbenchError, match=r"^activation must be None, 'silu' or 'swish', not 'relu'$"):
        causal_conv(normal(BATCH, CHANNELS, 4), normal(CHANNELS, 4), activation="relu")


MISFITS: dict[str, dict[str, tuple[int, ...]]] = {
    "x [d, l]": {"x": (CHANNELS, 8)},
    "other channels": {"x": (BATCH, CHANNELS + 1, 8)},
    "weight as torch has it": {"weight": (CHANNELS, 1, 4)},
    "bias of one channel": {"bias": (1,)},
    "before too short": {"before": (BATCH, CHANNELS, 2)},
    "before of one row": {"before": (1, CHANNELS, 3)},
    "no taps": {"weight": (CHANNELS, 0)},
}


@pytest.mark.parametrize("wrong", MISFITS.values(), ids=MISFITS)
def test_shapes_that_do_not_fit(wrong: dict[str, tuple[int, ...]]) -> None:
    shapes = {"x": (BATCH, CHANNELS, 8), "weight": (CHANNELS, 4), "bias": (CHANNELS,), "before": (BATCH, CHANNELS, 3)}
    given = {name: normal(*shape) for name, shape in (shapes | wrong).items()}
    with pytest.raises(WorkbenchError, match=r"^shapes do not fit: x \[") as caught:
        causal_conv(**given)  # type: ignore[arg-type]
    assert all(f"{name} {list(shape)}" in str(caught.value) for name, shape in wrong.items())


def test_no_tokens() -> None:
    for form in (causal_conv, causal_conv_plain):
        with pytest.raises(WorkbenchError, match=r"^a convolution needs at least one token$"):
            form(normal(BATCH, CHANNELS, 0), normal(CHANNELS, 4))


def test_an_index_that_does_not_fit_and_one_beside_a_state() -> None:
    x, weight = normal(BATCH, CHANNELS, 4), normal(CHANNELS, 4)
    with pytest.raises(WorkbenchError, match=r"^seq_idx must be \[2, 4\] \(rows, tokens\), not \[1, 4\]$"):
        causal_conv(x, weight, seq_idx=torch.zeros(1, 4))
    with pytest.raises(
        WorkbenchError, match=r"^packed sequences \(seq_idx\) have nothing before them; leave `before` out$"
    ):
        causal_conv(x, weight, seq_idx=torch.zeros(2, 4), before=normal(BATCH, CHANNELS, 3))
