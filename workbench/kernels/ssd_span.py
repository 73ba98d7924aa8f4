"""A few neighbouring chunks of a scan: what the forward and the backward pass both compute of them, and how it lies in memory.

Letters as in `workbench.kernels.ssd`; d counts the chunks of a span. Tensors lie as [d, b, h, q, …] for what every head does
alone and as [d·b·g, q, r·p] for the products that the heads of a group share.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.kernels.ssd_cuts import Span


@dataclass(frozen=True)
class Chunks:
    """The inputs of a span in chunks, and for every pair of its tokens their decay and their score."""

    x: Tensor  # d b h q p
    dt: Tensor  # d b h q
    u: Tensor  # d b h q p, dt·x
    B: Tensor  # d·b·g q n
    C: Tensor  # d·b·g q n
    sums: Tensor  # d b h q, s: the sum of dt·A up to and with a token
    decay: Tensor  # d b h q k, exp(s_q − s_k), 0 where k comes after q
    scores: Tensor  # d b g q k, C_q·B_k

    @classmethod
    def of(cls, span: Span, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Chunks:
        """`x` [b, l, h, p], `dt` [b, l, h], `A` [h] in the dtype of the work, `B` and `C` [b, l, g, n]."""
        work = A.dtype
        x = heads_first(span, x).to(work)
        dt = heads_first(span, dt).to(work).contiguous()
        u = torch.mul(x, dt[..., None], out=dt.new_empty(x.shape))
        B, C = (heads_first(span, tensor).to(work).flatten(0, 2) for tensor in (B, C))
        sums = (dt * A[:, None]).cumsum(dim=-1)
        to_come = dt.new_full((span.size, span.size), float("-inf")).triu_(1)
        decay = torch.sub(sums[..., :, None], sums[..., None, :]).add_(to_come).exp_()
        scores = torch.bmm(C, B.mT).view(*x.shape[:2], -1, span.size, span.size)
        return cls(x, dt, u, B, C, sums, decay, scores)

    @property
    def groups(self) -> int:
        """g."""
        return self.scores.shape[2]

    def so_far(self) -> Tensor:
        """exp(s_q), the share of the entering state that token q still sees: [d, b, h, q]."""
        return self.sums.exp()

    def to_end(self) -> Tensor:
        """exp(s_last − s_k), the share of token k's write that leaves the chunk: [d, b, h, q]."""
        return (self.sums[..., -1:] - self.sums).exp_()

    def whole(self) -> Tensor:
        """exp(s_last), the share of the entering state that leaves the chunk: [d, b, h, 1, 1]."""
        return self.sums[..., -1, None, None].exp()

    def by_group(self, tensor: Tensor) -> Tensor:
        """[d, b, h, …] → [d, b, g, r, …], a view."""
        return tensor.unflatten(2, (self.groups, -1))

    def mixed(self, out: Tensor) -> Tensor:
        """Decay times score for every pair of tokens, [d·b·h, q, k], written into `out` [d, b, h, q, k]."""
        torch.mul(self.by_group(self.decay), self.scores[:, :, :, None], out=self.by_group(out))
        return out.flatten(0, 2)

    def shared(self, tensor: Tensor, factor: Tensor) -> Tensor:
        """`tensor` [d, b, h, q, p] times `factor` [d, b, h, q], for products of a group: [d·b·g, q, r·p]."""
        parts = self.by_group(tensor).transpose(3, 4)
        factors = self.by_group(factor).transpose(3, 4)[..., None]
        return torch.mul(parts, factors, out=factor.new_empty(parts.shape)).flatten(0, 2).flatten(2)

    def alone(self, shared: Tensor) -> Tensor:
        """The way back, a view: [d·b·g, q, r·p] → [d, b, g, r, q, p]."""
        d, b, h, q, p = self.x.shape
        return shared.view(d, b, self.groups, q, h // self.groups, p).transpose(3, 4)

    def empty_states(self, count: int) -> Tensor:
        """Room for the states of `count` chunks: [count, b, h, p, n]."""
        _, b, h, _, p = self.x.shape
        return self.sums.new_empty(count, b, h, p, self.B.shape[-1])

    def states(self, states: Tensor) -> Tensor:
        """[…, h, p, n] of every row or of every chunk and row, for products of a group: […·g, r·p, n], a view."""
        return states.view(-1, self.x.shape[2] // self.groups * states.shape[-2], states.shape[-1])


def heads_first(span: Span, tensor: Tensor) -> Tensor:
    """[b, l, h, …] → [d, b, h, q, …], a view; groups for heads in B and C."""
    return span.of(tensor).transpose(2, 3)
