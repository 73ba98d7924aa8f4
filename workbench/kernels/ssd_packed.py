"""Packed sequences for the chunked scan: each begins a chunk of its own, so that no number of one reaches another.

Tokens are moved once to where chunks begin and back once. Between the end of a sequence and the next chunk stand copies of
its own last token with a time step of zero, which neither decay a state nor write to it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench.kernels.once import differentiable_once
from workbench.kernels.ssd_cuts import Cuts

_SMALLEST_CHUNK = 16


@dataclass(frozen=True)
class Packing:
    """`slots` [l′] says which token stands in a slot, `places` [l] in which slot a token stands, `spare` [l′] which are copies."""

    cuts: Cuts
    slots: Tensor
    places: Tensor
    spare: Tensor

    @classmethod
    def of(cls, places: list[int], largest_chunk: int) -> Packing:
        """`places` are cumulative lengths that begin with 0; empty sequences must have been left out."""
        lengths = [end - start for start, end in itertools.pairwise(places)]
        chunk = best_chunk(lengths, largest_chunk)
        counts = [-(-length // chunk) for length in lengths]
        begins = [first == 0 for count in counts for first in range(count)]
        start, length, count = (torch.tensor(numbers) for numbers in (places[:-1], lengths, counts))
        room = count * chunk
        first_slot = room.cumsum(0) - room
        offset = torch.arange(int(room.sum())) - first_slot.repeat_interleave(room)
        inside = length.repeat_interleave(room)
        slots = start.repeat_interleave(room) + torch.minimum(offset, inside - 1)
        token = torch.arange(places[-1]) + (first_slot - start).repeat_interleave(length)
        return cls(Cuts(len(slots), chunk, tuple(begins)), slots, token, offset >= inside)

    def spread(self, tensor: Tensor) -> Tensor:
        """[1, l, …] → [1, l′, …]."""
        return _Move.apply(tensor, self.slots, self.places, None)

    def steps(self, dt: Tensor) -> Tensor:
        """The same for time steps, zero for the copies."""
        return self.spread(dt).masked_fill(self.spare[:, None], 0.0)

    def gather(self, tensor: Tensor) -> Tensor:
        """The way back: [1, l′, …] → [1, l, …]."""
        return _Move.apply(tensor, self.places, self.slots, self.spare)


def best_chunk(lengths: list[int], largest: int) -> int:
    """The chunk for which all chunks together cost least, among `largest` and its halves down to 16 tokens.

    A chunk costs its tokens, once more as much at 128 (pairs of tokens against products with states, at a head width of 64
    and a state of 128), and 32 tokens for being one.
    """

    def cost(chunk: int) -> float:
        return sum(-(-length // chunk) for length in lengths) * (chunk * (1 + chunk / 128) + 32)

    return min(_halves(largest), key=cost)


def _halves(largest: int) -> list[int]:
    halves = [largest]
    while halves[-1] // 2 >= _SMALLEST_CHUNK:
        halves.append(halves[-1] // 2)
    return halves


class _Move(torch.autograd.Function):
    """Takes `there` along the tokens; its gradient goes by `back`, which costs no sum over what went to one place.

    What a copy gets is left out (`there` holds a token once or more, `back` each once). With `unasked`, `there` leaves places
    out, and those have no gradient.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, there: Tensor, back: Tensor, unasked: Tensor | None) -> Tensor:
        ctx.back, ctx.unasked = back, unasked
        return tensor.index_select(1, there)

    @staticmethod
    @differentiable_once("the scan of packed sequences")
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        moved = gradient.index_select(1, ctx.back)
        if ctx.unasked is not None:
            moved.masked_fill_(ctx.unasked.view(-1, *[1] * (moved.dim() - 2)), 0.0)
        return moved, None, None, None
