"""Every token has one place in one chunk, chunks hold one sequence each, and blocks hold as many chunks as they may."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from workbench.kernels.delta_plan import into_chunks, out_of_chunks, plan

PLACES = {"one": [0, 10], "whole chunks": [0, 8, 12], "uneven": [0, 5, 6, 13], "empty": [0, 0, 3, 3, 9, 9]}


@pytest.mark.parametrize("block_rows", [1, 20, 1000])
@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
def test_tokens_come_back_and_fillings_are_zero(places: list[int], block_rows: int) -> None:
    made = plan(places, rows=2, chunk_size=4, block_rows=block_rows)
    tokens = torch.arange(1, places[-1] + 1)[None, :, None].expand(1, -1, 2).contiguous()
    back, seen, state = torch.zeros_like(tokens), [], None
    for block in made.blocks:
        chunks = into_chunks(tokens, block, made.chunk)
        assert chunks.shape == (block.chunks, 1, 2, made.chunk)
        out_of_chunks(chunks, block, back)
        for index, chunk in enumerate(chunks[:, 0, 0]):
            state = block.starts.get(index, state)
            assert state is not None
            inside = chunk[chunk > 0].tolist()
            assert chunk[len(inside) :].eq(0).all()
            assert all(places[state] < token <= places[state + 1] for token in inside)
            seen += inside
            assert (seen[-1] == places[state + 1]) == (block.ends.get(index) == state)
    assert torch.equal(back, tokens)
    assert seen == list(range(1, places[-1] + 1))
    assert made.sequences == len(places) - 1


def test_blocks_are_as_large_as_they_may_be() -> None:
    made = plan([0, 40], rows=2, chunk_size=4, block_rows=24)
    assert [block.chunks for block in made.blocks] == [3, 3, 3, 1]
    assert [a.stop == b.start for a, b in pairwise(made.blocks)] == [True] * 3
    assert [block.places for block in made.blocks] == [None] * 4


def test_a_chunk_is_no_longer_than_the_longest_sequence() -> None:
    assert plan([0, 3, 8], rows=1, chunk_size=64).chunk == 5
