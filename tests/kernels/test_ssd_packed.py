"""Packed sequences in one pass of the scan: each is what it is alone, states go in and out, and nothing crosses over."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.kernels.test_ssd import HEADS, STATE, WIDTH, distance, inputs, run
from workbench.errors import WorkbenchError
from workbench.kernels.ssd import ssd_chunked, ssd_recurrent
from workbench.kernels.ssd_packed import Packing, best_chunk

CUTS = {
    "one": [0, 40],
    "one token each": list(range(7)),
    "long and short": [0, 33, 34, 36, 40],
    "whole chunks": [0, 16, 48],
    "empty ones": [0, 0, 5, 5, 40, 40],
}


def packed_inputs(cuts: list[int], start: bool = True, dtype: Any = torch.float64, groups: int = 2) -> dict[str, Any]:
    given = inputs(cuts[-1], groups=groups, start=False, dtype=dtype)
    given = {name: t[:1] if name in ("x", "dt", "B", "C") else t for name, t in given.items()}
    state = torch.randn(len(cuts) - 1, HEADS, WIDTH, STATE, dtype=dtype) if start else None
    return given | {"initial_state": state}


def alone(kernel: Any, given: dict[str, Any], cuts: list[int], **options: Any) -> tuple[Tensor, Tensor]:
    """Every sequence in a call of its own."""
    outputs, states = [], []
    for i, (begin, end) in enumerate(pairwise(cuts)):
        part = {name: given[name][:, begin:end] for name in ("x", "dt", "B", "C")}
        state = None if given["initial_state"] is None else given["initial_state"][i : i + 1]
        if end > begin:
            y, state = kernel(**(given | part | {"initial_state": state}), **options)
            outputs.append(y)
        states.append(torch.zeros(1, HEADS, WIDTH, STATE, dtype=torch.float64) if state is None else state)
    return torch.cat(outputs, dim=1), torch.cat(states)


@pytest.mark.parametrize("kernel", [ssd_recurrent, ssd_chunked])
@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
def test_packed_is_each_sequence_alone(cuts: list[int], start: bool, kernel: Any) -> None:
    """Outputs, states, and the gradient of every input, from the outputs and the states together."""
    given, cu = packed_inputs(cuts, start), torch.tensor(cuts)
    expected = run(lambda **g: alone(ssd_recurrent, g, cuts), given)
    got = run(kernel, given, cu_seqlens=cu)
    assert set(got) == set(expected)
    assert max(distance(got[name], expected[name]) for name in expected) < 1e-10


@pytest.mark.parametrize("name", ["x", "dt", "B", "C", "initial_state"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 3.0])
def test_nothing_of_a_sequence_reaches_another(bad: float, name: str) -> None:
    """Not even what is not a number; bit for bit, the gradients too."""
    cuts = [0, 5, 33, 40]
    given = packed_inputs(cuts, dtype=torch.float32)
    before = by_sequence(given, cuts)
    other = given[name].clone()
    (other[1:2] if name == "initial_state" else other[:, 5:33]).fill_(bad)
    after = by_sequence(given | {name: other}, cuts)
    assert [torch.equal(left, right) for left, right in zip(before, after, strict=True)] == [True, False, True]


def by_sequence(given: dict[str, Any], cuts: list[int]) -> list[Tensor]:
    """Output, gradient of x and final state of each sequence, in one tensor."""
    x = given["x"].clone().requires_grad_()
    y, states = ssd_chunked(**(given | {"x": x}), cu_seqlens=torch.tensor(cuts))
    (dx,) = torch.autograd.grad(y.square().sum() + states.sum(), x)
    tokens = torch.cat([y.detach(), dx], dim=-1)
    sizes = [end - begin for begin, end in pairwise(cuts)]
    return [torch.cat([a.flatten(), b.flatten()]) for a, b in zip(tokens.split(sizes, 1), states.detach(), strict=True)]


def test_gradients_are_those_of_finite_differences() -> None:
    given = packed_inputs([0, 3, 3, 8])
    leaves = {name: tensor.requires_grad_() for name, tensor in given.items()}
    assert torch.autograd.gradcheck(
        lambda *tensors: ssd_chunked(
            **dict(zip(leaves, tensors, strict=True)), cu_seqlens=torch.tensor([0, 3, 3, 8]), chunk_size=2
        ),
        list(leaves.values()),
        fast_mode=True,
    )


@pytest.mark.parametrize("lengths", [[1], [16, 16], [5, 40, 1], [64] * 3, [300, 2, 2]])
@pytest.mark.parametrize("largest", [1, 5, 16, 64])
def test_every_token_has_one_place(lengths: list[int], largest: int) -> None:
    cuts = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    packing = Packing.of(cuts, largest)
    tokens = torch.arange(cuts[-1])
    assert torch.equal(packing.slots[packing.places], tokens)
    assert packing.spare.sum() == len(packing.slots) - cuts[-1]
    assert not packing.spare[packing.places].any()
    assert packing.cuts.length == len(packing.slots) == packing.cuts.count * packing.cuts.chunk
    assert packing.cuts.sequences == len(lengths)
    sequence = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    by_chunk = sequence[packing.slots].view(-1, packing.cuts.chunk)
    assert (by_chunk == by_chunk[:, :1]).all()


def test_short_sequences_get_short_chunks() -> None:
    assert best_chunk([16] * 100, 64) == 16
    assert best_chunk([2000], 64) == 64
    assert best_chunk([16] * 100, 8) == 8


def test_what_does_not_fit() -> None:
    given = packed_inputs([0, 3, 8])
    with pytest.raises(WorkbenchError, match=r"^cu_seqlens must rise from 0 to the length 8, not \[0, 3, 7\]$"):
        ssd_chunked(**given, cu_seqlens=torch.tensor([0, 3, 7]))
    with pytest.raises(WorkbenchError, match=r"^shapes do not fit: .*, cu_seqlens \[2\]$"):
        ssd_chunked(**given, cu_seqlens=torch.tensor([0, 8]))
    with pytest.raises(WorkbenchError, match=r"^packed sequences \(cu_seqlens\) lie in one row, not in 2$"):
        ssd_chunked(**inputs(8, start=False), cu_seqlens=torch.tensor([0, 8]))
