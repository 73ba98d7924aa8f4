"""A tensor's first axis taken apart and put together, in one pass over its boxes. numpy only; no byte is read.

`StoredTensor.select` for every entry would look at every box each time: a model's experts are tens of thousands of both.
Boxes that lie one behind the other in their file become one again, so that what was cut and joined is one run of bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from workbench.checkpoint.dtypes import dtype_of
from workbench.checkpoint.tensors import Piece, StoredTensor, concatenated, row_major


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


def as_axis(tensors: Sequence[StoredTensor]) -> StoredTensor:
    """Tensors of one shape and dtype as the entries of a new first axis; the way back from `entries`."""
    first = tensors[0]
    assert all((each.shape, each.dtype) == (first.shape, first.dtype) for each in tensors), "the entries differ"
    pieces = tuple(
        Piece(
            piece.data,
            piece.start,
            (index, *piece.offset),
            (1, *piece.shape),
            (math.prod(piece.shape), *piece.strides),
        )
        for index, each in enumerate(tensors)
        for piece in each.pieces
    )
    return _merged(StoredTensor((len(tensors), *first.shape), first.dtype, pieces))


def as_rows(tensors: Sequence[StoredTensor]) -> StoredTensor:
    """Tensors one behind the other along their first axis."""
    return _merged(concatenated(tensors))


def _merged(tensor: StoredTensor) -> StoredTensor:
    """The same with boxes that are neighbours along the first axis, and in their file, as one."""
    item = dtype_of(tensor.dtype).bytes
    pieces: list[Piece] = []
    for piece in tensor.pieces:
        last = pieces[-1] if pieces else None
        if last is not None and _follows(last, piece, item):
            rows = last.shape[0] + piece.shape[0]
            pieces[-1] = Piece(last.data, last.start, last.offset, (rows, *last.shape[1:]), last.strides)
        else:
            pieces.append(piece)
    return StoredTensor(tensor.shape, tensor.dtype, tuple(pieces))


def _follows(last: Piece, piece: Piece, item: int) -> bool:
    return (
        piece.data is last.data
        and piece.shape[1:] == last.shape[1:]
        and piece.offset == (last.offset[0] + last.shape[0], *last.offset[1:])
        and last.strides == row_major(last.shape)
        and piece.strides == row_major(piece.shape)
        and piece.start == last.start + last.shape[0] * last.strides[0] * item
    )
