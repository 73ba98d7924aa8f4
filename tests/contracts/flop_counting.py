"""How torch counts FLOPs while a model runs, put right where its counter is blind, and the terms that no counter can see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from workbench.cost.flop_terms import TRIANGLE


def added_product(_: Any, left: Any, right: Any, *__: Any, **___: Any) -> int:
    return 2 * left[0] * left[1] * left[2] * right[2]


CORRECTED = {torch.ops.aten.baddbmm_: added_product}
# The convolutions add shifted rows.
UNSEEN = (TRIANGLE, "convolution of x, B, C", "convolution of q, k, v")


def counter(mapping: Mapping[Any, Any] = CORRECTED) -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=dict(mapping))


def unseen(predicted: Any) -> float:
    """FLOPs of a forward pass, a token, that are predicted and not counted."""
    return sum(term.forward for part in predicted.parts for term in part.terms if term.name in UNSEEN)
