"""Are two stored tensors the same, bit for bit? And their blocks, side by side, where they are not. numpy only.

Files are mapped and compared where they lie, by the C library, in threads: nothing is copied. Tensors that lie one behind
the other on both sides are compared in one go, which is what makes a hundred thousand small ones cheap.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from workbench.checkpoint.buffers import Buffer
from workbench.checkpoint.comparing.metrics import unequal_bits
from workbench.checkpoint.dtypes import Array, dtype_of
from workbench.checkpoint.tensors import Region, StoredTensor, row_major

SPAN_BYTES = 4 * 2**20  # compared at once: measured best of 256 KiB to 16 MiB
BLOCK_ELEMENTS = 2**14  # turned into numbers at once: 128 KiB of float64, several of which stay in the cache
_FETCHED = 2**18  # taken out of a tensor at once: finding its pieces costs more than a block does
THREADS = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]

type Pair = tuple[StoredTensor, StoredTensor]


@dataclass(slots=True)
class _Span:
    """Bytes that lie in one run on both sides; `members` are (end within the span, index of the pair)."""

    left: Buffer
    left_start: int
    right: Buffer
    right_start: int
    length: int
    members: list[tuple[int, int]]


def unequal(pairs: Sequence[Pair], done: Callable[[int], None] = lambda _: None) -> set[int]:
    """The indices of the pairs whose bits differ; both tensors of a pair have one shape and one width of element.

    `done` is told how many bytes of the left side were compared since it was last called.
    """
    spans, scattered = _spans(pairs)
    found: set[int] = set()
    with ThreadPoolExecutor(THREADS) as pool:
        for span, differs in _mapped(pool, _differs, (part for whole in spans for part in _cut(whole))):
            if differs:
                found.update(_members_that_differ(span))
            done(span.length)
        for index, differs in _mapped(pool, lambda index: _differs_anywhere(pairs[index]), iter(scattered)):
            if differs:
                found.add(index)
            done(pairs[index][0].nbytes)
    return found


def blocks(left: StoredTensor, right: StoredTensor, elements: int = BLOCK_ELEMENTS) -> Iterator[tuple[Array, Array]]:
    """The raw bits of two tensors of one shape, block by block in row-major order, flat."""
    for region in regions(left.shape, max(elements, _FETCHED)):
        ours, theirs = left.bits(region).reshape(-1), right.bits(region).reshape(-1)
        for at in range(0, ours.size, elements):
            yield ours[at : at + elements], theirs[at : at + elements]


def regions(shape: tuple[int, ...], elements: int) -> Iterator[Region]:
    """Cut a shape into boxes of at most so many elements, each one run in row-major order, in that order.

    >>> [tuple((cut.start, cut.stop) for cut in region) for region in regions((2, 3), 2)]
    [((0, 1), (0, 2)), ((0, 1), (2, 3)), ((1, 2), (0, 2)), ((1, 2), (2, 3))]
    """
    if 0 in shape:
        return
    axis = next((axis for axis in range(len(shape)) if math.prod(shape[axis + 1 :]) <= elements), None)
    if axis is None:  # no axes: one number
        yield ()
        return
    step = max(elements // math.prod(shape[axis + 1 :]), 1)
    for outer in np.ndindex(shape[:axis]):
        for start in range(0, shape[axis], step):
            yield (*(slice(at, at + 1) for at in outer), slice(start, min(start + step, shape[axis])))


# ------------------------------------------------------------------------------------------------------


def _spans(pairs: Sequence[Pair]) -> tuple[list[_Span], list[int]]:
    """What lies in runs on both sides, joined where both go on; and the pairs that do not."""
    cut: list[tuple[int, int, int, int, int, int]] = []
    buffers: dict[int, Buffer] = {}
    scattered = []
    for index, (left, right) in enumerate(pairs):
        shared = _shared_runs(left, right)
        if shared is None:
            scattered.append(index)
            continue
        for ours, at, theirs, other, length in shared:
            buffers[id(ours)], buffers[id(theirs)] = ours, theirs
            cut.append((id(ours), at, id(theirs), other, length, index))
    cut.sort()
    spans: list[_Span] = []
    for ours_id, at, theirs_id, other, length, index in cut:
        last = spans[-1] if spans else None
        if (
            last is not None
            and id(last.left) == ours_id
            and id(last.right) == theirs_id
            and last.left_start + last.length == at
            and last.right_start + last.length == other
        ):
            last.length += length
            last.members.append((last.length, index))
        else:
            spans.append(_Span(buffers[ours_id], at, buffers[theirs_id], other, length, [(length, index)]))
    return spans, scattered


type _Shared = tuple[Buffer, int, Buffer, int, int]


def _shared_runs(left: StoredTensor, right: StoredTensor) -> list[_Shared] | None:
    """(left buffer, byte, right buffer, byte, bytes) of the parts that are a run on both sides; None where some are not."""
    if (ours := left.run) is not None and (theirs := right.run) is not None:
        return [(*ours, *theirs, left.nbytes)] if left.nbytes else []
    mine, others = _runs(left), _runs(right)
    if mine is None or others is None:
        return None
    found: list[_Shared] = []
    item = dtype_of(left.dtype).bytes
    i = j = 0
    while i < len(mine) and j < len(others):
        (start, length, buffer, at), (other_start, other_length, other_buffer, other_at) = mine[i], others[j]
        low, high = max(start, other_start), min(start + length, other_start + other_length)
        if high > low:
            where = at + (low - start) * item, other_at + (low - other_start) * item
            found.append((buffer, where[0], other_buffer, where[1], (high - low) * item))
        if start + length <= high:
            i += 1
        if other_start + other_length <= high:
            j += 1
    return found


def _runs(tensor: StoredTensor) -> list[tuple[int, int, Buffer, int]] | None:
    """(first element, elements, buffer, byte) of the boxes, in order, if each is one run of the tensor and of its file."""
    found = []
    strides = row_major(tensor.shape)
    for piece in tensor.pieces:
        if piece.strides != row_major(piece.shape) and not _flat(piece.shape, piece.strides):
            return None
        partial = [axis for axis, size in enumerate(piece.shape) if size != tensor.shape[axis]]
        if any(piece.shape[axis] != 1 for axis in range(partial[-1] if partial else 0)):
            return None
        start = sum(at * stride for at, stride in zip(piece.offset, strides, strict=True))
        found.append((start, math.prod(piece.shape), piece.data, piece.start))
    return sorted(found, key=lambda run: run[0])


def _flat(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    return all(
        size == 1 or stride == whole for size, stride, whole in zip(shape, strides, row_major(shape), strict=True)
    )


def _cut(span: _Span) -> Iterator[_Span]:
    """A span in parts of `SPAN_BYTES`, each with the members that reach into it."""
    at = first = 0
    while at < span.length:
        length = min(SPAN_BYTES, span.length - at)
        members = []
        for place in range(first, len(span.members)):
            end, index = span.members[place]
            members.append((min(end - at, length), index))
            if end >= at + length:
                first = place + (end == at + length)
                break
        yield _Span(span.left, span.left_start + at, span.right, span.right_start + at, length, members)
        at += length


def _differs(span: _Span) -> bool:
    ours, theirs = span.left.view(span.left_start, span.length), span.right.view(span.right_start, span.length)
    return _memcmp(ours.ctypes.data, theirs.ctypes.data, span.length) != 0


def _members_that_differ(span: _Span) -> Iterator[int]:
    ours, theirs = span.left.view(span.left_start, span.length), span.right.view(span.right_start, span.length)
    start = 0
    for end, index in span.members:
        if not np.array_equal(ours[start:end], theirs[start:end]):
            yield index
        start = end


def _differs_anywhere(pair: Pair) -> bool:
    return any(unequal_bits(ours, theirs).any() for ours, theirs in blocks(*pair, elements=SPAN_BYTES // 8))


def _mapped[Task](
    pool: ThreadPoolExecutor, work: Callable[[Task], bool], tasks: Iterator[Task]
) -> Iterator[tuple[Task, bool]]:
    """`pool.map` that holds few tasks at a time, and gives each with its result."""
    while few := list(islice(tasks, 64 * THREADS)):
        yield from zip(few, pool.map(work, few), strict=True)
