"""Boxes of bytes: whatever is sliced, joined or stacked holds what numpy has after the same; shards must cover, exactly."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.checkpoint.buffers import MemoryBuffer
from workbench.checkpoint.tensors import (
    Piece,
    StoredTensor,
    bytes_of,
    check_covered,
    concatenated,
    contiguous,
    row_major,
    stacked,
)
from workbench.errors import WorkbenchError

type Pair = tuple[StoredTensor, np.ndarray[Any, np.dtype[Any]]]

TYPES = {"float32": "u4", "bfloat16": "u2", "int8": "u1", "complex128": "V16"}


def fresh(shape: tuple[int, ...], dtype: str, seed: int) -> Pair:
    """A tensor of random bits that lies at an odd byte, and the same as an array."""
    item = np.dtype(TYPES[dtype])
    raw = np.random.default_rng(seed).integers(0, 256, int(np.prod(shape, dtype=int)) * item.itemsize + 3, np.uint8)
    return contiguous(MemoryBuffer(raw), 3, shape, dtype), raw[3:].view(item).reshape(shape)


@st.composite
def pairs(draw: st.DrawFn, steps: int = 6) -> Pair:
    """A tensor after some steps, and numpy's array after the same."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    dtype, seed = draw(st.sampled_from(sorted(TYPES))), draw(st.integers(0, 1000))
    tensor, array = fresh(shape, dtype, seed)
    for _ in range(draw(st.integers(0, steps))):
        axes = tensor.shape
        if not axes:
            break
        axis = draw(st.integers(0, len(axes) - 1))
        match draw(st.sampled_from(["narrow", "select", "concatenate", "stack", "axis", "region"])):
            case "narrow":
                start = draw(st.integers(0, axes[axis]))
                length = draw(st.integers(0, axes[axis] - start))
                tensor = tensor.narrow(axis, start, length)
                array = array[(slice(None),) * axis + (slice(start, start + length),)]
            case "select" if axes[axis]:
                index = draw(st.integers(0, axes[axis] - 1))
                tensor, array = tensor.select(axis, index), np.take(array, index, axis)
            case "concatenate" if len(axes) < 6 and array.size < 5000:
                size = draw(st.integers(0, 3))
                other, more = fresh((*axes[:axis], size, *axes[axis + 1 :]), dtype, seed + 1)
                tensor, array = concatenated([tensor, other, tensor], axis), np.concatenate([array, more, array], axis)
            case "stack" if len(axes) < 6 and array.size < 5000:
                tensor, array = stacked([tensor, tensor]), np.stack([array, array])
            case "axis" if len(axes) < 6:
                tensor, array = tensor.with_axis(), array[None]
            case "region":
                region = tuple(
                    slice(*sorted(draw(st.tuples(*[st.integers(0, size)] * 2)))) for size in axes[: axis + 1]
                )
                tensor, array = tensor.narrow_to(region), array[region]
    return tensor, array


@given(pairs())
def test_steps_are_numpy_s(pair: Pair):
    tensor, array = pair
    assert (tensor.shape, tensor.elements) == (array.shape, array.size)
    assert tensor.nbytes == array.nbytes
    assert tensor.bits().tobytes() == array.tobytes()
    if array.size:
        check_covered("a", tensor)


@given(pairs(), st.data())
def test_regions_are_numpy_s(pair: Pair, data: st.DataObject):
    tensor, array = pair
    bound = st.none() | st.integers(-6, 6)
    axes = data.draw(st.integers(0, array.ndim))
    region = tuple(slice(data.draw(bound), data.draw(bound)) for _ in range(axes))
    assert tensor.bits(region).tobytes() == array[region].tobytes()
    assert tensor.narrow_to(region).shape == array[region].shape


@given(pairs())
def test_a_run_is_the_bytes_themselves(pair: Pair):
    tensor, array = pair
    if (run := tensor.run) is not None:
        data, start = run
        assert data.view(start, tensor.nbytes).tobytes() == array.tobytes()
    else:
        piece = tensor.pieces[0] if tensor.pieces else None
        assert len(tensor.pieces) != 1 or (piece is not None and piece.strides != row_major(piece.shape))


def test_one_box_is_not_copied():
    raw = np.arange(24, dtype=np.uint8)
    tensor = contiguous(MemoryBuffer(raw), 0, (2, 3, 4), "uint8")
    assert np.shares_memory(tensor.narrow(1, 1, 2).bits(), raw)
    assert not tensor.bits().flags.writeable


def test_strided_boxes():
    raw = np.arange(12, dtype=np.uint8)
    transposed = StoredTensor((4, 3), "uint8", (Piece(MemoryBuffer(raw), 0, (0, 0), (4, 3), (1, 4)),))
    assert transposed.run is None
    assert transposed.bits().tolist() == raw.reshape(3, 4).T.tolist()
    assert transposed.narrow(0, 1, 2).select(1, 2).bits().tolist() == [9, 10]
    expanded = StoredTensor((3, 2), "uint8", (Piece(MemoryBuffer(raw), 5, (0, 0), (3, 2), (0, 1)),))
    assert expanded.bits().tolist() == [[5, 6]] * 3


