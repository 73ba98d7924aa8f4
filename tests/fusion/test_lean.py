"""Fused blocks run lean: the same bits as the blocks' own forward and as the unfused twin, and a reason where they do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.fusion.building import PAIRS, SEED, build, tokens
from workbench.fusion import runtime
from workbench.fusion.lean.report import lean_blocks, run_lean
from workbench.fusion.model import forward_tokens
from workbench.fusion.names import canonical_parameters
from workbench.pattern.model import Pattern

Run = tuple[list[Tensor], dict[str, Tensor], dict[str, Tensor]]


def bits(tensor: Tensor) -> Tensor:
    """The memory of a tensor in rows: what `torch.equal` does not tell apart (0.0 and -0.0) differs here."""
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach()).flatten().view(torch.int16)


def three_steps(model: Any, batch: Tensor) -> Run:
    """Losses of three optimizer steps, the gradients of the last, the parameters after it."""
    runtime.forget_models()
    runtime.seed(SEED + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(3):
        optimizer.zero_grad(set_to_none=True)
        loss = forward_tokens(model, batch)
        loss.float().mean().backward()
        optimizer.step()
        losses.append(loss.detach())
    found = canonical_parameters(model)
    gradients = {name: p.grad.clone() for name, p in found.items() if p.grad is not None}
    return losses, gradients, {name: p.detach().clone() for name, p in found.items()}


def assert_same_bits(left: Run, right: Run) -> None:
    for one, other in zip(left[0], right[0], strict=True):
        assert torch.equal(bits(one), bits(other))
    for mine, theirs in (left[1:2] + right[1:2], left[2:] + right[2:]):
        assert list(mine) == list(theirs)
        assert [name for name in mine if not torch.equal(bits(mine[name]), bits(theirs[name]))] == []


def assert_lean_equals_plain_equals_unfused(pattern: str, batch: Tensor, dtype: str = "fp32", **options: Any) -> Any:
    """Build, train and compare the three; returns the lean model."""
    lean, plain = build(pattern, dtype=dtype, **options), build(pattern, dtype=dtype, **options)
    run_lean(plain, False)
    found = three_steps(lean, batch)
    assert_same_bits(found, three_steps(plain, batch))
    assert_same_bits(found, three_steps(build(str(Pattern(pattern).unfused()), dtype=dtype, **options), batch))
    return lean


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("pair", PAIRS)
def test_every_pair_gives_the_same_bits(pair: str, dtype: str) -> None:
    lean = assert_lean_equals_plain_equals_unfused(pair, tokens(9), dtype)
    assert [block.reason for block in lean_blocks(lean)] == [None]
