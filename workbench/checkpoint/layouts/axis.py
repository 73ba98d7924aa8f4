"""A tensor's first axis taken apart, entry by entry, in one pass over its boxes. numpy only; no byte is read.

`StoredTensor.select` for every entry would look at every box each time: a model's experts are tens of thousands of both.
"""

from __future__ import annotations

from workbench.checkpoint.dtypes import dtype_of
from workbench.checkpoint.tensors import Piece, StoredTensor


def entries(tensor: StoredTensor) -> list[StoredTensor]:
    """The entries along the first axis, without the axis."""
    item = dtype_of(tensor.dtype).bytes
    found: list[list[Piece]] = [[] for _ in range(tensor.shape[0])]
    for piece in tensor.pieces:
        step = piece.strides[0] * item
        offset, shape, strides = piece.offset[1:], piece.shape[1:], piece.strides[1:]
        for index in range(piece.shape[0]):
            found[piece.offset[0] + index].append(Piece(piece.data, piece.start + index * step, offset, shape, strides))
    return [StoredTensor(tensor.shape[1:], tensor.dtype, tuple(pieces)) for pieces in found]
