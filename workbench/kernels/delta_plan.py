"""Which tokens the chunked delta rule takes together: sequences into chunks, chunks into blocks that stay in the cache.

A chunk never holds tokens of two sequences: each sequence is filled up to whole chunks with tokens that do nothing (their
q, k, v, g and beta are zero), so that packed sequences are computed chunk by chunk as they are alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Tokens times heads of a block: its working set of about twelve tensors stays near the caches, and a call costs little beside it.
BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Block:
    """Consecutive chunks: their tokens are `start` to `stop` of the row.

    `places` [tokens] says where each goes among chunks · chunk_size places, or is None where they fill them all. `starts` and
    `ends` map a chunk of the block to the sequence that begins, or is complete, with it.
    """

    start: int
    stop: int
    chunks: int
    places: Tensor | None
    starts: dict[int, int]
    ends: dict[int, int]


@dataclass(frozen=True)
class Plan:
    """A row of tokens cut up. `chunk` is in tokens, `sequences` counts the empty ones, which have no chunk, too."""

    chunk: int
    sequences: int
    blocks: tuple[Block, ...]


def plan(places: Sequence[int], rows: int, chunk_size: int, block_rows: int | None = None) -> Plan:
    """The plan for sequences that lie between `places` (rising from 0), with `rows` = batch · heads states side by side.

    >>> blocks = plan([0, 5, 5, 7], rows=1, chunk_size=4).blocks
    >>> [(block.start, block.stop, block.chunks, block.starts, block.ends) for block in blocks]
    [(0, 7, 3, {0: 0, 2: 2}, {1: 0, 2: 2})]
    """
    chunk = min(chunk_size, max(end - start for start, end in itertools.pairwise(places)))
    most = max(1, (BLOCK_ROWS if block_rows is None else block_rows) // (rows * chunk))
    blocks: list[Block] = []
    pieces: list[tuple[int, int]] = []  # tokens of each chunk of the block in the making
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}

    def finish() -> None:
        nonlocal pieces, starts, ends
        if pieces:
            blocks.append(Block(pieces[0][0], pieces[-1][1], len(pieces), _places(pieces, chunk), starts, ends))
        pieces, starts, ends = [], {}, {}

    for sequence, (start, end) in enumerate(itertools.pairwise(places)):
        for first in range(start, end, chunk):
            if len(pieces) == most:
                finish()
            if first == start:
                starts[len(pieces)] = sequence
            if first + chunk >= end:
                ends[len(pieces)] = sequence
            pieces.append((first, min(first + chunk, end)))
    finish()
    return Plan(chunk, len(places) - 1, tuple(blocks))


def into_chunks(tensor: Tensor, block: Block, chunk: int) -> Tensor:
    """[b, l, h, …] → the block's tokens as [m, b, h, q, …]: a view where they fill their chunks, else filled up with zeros."""
    part = tensor[:, block.start : block.stop]
    if block.places is not None:
        filled = part.new_zeros(part.shape[0], block.chunks * chunk, *part.shape[2:])
        part = filled.index_copy_(1, block.places, part)
    return part.unflatten(1, (block.chunks, chunk)).movedim((1, 3), (0, 2))


def out_of_chunks(chunks: Tensor, block: Block, target: Tensor, factor: Tensor | None = None) -> None:
    """The inverse: [m, b, h, q, …], times `factor`, into the block's tokens of `target` [b, l, h, …], in its dtype."""
    part = target[:, block.start : block.stop]
    if block.places is not None:
        chunks = chunks if factor is None else chunks * factor
        part.copy_(chunks.movedim((0, 2), (1, 3)).flatten(1, 2).index_select(1, block.places))
        return
    tokens = part.unflatten(1, (block.chunks, -1)).movedim((1, 3), (0, 2))
    if factor is None:
        tokens.copy_(chunks)
    else:
        torch.mul(chunks, factor, out=tokens)


# ------------------------------------------------------------------------------------------------------


def _places(pieces: list[tuple[int, int]], chunk: int) -> Tensor | None:
    if all(end - start == chunk for start, end in pieces):
        return None
    return torch.cat([torch.arange(end - start) + index * chunk for index, (start, end) in enumerate(pieces)])
