"""Stored tensors of random bits for the tests of the writers: one run, pieces along any axis, strided ones, in files or memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from workbench.checkpoint.buffers import FileBuffer, MemoryBuffer
from workbench.checkpoint.dtypes import DTYPES
from workbench.checkpoint.tensors import Piece, StoredTensor, concatenated, contiguous, row_major, stacked


def random_bytes(count: int, seed: int = 0) -> np.ndarray:
    """So many random bytes."""
    return np.random.default_rng(seed).integers(0, 256, count, np.uint8)


def in_memory(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> StoredTensor:
    """One run of memory."""
    count = int(np.prod(shape, dtype=int)) * DTYPES[dtype].bytes
    data = random_bytes(count, seed) % 2 if dtype == "bool" else random_bytes(count, seed)
    return contiguous(MemoryBuffer(data), 0, shape, dtype)


def in_file(
    path: Path, shape: tuple[int, ...], dtype: str = "float32", seed: int = 0, before: int = 13
) -> StoredTensor:
    """One run of a file, that begins at no round byte."""
    count = int(np.prod(shape, dtype=int)) * DTYPES[dtype].bytes
    path.write_bytes(bytes(before) + random_bytes(count, seed).tobytes() + b"behind")
    return contiguous(FileBuffer(path), before, shape, dtype)


def transposed(tensor: StoredTensor) -> StoredTensor:
    """The two axes of a tensor that is one run, exchanged: the same bytes in another order."""
    (piece,) = tensor.pieces
    rows, columns = tensor.shape
    strides = row_major(tensor.shape)
    piece = Piece(piece.data, piece.start, (0, 0), (columns, rows), (strides[1], strides[0]))
    return StoredTensor((columns, rows), tensor.dtype, (piece,))


def every_kind() -> dict[str, StoredTensor]:
    """A tensor of every element type, and of every way to be in pieces."""
    tensors = {dtype: in_memory((3, 5, 4), dtype) for dtype in DTYPES}
    rows, columns = in_memory((4, 6), seed=1), in_memory((4, 3), seed=2)
    return tensors | {
        "empty": in_memory((0, 3)),
        "scalar": in_memory((), "int64"),
        "one": in_memory((1,), "bfloat16"),
        "rows": concatenated([rows, in_memory((3, 6), seed=3)]),
        "columns": concatenated([rows, columns], 1),
        "stacked": stacked([in_memory((4, 6), "bfloat16", seed) for seed in range(3)]),
        "grid": concatenated([concatenated([rows, columns], 1), concatenated([columns, rows], 1)]),
        "transposed": transposed(rows),
        "narrowed": columns.narrow(1, 1, 2),
    }


def bytes_of(tensor: StoredTensor) -> bytes:
    """All of a small tensor, in row-major order."""
    return tensor.bits().tobytes()
