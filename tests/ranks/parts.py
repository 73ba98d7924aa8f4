"""Tensors that ranks hold in parts: put together, and compared bit for bit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def whole(parts: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Stored key → the tensor that the parts of all ranks make up; parts held twice must agree in every bit."""
    tensors: dict[str, Tensor] = {}
    known: dict[str, Tensor] = {}
    for part in parts:
        key, piece = part["key"], part["tensor"]
        tensors.setdefault(key, torch.zeros(part["whole"], dtype=piece.dtype))
        known.setdefault(key, torch.zeros(part["whole"], dtype=torch.bool))
        piece = piece.reshape((1,) * part["axes_before"] + tuple(piece.shape))
        place = tuple(slice(start, start + size) for start, size in zip(part["offset"], piece.shape, strict=True))
        already = known[key][place]
        assert torch.equal(tensors[key][place][already], piece[already]), f"the ranks disagree on {key}"
        tensors[key][place] = piece
        known[key][place] = True
    assert all(bool(mask.all()) for mask in known.values()), "a part of a tensor is on no rank"
    return tensors


def unequal(left: dict[str, Tensor], right: dict[str, Tensor]) -> list[str]:
    """Names that only one side has, or whose shape, type or bits differ."""
    common = left.keys() & right.keys()
    differ = {
        name
        for name in common
        if left[name].dtype != right[name].dtype
        or left[name].shape != right[name].shape
        or left[name].numpy().tobytes() != right[name].numpy().tobytes()
    }
    return sorted((left.keys() ^ right.keys()) | differ)
