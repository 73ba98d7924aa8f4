"""`StoredTensor`: a tensor as boxes of bytes that lie somewhere, never as one array in memory. numpy only.

Slicing, joining and stacking change where the boxes are said to be, and touch no byte. That is how a layer is taken out of a
homogeneous checkpoint's layer axis, or the pieces of a Mamba projection become one weight again, on files of any size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import as_strided

from workbench.checkpoint.buffers import Buffer
from workbench.checkpoint.dtypes import Array, dtype_of
from workbench.errors import WorkbenchError

type Shape = tuple[int, ...]
type Region = tuple[slice, ...]  # one slice an axis, whole numbers, step 1; fewer than axes: the rest is whole

_MOST_AXES = 64
_MOST_CELLS = 2**26  # of the grid that a tensor's shards make; real ones make thousands


@dataclass(frozen=True, slots=True)
class Piece:
    """A box of a tensor: `shape` elements at `offset` in the tensor, the first at byte `start` of `data`.

    `strides` are in elements; row-major ones mean that the box is one run of bytes.
    """

    data: Buffer
    start: int
    offset: Shape
    shape: Shape
    strides: Shape

    def bits(self, item: np.dtype[np.generic]) -> Array:
        """The box as a view of its raw bits."""
        if 0 in self.shape:
            return np.empty(self.shape, item)
        reach = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)) + 1
        flat = self.data.view(self.start, reach * item.itemsize).view(item)
        return as_strided(flat, self.shape, tuple(stride * item.itemsize for stride in self.strides), writeable=False)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """`shape` in elements, `dtype` by torch's name, and the boxes that make it up; they cover it without overlap."""

    shape: Shape
    dtype: str
    pieces: tuple[Piece, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.elements * dtype_of(self.dtype).bytes

    @property
    def run(self) -> tuple[Buffer, int] | None:
        """(buffer, first byte) where the whole tensor is one run of bytes in row-major order, None otherwise."""
        if len(self.pieces) != 1:
            return None
        piece = self.pieces[0]
        return (piece.data, piece.start) if _row_major(piece.shape, piece.strides) else None

    def bits(self, region: Region = ()) -> Array:
        """The raw bits of a region, as unsigned integers; a view where it lies in one box, a copy otherwise.

        Raises `WorkbenchError` where a file turns out too short.
        """
        part = self.narrow_to(region) if region else self
        item = dtype_of(self.dtype).bits
        if len(part.pieces) == 1:
            return part.pieces[0].bits(item)
        joined = np.empty(part.shape, item)
        for piece in part.pieces:
            where = tuple(slice(at, at + size) for at, size in zip(piece.offset, piece.shape, strict=True))
            joined[where] = piece.bits(item)
        return joined

    def narrow_to(self, region: Region) -> StoredTensor:
        """The part inside a region, as a tensor of its own."""
        part = self
        for axis, wanted in enumerate(region):
            start, stop, _ = wanted.indices(self.shape[axis])
            if (start, stop) != (0, self.shape[axis]):
                part = part.narrow(axis, start, max(stop - start, 0))
        return part

    def narrow(self, axis: int, start: int, length: int) -> StoredTensor:
        """`length` entries along an axis from `start` on."""
        assert 0 <= start <= start + length <= self.shape[axis], "the slice lies outside of the tensor"
        item, found = dtype_of(self.dtype).bytes, []
        for piece in self.pieces:
            low = max(piece.offset[axis], start)
            high = min(piece.offset[axis] + piece.shape[axis], start + length)
            if high > low:
                skipped = low - piece.offset[axis]
                found.append(
                    replace(
                        piece,
                        start=piece.start + skipped * piece.strides[axis] * item,
                        offset=_with(piece.offset, axis, low - start),
                        shape=_with(piece.shape, axis, high - low),
                    )
                )
        return StoredTensor(_with(self.shape, axis, length), self.dtype, tuple(found))

    def select(self, axis: int, index: int) -> StoredTensor:
        """One entry along an axis, without the axis."""
        part = self.narrow(axis, index, 1)
        pieces = (
            replace(
                each,
                offset=_without(each.offset, axis),
                shape=_without(each.shape, axis),
                strides=_without(each.strides, axis),
            )
            for each in part.pieces
        )
        return StoredTensor(_without(part.shape, axis), self.dtype, tuple(pieces))

    def with_axis(self) -> StoredTensor:
        """The same with an axis of length 1 in front."""
        pieces = (
            replace(
                each, offset=(0, *each.offset), shape=(1, *each.shape), strides=(math.prod(each.shape), *each.strides)
            )
            for each in self.pieces
        )
        return StoredTensor((1, *self.shape), self.dtype, tuple(pieces))


def contiguous(data: Buffer, start: int, shape: Shape, dtype: str) -> StoredTensor:
    """A tensor that is one row-major run of bytes."""
    piece = Piece(data, start, (0,) * len(shape), shape, row_major(shape))
    return StoredTensor(shape, dtype, (piece,))


def bytes_of(shape: Shape, dtype: str) -> int:
    """Bytes of a tensor that a file claims to hold; `WorkbenchError` for a shape that no array of numpy's or torch's has."""
    if len(shape) > _MOST_AXES or math.prod(size for size in shape if size) * dtype_of(dtype).bytes >= 2**63:
        raise WorkbenchError(f"a tensor of {len(shape)} axes, {str(list(shape))[:80]}, is larger than any can be")
    return math.prod(shape) * dtype_of(dtype).bytes


def concatenated(tensors: Sequence[StoredTensor], axis: int = 0) -> StoredTensor:
    """Tensors one behind the other along an axis; they must be of one dtype and agree in the other axes."""
    if len(tensors) == 1:
        return tensors[0]
    first = tensors[0]
    assert all(each.dtype == first.dtype for each in tensors), "tensors of several dtypes are not one tensor"
    assert all(_without(each.shape, axis) == _without(first.shape, axis) for each in tensors), "the shapes do not join"
    pieces, at = [], 0
    for each in tensors:
        pieces += [replace(piece, offset=_with(piece.offset, axis, piece.offset[axis] + at)) for piece in each.pieces]
        at += each.shape[axis]
    return StoredTensor(_with(first.shape, axis, at), first.dtype, tuple(pieces))


def stacked(tensors: Sequence[StoredTensor]) -> StoredTensor:
    """Tensors of one shape and dtype along a new axis in front."""
    return concatenated([each.with_axis() for each in tensors])


def row_major(shape: Shape) -> Shape:
    """The strides, in elements, of a tensor that is one run of bytes.

    >>> row_major((2, 3, 4))
    (12, 4, 1)
    """
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def check_covered(name: str, tensor: StoredTensor) -> None:
    """Raise `WorkbenchError` unless the boxes cover the tensor exactly: no hole (a missing shard), no overlap, none outside."""
    axes = range(len(tensor.shape))
    for piece in tensor.pieces:
        if len(piece.offset) != len(tensor.shape) or len(piece.shape) != len(tensor.shape):
            raise WorkbenchError(f"{name} has {len(tensor.shape)} axes, and one of its shards {len(piece.shape)}")
        if any(piece.offset[axis] < 0 or piece.offset[axis] + piece.shape[axis] > tensor.shape[axis] for axis in axes):
            raise WorkbenchError(f"{name} is {list(tensor.shape)}, and a shard of it lies outside of that")
    held = sum(math.prod(piece.shape) for piece in tensor.pieces)
    if held < tensor.elements:
        raise WorkbenchError(f"{name} has {tensor.elements} elements, and its shards hold {held}: a shard is missing")
    if len(tensor.pieces) > 1 and _overlap(tensor):
        raise WorkbenchError(f"{name} has shards that overlap: which of them holds is not said")


# ------------------------------------------------------------------------------------------------------


def _overlap(tensor: StoredTensor) -> bool:
    """Cut every axis where a box begins or ends: then each box is whole cells, and no cell may be taken twice."""
    cuts = []
    for axis in range(len(tensor.shape)):
        ends = {0, tensor.shape[axis]}
        for piece in tensor.pieces:
            ends |= {piece.offset[axis], piece.offset[axis] + piece.shape[axis]}
        cuts.append({end: place for place, end in enumerate(sorted(ends))})
    cells = [max(len(each) - 1, 1) for each in cuts]
    if math.prod(cells) > _MOST_CELLS:
        raise WorkbenchError(
            f"its shards cut a tensor of {list(tensor.shape)} into {math.prod(cells)} cells: that is no checkpoint"
        )
    taken = np.zeros(cells, np.uint8)
    for piece in tensor.pieces:
        cell = tuple(
            slice(cuts[axis][at], cuts[axis][at + size])
            for axis, (at, size) in enumerate(zip(piece.offset, piece.shape, strict=True))
        )
        if taken[cell].any():
            return True
        taken[cell] = 1
    return False


def _row_major(shape: Shape, strides: Shape) -> bool:
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and stride != step:
            return False
        step *= size
    return True


def _with(values: Shape, axis: int, value: int) -> Shape:
    return (*values[:axis], value, *values[axis + 1 :])


def _without(values: Shape, axis: int) -> Shape:
    return (*values[:axis], *values[axis + 1 :])
