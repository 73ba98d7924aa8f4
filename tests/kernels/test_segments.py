"""Where packed sequences begin and end, from either convention, and what is not a packing."""

from __future__ import annotations

import pytest
import torch

from workbench.errors import WorkbenchError
from workbench.kernels.segments import (
    bounds_from_lengths,
    check_index,
    places_from_lengths,
    runs_from_index,
)


@pytest.mark.parametrize(
    ("cu_seqlens", "bounds"),
    [
        ([0, 5], [(0, 5)]),
        ([0, 3, 5], [(0, 3), (3, 5)]),
        ([0, 1, 2, 3, 4, 5], [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]),
        ([0, 0, 3, 3, 5, 5], [(0, 3), (3, 5)]),  # empty sequences have no tokens to run
    ],
)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_bounds_from_lengths(cu_seqlens: list[int], bounds: list[tuple[int, int]], dtype: torch.dtype) -> None:
    assert bounds_from_lengths(torch.tensor(cu_seqlens, dtype=dtype), 5) == bounds
    assert places_from_lengths(torch.tensor(cu_seqlens, dtype=dtype), 5) == cu_seqlens


@pytest.mark.parametrize(
    ("cu_seqlens", "length", "message"),
    [
        ([], 5, "cu_seqlens must rise from 0 to the length 5, not []"),
        ([1, 5], 5, "cu_seqlens must rise from 0 to the length 5, not [1, 5]"),
        ([0, 4], 5, "cu_seqlens must rise from 0 to the length 5, not [0, 4]"),
        ([0, 6], 5, "cu_seqlens must rise from 0 to the length 5, not [0, 6]"),
        ([0, 4, 2, 5], 5, "cu_seqlens must rise from 0 to the length 5, not [0, 4, 2, 5]"),
        ([[0, 5]], 5, "cu_seqlens must rise from 0 to the length 5, not [[0, 5]]"),
        (5, 5, "cu_seqlens must rise from 0 to the length 5, not 5"),
        ([0], 0, "packed sequences need at least one token"),
        ([0, 0], 0, "packed sequences need at least one token"),
    ],
)
def test_bad_lengths(cu_seqlens: object, length: int, message: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        bounds_from_lengths(torch.tensor(cu_seqlens), length)
    assert str(caught.value) == message


def test_runs_from_index() -> None:
    seq_idx = torch.tensor([[3, 3, 1, 3], [0, 0, 0, 0]], dtype=torch.int32)
    assert runs_from_index(seq_idx).tolist() == [[0, 0, 1, 2], [0, 0, 0, 0]]
    assert runs_from_index(seq_idx[:, :1]).tolist() == [[0], [0]]


@pytest.mark.parametrize(
    ("shape", "rows", "length", "message"),
    [
        ((1, 5), 2, 5, "seq_idx must be [2, 5] (rows, tokens), not [1, 5]"),
        ((2, 4), 2, 5, "seq_idx must be [2, 5] (rows, tokens), not [2, 4]"),
        ((5,), 1, 5, "seq_idx must be [1, 5] (rows, tokens), not [5]"),
        ((1, 0), 1, 0, "packed sequences need at least one token"),
        ((0, 5), 0, 5, "packed sequences need at least one token"),
    ],
)
def test_an_index_that_does_not_fit(shape: tuple[int, ...], rows: int, length: int, message: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        check_index(torch.zeros(shape), rows=rows, length=length)
    assert str(caught.value) == message
