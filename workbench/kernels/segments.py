"""Packed sequences: several sequences laid end to end in one row, and how to run each for itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
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

    >>> bounds_from_lengths(torch.tensor([0, 3, 5]), 5)
    [(0, 3), (3, 5)]
    """
    return [(a, b) for a, b in itertools.pairwise(places_from_lengths(cu_seqlens, length)) if b > a]


def bounds_from_index(seq_idx: Tensor) -> list[tuple[int, int]]:
    """(start, end) of each run of equal numbers in `seq_idx` [l], the convention of causal-conv1d and mamba-ssm.

    >>> bounds_from_index(torch.tensor([0, 0, 0, 1, 1]))
    [(0, 3), (3, 5)]
    """
    length = len(seq_idx)
    changes = (seq_idx[1:] != seq_idx[:-1]).nonzero()[:, 0] + 1
    places = [0, *(int(place) for place in changes), length]
    return list(itertools.pairwise(places))


def runs_from_index(seq_idx: Tensor) -> Tensor:
    """The number of its run for every token of `seq_idx` [b, l]: 0, 1, … from left to right; a number may come back.

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


def each_sequence(
    run: Callable[[int, int, int], Tensor], seq_idx: Tensor, *, rows: int, length: int, dim: int
) -> Tensor:
    """`run(row, start, end)` for every packed sequence of `seq_idx` [b, l], put together again along rows and `dim`.

    Raises `WorkbenchError` unless `seq_idx` is [rows, length].
    """
    check_index(seq_idx, rows=rows, length=length)
    done = []
    for row, index in enumerate(seq_idx):
        done.append(torch.cat([run(row, start, end) for start, end in bounds_from_index(index)], dim=dim))
    return torch.cat(done, dim=0)
