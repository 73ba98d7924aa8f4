"""What all blocks of one forward share: the rotation's cosines and sines, the causal mask, a place for scores."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.fusions import fused_softmax
from torch import Tensor


class Step:
    """One forward of one stack. `rotary` is what the model hands down: [s, 1, 1, dim] angles, or None.

    Upstream takes cosine and sine of the same angles four times in every layer (`rope_utils.py:133`).
    """

    def __init__(self, rotary: Any, padding_mask: Tensor | None) -> None:
        self.rotary = rotary
        self.padding_mask = padding_mask
        self._rotations: dict[tuple[torch.dtype, float], tuple[Tensor, Tensor]] = {}
        self._masks: dict[int, Tensor] = {}
        self._empty: dict[torch.dtype, Tensor] = {}

    def rotation(self, dtype: torch.dtype, scale: float) -> tuple[Tensor, Tensor]:
        """Cosine and signed sine [s, 1, 1, 1, dim]: t·cos + rotate_half(t)·sin is t·cos + roll(t, dim / 2)·signed sine."""
        found = self._rotations.get((dtype, scale))
        if found is None:
            cos = (torch.cos(self.rotary) * scale).to(dtype).unsqueeze(2)
            sin = (torch.sin(self.rotary) * scale).to(dtype).unsqueeze(2)
            first, second = torch.chunk(sin, 2, dim=-1)
            found = self._rotations[dtype, scale] = cos, torch.cat((-first, second), dim=-1)
        return found

    def mask(self, length: int) -> Tensor:
        """Bool [s, s], True where a query must not look; upstream's own."""
        found = self._masks.get(length)
        if found is None:
            found = self._masks[length] = fused_softmax.get_default_causal_mask(length)
        return found

    def empty(self, dtype: torch.dtype) -> Tensor:
        """The tensor [1] that a product with beta = 0 ignores; upstream keeps one of the size of the scores."""
        found = self._empty.get(dtype)
        if found is None:
            found = self._empty[dtype] = torch.zeros(1, dtype=dtype)
        return found