def test_axes_of_one_and_none_are_runs_whatever_their_strides():
    raw = MemoryBuffer(np.arange(6, dtype=np.uint8))
    for shape, strides in (((1, 6), (99, 1)), ((6, 1), (1, 99)), ((1,), (7,)), ((), ())):
        assert StoredTensor(shape, "uint8", (Piece(raw, 0, (0,) * len(shape), shape, strides),)).run is not None


def test_what_does_not_join_is_a_mistake_of_ours():
    a, b = fresh((2, 3), "float32", 0)[0], fresh((2, 3), "int8", 0)[0]
    with pytest.raises(AssertionError, match="several dtypes"):
        concatenated([a, b])
    with pytest.raises(AssertionError, match="do not join"):
        concatenated([a, fresh((2, 4), "float32", 0)[0]])
    with pytest.raises(AssertionError, match="outside of the tensor"):
        a.narrow(0, 1, 2)


# ---- shards ---------------------------------------------------------------------------------------------


def shards(shape: tuple[int, ...], *boxes: tuple[tuple[int, ...], tuple[int, ...]]) -> StoredTensor:
    data = MemoryBuffer(np.zeros(1000, np.uint8))
    return StoredTensor(shape, "uint8", tuple(Piece(data, 0, at, size, row_major(size)) for at, size in boxes))


@pytest.mark.parametrize(
    "tensor",
    [
        shards((4, 6), ((0, 0), (4, 6))),
        shards((4, 6), ((0, 0), (2, 6)), ((2, 0), (2, 6))),
        shards(
            (4, 6), ((0, 0), (1, 4)), ((0, 4), (3, 2)), ((1, 0), (3, 1)), ((1, 1), (2, 3)), ((3, 1), (1, 5))
        ),  # a pinwheel
        shards((0, 6)),
        shards((0, 6), ((0, 0), (0, 6))),
        shards((), ((), ())),
        shards((3,), ((0,), (2,)), ((2,), (0,)), ((2,), (1,))),  # one holds nothing
    ],
)
def test_shards_that_cover(tensor):
    check_covered("a", tensor)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (shards((4, 6), ((0, 0), (3, 6))), "a has 24 elements, and its shards hold 18: a shard is missing"),
        (shards((4, 6)), "a has 24 elements, and its shards hold 0: a shard is missing"),
        (shards((4, 6), ((0, 0), (2, 6)), ((1, 0), (2, 6))), "a has shards that overlap"),
        (shards((4, 6), ((0, 0), (4, 6)), ((0, 0), (1, 1))), "a has shards that overlap"),
        (shards((2, 2), ((0, 0), (2, 1)), ((0, 0), (1, 2)), ((1, 1), (1, 1))), "a has shards that overlap"),
        (shards((4, 6), ((0, 0), (5, 6))), "a is [4, 6], and a shard of it lies outside of that"),
        (shards((4, 6), ((-1, 0), (4, 6))), "a is [4, 6], and a shard of it lies outside of that"),
        (shards((4, 6), ((0,), (24,))), "a has 2 axes, and one of its shards 1"),
        (shards((4, 6), ((0, 0, 0), (4, 6, 1))), "a has 2 axes, and one of its shards 3"),
    ],
)
def test_shards_that_do_not(tensor, said):
    with pytest.raises(WorkbenchError) as caught:
        check_covered("a", tensor)
    assert str(caught.value).startswith(said)


def test_shards_without_end():
    """Three thousand cuts along each of three axes would take a grid of 27 billion cells."""
    boxes = [((at, at, at), (1, 1, 1)) for at in range(3000)]
    with pytest.raises(WorkbenchError, match="a shard is missing"):
        check_covered("a", shards((3000, 3000, 3000), *boxes))
    whole = [((at, 0, 0), (1, 3000, 3000)) for at in range(3000)]
    check_covered("a", shards((3000, 3000, 3000), *whole))
    with pytest.raises(WorkbenchError, match="cells: that is no checkpoint"):
        check_covered("a", shards((3000, 3000, 3000), *boxes, *whole))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.data())
def test_any_grid_covers_and_any_loss_shows(shape: list[int], data: st.DataObject):
    cuts = [sorted({0, size, *data.draw(st.lists(st.integers(0, size), max_size=3))}) for size in shape]
    boxes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((), ())]
    for each in cuts:
        spans = list(pairwise(each))
        boxes = [((*at, low), (*size, high - low)) for at, size in boxes for low, high in spans]
    check_covered("a", shards(tuple(shape), *boxes))
    lost = data.draw(st.integers(0, len(boxes) - 1))
    with pytest.raises(WorkbenchError):
        check_covered("a", shards(tuple(shape), *boxes[:lost], *boxes[lost + 1 :]))
    with pytest.raises(WorkbenchError):
        check_covered("a", shards(tuple(shape), *boxes, boxes[lost]))


# ---- sizes ----------------------------------------------------------------------------------------------


def test_bytes_of_a_shape():
    assert [bytes_of(shape, "bfloat16") for shape in ((), (3, 4), (0, 2**61))] == [2, 24, 0]
    for shape in ((2**62,), (2**31, 2**31), (0, 2**62), (1,) * 65):
        with pytest.raises(WorkbenchError, match="is larger than any can be"):
            bytes_of(shape, "bfloat16")
    assert np.empty((0, 2**60), np.uint16).size == 0  # numpy takes what is let pass
