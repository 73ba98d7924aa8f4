"""Tiny models for the tests of the fused stack: twins from one seed, their results, and a comparison without tolerance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench.arch.sizes import ModelSizes
from workbench.fusion import runtime
from workbench.fusion.config import transformer_config
from workbench.fusion.model import build_model, forward_tokens, model_arguments
from workbench.fusion.names import canonical_parameters
from workbench.pattern.model import Pattern

PAIRS = tuple(f"[{x}{y}]" for x in "MG*D+" for y in "-E")
SEED = 1234


def build(pattern: str, sizes: ModelSizes | None = None, *, dtype: str = "fp32", **fields: Any) -> Any:
    """A model on the local backend; `fields` are fields of megatron's config."""
    sizes = sizes or ModelSizes()
    config = transformer_config(Pattern(pattern), sizes, dtype=dtype, **fields)
    arguments = model_arguments(Pattern(pattern), sizes)
    return build_model(pattern, config, seed=SEED, backend="local", **arguments)


def twins(pattern: str, sizes: ModelSizes | None = None, **fields: Any) -> tuple[Any, Any]:
    """The fused and the unfused model."""
    return build(pattern, sizes, **fields), build(str(Pattern(pattern).unfused()), sizes, **fields)


@dataclass(frozen=True)
class Result:
    """Losses [b, s] and every gradient by canonical name."""

    losses: Tensor
    gradients: dict[str, Tensor]


def tokens(length: int = 17) -> Tensor:
    """Token ids [2, length], always the same."""
    return torch.randint(0, 128, (2, length), generator=torch.Generator().manual_seed(7))


def run(model: Any) -> Result:
    """One forward and backward, with every random stream started anew."""
    runtime.forget_models()
    runtime.seed(SEED + 1)
    model.zero_grad(set_to_none=True)
    losses = forward_tokens(model, tokens())
    losses.float().mean().backward()
    found = canonical_parameters(model).items()
    return Result(losses.detach(), {name: p.grad.clone() for name, p in found if p.grad is not None})


def assert_same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> None:
    """The same names in the same order, and the same bits."""
    assert list(left) == list(right)
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert not different, different


def assert_same_run(left: Any, right: Any) -> Result:
    """Two models give the same losses and gradients; returns them, for a test to look at what they depend on."""
    one, other = run(left), run(right)
    assert torch.equal(one.losses, other.losses)
    assert one.gradients
    assert_same(one.gradients, other.gradients)
    return one
