"""Packed sequences and the hand-written backward of the chunked delta rule: each sequence is what it is alone; hostile values."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.kernels.test_delta import close, run
from workbench.errors import WorkbenchError
from workbench.kernels import delta_plan
from workbench.kernels.delta import gated_delta_chunked, gated_delta_recurrent

HEADS, KEY, VALUE = 2, 4, 3
TOKENS = ("q", "k", "v", "g", "beta")
CUTS = {
    "one": [0, 40],
    "two of whole chunks": [0, 16, 40],
    "five, one of one token": [0, 9, 10, 19, 35, 40],
    "empty ones first, between and last": [0, 0, 13, 13, 13, 40, 40],
    "shorter than a chunk": [0, 3, 6, 8],
}


def inputs(length: int, states: int, dtype: Any = torch.float64) -> dict[str, Any]:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64)

    given = {
        "q": normal(1, length, HEADS, KEY),
        "k": F.normalize(normal(1, length, HEADS, KEY), dim=-1),
        "v": normal(1, length, HEADS, VALUE),
        "g": -normal(1, length, HEADS).exp() * 0.3,
        "beta": normal(1, length, HEADS).sigmoid(),
        "initial_state": normal(states, HEADS, KEY, VALUE),
    }
    return {name: tensor.to(dtype) for name, tensor in given.items()}


def alone(given: dict[str, Any], cuts: list[int], kernel: Any) -> tuple[Tensor, Tensor]:
    """`kernel` on one sequence after the other."""
    outputs, states = [], []
    for index, (start, end) in enumerate(pairwise(cuts)):
        state = given["initial_state"][index : index + 1]
        if end > start:
            o, state = kernel(*(given[name][:, start:end] for name in TOKENS), initial_state=state)
            outputs.append(o)
        states.append(state)
    return torch.cat(outputs, dim=1), torch.cat(states)


@pytest.fixture(params=[1, 40, 4096], ids=lambda rows: f"{rows} rows a block")
def _blocks(request: Any, monkeypatch: Any) -> None:
    """A chunk a block, a few chunks a block, all in one."""
    monkeypatch.setattr(delta_plan, "BLOCK_ROWS", request.param)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("chunk_size", [4, 16])
@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
def test_packed_is_each_alone_with_its_gradients(cuts: list[int], chunk_size: int) -> None:
    given = inputs(cuts[-1], len(cuts) - 1)
    expected = run(lambda **tensors: alone(tensors, cuts, gated_delta_recurrent), given)
    cu = torch.tensor(cuts, dtype=torch.int32)
    got = run(gated_delta_chunked, given, cu_seqlens=cu, chunk_size=chunk_size)
    assert close(got, expected, 1e-10) == {}
    assert close(run(gated_delta_recurrent, given, cu_seqlens=cu), expected, 1e-10) == {}


@pytest.mark.usefixtures("_blocks")
def test_blocks_do_not_show() -> None:
    given = inputs(45, 1)
    expected = run(gated_delta_recurrent, given)
    assert close(run(gated_delta_chunked, given, chunk_size=8), expected, 1e-10) == {}


def test_a_sequence_does_not_see_its_neighbours() -> None:
    given, cu = inputs(40, 3), torch.tensor([0, 9, 21, 40])
    before, states = gated_delta_chunked(**given, cu_seqlens=cu)
    for name in TOKENS:
        given[name] = given[name].clone()
        given[name][:, 9:21] = float("nan")
    after, other = gated_delta_chunked(**given, cu_seqlens=cu)
    assert torch.equal(before[:, :9], after[:, :9])
    assert torch.equal(before[:, 21:], after[:, 21:])
    assert torch.equal(states[0], other[0])
    assert torch.equal(states[2], other[2])
    assert after[:, 9:21].isnan().all()


def test_packed_gradients_are_those_of_finite_differences() -> None:
    given = inputs(7, 3)
    names = list(given)
    leaves = [given[name].requires_grad_() for name in names]
    cu = torch.tensor([0, 4, 4, 7])

    def packed(*tensors: Tensor) -> Any:
        return gated_delta_chunked(**dict(zip(names, tensors, strict=True)), cu_seqlens=cu, chunk_size=3)

    assert torch.autograd.gradcheck(packed, leaves, fast_mode=True)


@pytest.mark.parametrize("which", ["o", "state"])
def test_one_result_alone_has_its_gradient(which: str) -> None:
    given = inputs(20, 1)
    gradients = []
    for kernel in (gated_delta_recurrent, gated_delta_chunked):
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in given.items()}
        result = kernel(**leaves)[which == "state"]
        loss = (result * torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)).sum()
        grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        gradients.append({n: torch.zeros_like(given[n]) if x is None else x for n, x in zip(given, grads, strict=True)})
    assert close(gradients[1], gradients[0], 1e-10) == {}


def test_nothing_is_kept_where_no_gradient_is_asked_for() -> None:
    kept: list[Tensor] = []
    given = inputs(100, 1)
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda tensor: tensor):
        gated_delta_chunked(**given)
        with torch.no_grad():
            gated_delta_chunked(**{name: tensor.requires_grad_() for name, tensor in given.items()})
    assert kept == []


def test_a_second_derivative_is_refused() -> None:
    given = {name: tensor.requires_grad_() for name, tensor in inputs(5, 1).items()}
    (grad,) = torch.autograd.grad(gated_delta_chunked(**given)[0].sum(), given["q"], create_graph=True)
    with pytest.raises(WorkbenchError, match=r"^gated_delta_chunked can be differentiated once, not twice"):
        torch.autograd.grad(grad.sum(), given["k"])


# ------------------------------------------------------------------------------------------------------

HOSTILE: dict[str, Any] = {
    "all forgotten at every token": lambda given: given["g"].fill_(-50.0),
    "nothing forgotten": lambda given: given["g"].zero_(),
    "forgotten now and then": lambda given: given["g"].zero_()[:, ::7].fill_(-50.0),
    "nothing written": lambda given: given["beta"].zero_(),
    "written in full": lambda given: given["beta"].fill_(1.0),
    "one key": lambda given: given["k"].copy_(given["k"][:, :1].expand_as(given["k"])),
    "one key, in full, nothing forgotten": lambda given: (
        given["k"].copy_(given["k"][:, :1].expand_as(given["k"])),
        given["beta"].fill_(1.0),
        given["g"].zero_(),
    ),
    "a key and its opposite": lambda given: (
        given["k"].copy_(given["k"][:, :1].expand_as(given["k"]))[:, ::2].neg_(),
        given["beta"].fill_(1.0),
        given["g"].zero_(),
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_values(name: str) -> None:
    given = inputs(70, 1)
    HOSTILE[name](given)
    expected = run(gated_delta_recurrent, given)
    assert close(run(gated_delta_chunked, given), expected, 1e-10) == {}
    single = {name: tensor.float() for name, tensor in given.items()}
    wide = run(gated_delta_recurrent, {name: tensor.double() for name, tensor in single.items()})
    assert close(run(gated_delta_chunked, single), wide, 1e-4) == {}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("length", [3, 32, 50])
def test_memory_that_is_not_written_is_not_read(dtype: Any, length: int, monkeypatch: Any) -> None:
    """Uninitialised memory holds nan here."""
    given, cu = inputs(length, 2, dtype), torch.tensor([0, 2, length])
    expected = run(gated_delta_chunked, given, cu_seqlens=cu)
    for owner, name in ((torch, "empty"), (torch, "empty_like"), (Tensor, "new_empty")):
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, _original=original, **o: _original(*a, **o).fill_(float("nan")))
    got = run(gated_delta_chunked, given, cu_seqlens=cu)
    assert got["o"].dtype == dtype
    assert all(torch.equal(got[name], expected[name]) for name in expected)
    assert {got[f"d{name}"].dtype for name in given} == {dtype}


def test_packed_sequences_lie_in_one_row() -> None:
    given = {name: torch.cat([tensor, tensor]) for name, tensor in inputs(6, 1).items()}
    with pytest.raises(WorkbenchError, match=r"^packed sequences \(cu_seqlens\) lie in one row, not in 2$"):
        gated_delta_chunked(**given, cu_seqlens=torch.tensor([0, 4, 6]))
    with pytest.raises(WorkbenchError, match=r"^shapes do not fit: .*initial_state \[1, 2, 4, 3\]$"):
        gated_delta_chunked(**inputs(6, 1), cu_seqlens=torch.tensor([0, 4, 6]))
