"""Bits compared where they lie: however two tensors are cut, exactly the pairs that differ are found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.checkpoint.buffers import MemoryBuffer
from workbench.checkpoint.comparing import blocks as module
from workbench.checkpoint.comparing.blocks import blocks, regions, unequal
from workbench.checkpoint.tensors import StoredTensor, concatenated, contiguous


@st.composite
def cut_up(draw, bits: np.ndarray) -> StoredTensor:
    """A tensor of these bits: in one run, or in pieces along an axis, each in a buffer of its own."""
    if bits.ndim and draw(st.booleans()):
        axis = draw(st.integers(0, bits.ndim - 1))
        if bits.shape[axis] > 1:
            at = draw(st.integers(1, bits.shape[axis] - 1))
            parts = np.split(bits, [at], axis)
            return concatenated([draw(cut_up(np.ascontiguousarray(part))) for part in parts], axis)
    padding = draw(st.integers(0, 3))
    data = np.concatenate([np.zeros(padding, np.uint8), bits.reshape(-1).view(np.uint8)])
    return contiguous(MemoryBuffer(data), padding, bits.shape, "uint16")


@st.composite
def several(draw) -> tuple[list[tuple[StoredTensor, StoredTensor]], set[int]]:
    pairs, differ = [], set()
    for place in range(draw(st.integers(1, 4))):
        shape = tuple(draw(st.lists(st.integers(1, 5), max_size=3)))
        bits = np.arange(math.prod(shape), dtype=np.uint16).reshape(shape)
        other = bits.copy()
        if draw(st.booleans()):
            other.reshape(-1)[draw(st.integers(0, other.size - 1))] ^= draw(st.integers(1, 2**16 - 1))
            differ.add(place)
        pairs.append((draw(cut_up(bits)), draw(cut_up(other))))
    return pairs, differ


@settings(max_examples=200, deadline=None)
@given(several())
def test_exactly_what_differs_is_found(drawn):
    pairs, differ = drawn
    told: list[int] = []
    assert unequal(pairs, told.append) == differ
    assert sum(told) == sum(left.nbytes for left, _ in pairs)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.data())
def test_neighbours_are_compared_in_one_go_and_told_apart(lengths, data):
    """Tensors one behind the other in one file, spans that end inside of them, and one byte anywhere."""
    whole = np.random.default_rng(0).integers(0, 256, sum(lengths), np.uint8)
    other, differ = whole.copy(), set()
    if whole.size:
        for at in data.draw(st.sets(st.integers(0, whole.size - 1), max_size=3)):
            other[at] ^= 1
            differ.add(int(np.searchsorted(np.cumsum(lengths), at, "right")))
    ours, theirs = MemoryBuffer(whole), MemoryBuffer(other)
    starts = np.cumsum([0, *lengths])
    pairs = [
        (contiguous(ours, int(start), (length,), "uint8"), contiguous(theirs, int(start), (length,), "uint8"))
        for start, length in zip(starts, lengths, strict=False)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SPAN_BYTES", data.draw(st.integers(1, 20)))
        assert unequal(pairs) == differ


@given(st.lists(st.integers(0, 5), max_size=4), st.integers(1, 40))
def test_regions_cut_a_shape_into_runs_in_order(shape, elements):
    array = np.arange(math.prod(shape)).reshape(shape)
    parts = [array[region].reshape(-1) for region in regions(tuple(shape), elements)]
    assert all(part.size <= elements for part in parts)
    assert (np.concatenate(parts) if parts else np.empty(0)).tolist() == array.reshape(-1).tolist()


@given(st.integers(1, 50))
def test_blocks_are_small_and_in_order(elements):
    tensor = contiguous(MemoryBuffer(np.arange(60, dtype=np.uint16).view(np.uint8)), 0, (3, 4, 5), "uint16")
    parts = [ours for ours, _ in blocks(tensor, tensor, elements)]
    assert all(part.size <= elements for part in parts)
    assert np.concatenate(parts).tolist() == list(range(60))
