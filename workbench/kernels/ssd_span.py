"""A few neighbouring chunks of a scan: what the forward and the backward pass both compute of them, and how it lies in memory.

Letters as in `workbench.kernels.ssd`; d counts the chunks of a span. Tensors lie as [d, b, h, q, …] for what every head does
alone and as [d·b·g, q, r·p] for the products that the heads of a group share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.kernels.ssd_cuts import Span

_LOG2_E = math.log2(math.e)


class Scratch:
    """Memory for what lives no longer than a span. The next span writes to the same places, so that they are in the cache."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._flat: dict[str, Tensor] = {}
        self._shaped: dict[tuple[str, tuple[int, ...]], Tensor] = {}
        self._masks: dict[int, Tensor] = {}

    @property
    def dtype(self) -> torch.dtype:
        """Of all that stands there."""
        return self._like.dtype

    def room(self, name: str, shape: Sequence[int]) -> Tensor:
        """Whatever was there under this name, in a new shape."""
        key = (name, tuple(shape))
        found = self._shaped.get(key)
        if found is None:
            size = math.prod(shape)
            flat = self._flat.get(name)
            if flat is None or len(flat) < size:
                flat = self._flat[name] = self._like.new_empty(size)
            found = self._shaped[key] = flat[:size].view(*shape)
        return found

    def to_come(self, size: int) -> Tensor:
        """[size, size], −∞ where a column stands after its row, 0 elsewhere."""
        found = self._masks.get(size)
        if found is None:
            found = self._masks[size] = self._like.new_full((size, size), float("-inf")).triu_(1)
        return found


@dataclass(frozen=True)
class Chunks:
    """The inputs of a span in chunks, and for every pair of its tokens their decay and their score."""

    x: Tensor  # d b h q p
    dt: Tensor  # d b h q
    u: Tensor  # d b h q p, dt·x
    B: Tensor  # d·b·g q n
    C: Tensor  # d·b·g q n
    sums: Tensor  # d b h q, s / ln 2: the sum of dt·A up to and with a token, for powers of two
    decay: Tensor  # d b h q k, exp(s_q − s_k), 0 where k comes after q
    scores: Tensor  # d b g q k, C_q·B_k
    scratch: Scratch

    @classmethod
    def of(cls, span: Span, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, scratch: Scratch) -> Chunks:
        """`x` [b, l, h, p], `dt` [b, l, h], `A` [h] in the dtype of the work, `B` and `C` [b, l, g, n].

        Decays are powers of two: torch's `exp` takes ten times as long where its argument is −∞ or its result subnormal.
        """
        work = A.dtype
        x = heads_first(span, x).to(work)
        dt = heads_first(span, dt).to(work).contiguous()
        u = torch.mul(x, dt[..., None], out=scratch.room("u", x.shape))
        B, C = _rows(span, B, scratch, "B"), _rows(span, C, scratch, "C")
        sums = (dt * (A * _LOG2_E)[:, None]).cumsum(dim=-1)
        decay = scratch.room("decay", (*sums.shape, span.size))
        torch.sub(sums[..., :, None], sums[..., None, :], out=decay).add_(scratch.to_come(span.size)).exp2_()
        scores = scratch.room("scores", (len(B), span.size, span.size))
        torch.bmm(C, B.mT, out=scores)
        return cls(x, dt, u, B, C, sums, decay, scores.view(*x.shape[:2], -1, span.size, span.size), scratch)

    @property
    def groups(self) -> int:
        """g."""
        return self.scores.shape[2]

    def so_far(self) -> Tensor:
        """exp(s_q), the share of the entering state that token q still sees: [d, b, h, q]."""
        return self.sums.exp2()

    def to_end(self) -> Tensor:
        """exp(s_last − s_k), the share of token k's write that leaves the chunk: [d, b, h, q]."""
        return (self.sums[..., -1:] - self.sums).exp2_()

    def whole(self) -> Tensor:
        """exp(s_last), the share of the entering state that leaves the chunk: [d, b, h, 1, 1]."""
        return self.sums[..., -1, None, None].exp2()

    def by_group(self, tensor: Tensor) -> Tensor:
        """[d, b, h, …] → [d, b, g, r, …], a view."""
        return tensor.unflatten(2, (self.groups, -1))

    def mixed(self, out: Tensor) -> Tensor:
        """Decay times score for every pair of tokens, [d·b·h, q, k], written into `out` [d, b, h, q, k]."""
        torch.mul(self.by_group(self.decay), self.scores[:, :, :, None], out=self.by_group(out))
        return out.flatten(0, 2)

    def shared(self, tensor: Tensor, factor: Tensor) -> Tensor:
        """`tensor` [d, b, h, q, p] times `factor` [d, b, h, q], for products of a group: [d·b·g, q, r·p].

        It stands where the one before it stood.
        """
        parts = self.by_group(tensor).transpose(3, 4)
        factors = self.by_group(factor).transpose(3, 4)[..., None]
        return torch.mul(parts, factors, out=self.scratch.room("shared", parts.shape)).flatten(0, 2).flatten(2)

    def read(self, rows: Tensor, states: Tensor) -> Tensor:
        """`rows` [d·b·g, q, n] times `states` [d, b, h, p, n]: [d·b·g, q, r·p]. It stands where the one before it stood."""
        by_group = self.states(states)
        room = self.scratch.room("read", (len(rows), rows.shape[1], by_group.shape[1]))
        return torch.bmm(rows, by_group.mT, out=room)

    def alone(self, shared: Tensor) -> Tensor:
        """The way back, a view: [d·b·g, q, r·p] → [d, b, g, r, q, p]."""
        d, b, h, q, p = self.x.shape
        return shared.view(d, b, self.groups, q, h // self.groups, p).transpose(3, 4)

    def empty_state(self) -> Tensor:
        """Room of its own for the state of a chunk: [b, h, p, n]."""
        return self.sums.new_empty(self._state_shape)

    def room_for_states(self) -> Tensor:
        """Room for the states of the chunks, until the next span: [d, b, h, p, n]."""
        return self.scratch.room("states", (len(self.x), *self._state_shape))

    @property
    def _state_shape(self) -> tuple[int, ...]:
        _, b, h, _, p = self.x.shape
        return b, h, p, self.B.shape[-1]

    def states(self, states: Tensor) -> Tensor:
        """[…, h, p, n] of every row or of every chunk and row, for products of a group: […·g, r·p, n], a view."""
        return states.view(-1, self.x.shape[2] // self.groups * states.shape[-2], states.shape[-1])


def heads_first(span: Span, tensor: Tensor) -> Tensor:
    """[b, l, h, …] → [d, b, h, q, …], a view; groups for heads in B and C."""
    return span.of(tensor).transpose(2, 3)


def _rows(span: Span, tensor: Tensor, scratch: Scratch, name: str) -> Tensor:
    """B or C of a span: [d·b·g, q, n], a view where there is one group."""
    parts = heads_first(span, tensor)
    if parts.shape[2] == 1:
        return parts.to(scratch.dtype).flatten(0, 2)
    return scratch.room(name, parts.shape).copy_(parts).flatten(0, 2)
