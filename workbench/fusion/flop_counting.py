"""How torch counts FLOPs while a model runs, put right where its counter is blind, and the terms that no counter can see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from workbench.cost.flop_terms import TRIANGLE
from workbench.cost.flops import Flops

# Terms of `workbench.cost.flops` that are no products when the CPU kernels compute them: the triangular system of the delta
# rule, for which torch has no formula, and the convolutions, which add shifted rows.
UNSEEN = (TRIANGLE, "convolution of x, B, C", "convolution of q, k, v")


def _added_product(_: Any, left: Any, right: Any, *__: Any, **___: Any) -> int:
    return int(2 * left[0] * left[1] * left[2] * right[2])


# torch has a formula for `baddbmm`, and none for the same in place.
CORRECTED: Mapping[Any, Any] = {torch.ops.aten.baddbmm_: _added_product}


def flop_counter(mapping: Mapping[Any, Any] = CORRECTED) -> FlopCounterMode:
    """torch's `FlopCounterMode`, which also counts products that are added in place; `.get_total_flops()` afterwards."""
    return FlopCounterMode(display=False, custom_mapping=dict(mapping))


def unseen(predicted: Flops) -> float:
    """FLOPs of a forward pass, a token, that are predicted and that `flop_counter` cannot see."""
    return sum(term.forward for part in predicted.parts for term in part.terms if term.name in UNSEEN)
