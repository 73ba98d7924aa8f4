"""Packed sequences: several sequences laid end to end in one row, and where each begins and ends."""

from __future__ import annotations

import itertools

from torch import Tensor
from torch.nn import functional as F

from workbench.errors import WorkbenchError


def places_from_lengths(cu_seqlens: Tensor, length: int) -> list[int]:
    """Cumulative lengths [n + 1] as numbers; `WorkbenchError` unless they rise from 0 to `length`, which is not 0."""
    places = cu_seqlens.tolist()
    if cu_seqlens.dim() != 1 or not places or places[0] != 0 or places[-1] != length or places != sorted(places):
        raise WorkbenchError(f"cu_seqlens must rise from 0 to the length {length}, not {places}")
    if length == 0:
        raise WorkbenchError("packed sequences need at least one token")
    return places


def bounds_from_lengths(cu_seqlens: Tensor, length: int) -> list[tuple[int, int]]:
    """(start, end) of each sequence from cumulative lengths [n + 1], the convention of flash attention; empty ones left out.

    Raises `WorkbenchError` unless they rise from 0 to `length`.

    >>> import torch
    >>> bounds_from_lengths(torch.tensor([0, 3, 5]), 5)
    [(0, 3), (3, 5)]
    """
    return [(a, b) for a, b in itertools.pairwise(places_from_lengths(cu_seqlens, length)) if b > a]


def runs_from_index(seq_idx: Tensor) -> Tensor:
    """The number of its run for every token of `seq_idx` [b, l]: 0, 1, … from left to right; a number may come back.

    >>> import torch
    >>> runs_from_index(torch.tensor([[7, 7, 3, 7]]))
    tensor([[0, 0, 1, 2]])
    """
    changes = seq_idx[:, 1:] != seq_idx[:, :-1]
    return F.pad(changes.cumsum(dim=1), (1, 0))


def check_index(seq_idx: Tensor, *, rows: int, length: int) -> None:
    """`WorkbenchError` unless `seq_idx` is [rows, length] with at least one token."""
    if seq_idx.shape != (rows, length):
        raise WorkbenchError(f"seq_idx must be [{rows}, {length}] (rows, tokens), not {list(seq_idx.shape)}")
    if seq_idx.numel() == 0:
        raise WorkbenchError("packed sequences need at least one token")
