"""The chunked gated delta rule and its gradient by hand, block by block, as one autograd function.

Within a chunk let K be its keys, Q its scaled queries, B = diag(beta), G the running sum of g, and D[i, j] = exp(G[i] − G[j])
for i ≥ j and else 0. With S the state before the chunk, what the chunk writes (`new`) and gives (`O`) are

    A = (Q Kᵀ) ∘ D                                      T = (I + strictly lower part of B (K Kᵀ) ∘ D)⁻¹
    new = T (B V + exp(G) ∘ (−B K) S)                   O = exp(G) ∘ Q S + A new
    S' = exp(G[last]) S + (exp(G[last] − G) ∘ K)ᵀ new

which is section 3.3 of arXiv 2412.06464. T is applied chunk by chunk with S at hand: one product, where T B V and T B K would
be two. The gradient runs over the chunks the other way: with dR = Tᵀ dnew it needs S, T, `new` and A, which are kept, and makes
the decays and decayed keys again. All blocks work in the same memory, which stays near the caches.

Letters: b batch, h heads, m chunks of a block, q tokens of a chunk, d key width, v value width, n = b · h · m.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench.kernels.delta_plan import Block, Plan, into_chunks, out_of_chunks
from workbench.kernels.once import differentiable_once

Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # q, k, v, g, beta
Gradients = Inputs


class ChunkedDelta(torch.autograd.Function):
    """(q, k, v, g, beta, states [s, b·h, d, v], scale, plan, keep) → (o, states at the end)."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        g: Tensor,
        beta: Tensor,
        states: Tensor,
        scale: float,
        plan: Plan,
        keep: bool,
    ) -> tuple[Tensor, Tensor]:
        """`keep` says whether a gradient will be asked for. `states` is in the working dtype and gives it."""
        inputs = (q, k, v, g, beta)
        o, last = torch.empty_like(v, memory_format=torch.contiguous_format), states.clone()
        rows, chunk = states.shape[1], plan.chunk
        most = max(block.chunks for block in plan.blocks)
        held = sum(block.chunks for block in plan.blocks) if keep else most
        width, value = states.shape[2:]
        shapes = ((width, value), (chunk, chunk), (chunk, value), (chunk, chunk))
        kept = tuple(states.new_empty(held * rows, *shape) for shape in shapes)  # S, T, new, A
        room = _Room(states, most * rows)
        slots = [*kept[0].view(held, *states.shape[1:]).unbind(), torch.empty_like(states[0])]
        state, first = states[0], 0
        for block in plan.blocks:
            stop = first + block.chunks
            part = _load(inputs, scale, block, chunk, room)
            if 0 not in block.starts and state is not slots[first]:
                slots[first].copy_(state)
            there = [tensor[first * rows : stop * rows] for tensor in kept]
            out = _forward(
                part, block, there, [*slots[first:stop], slots[stop] if keep else slots[-1]], states, last, room
            )
            out_of_chunks(out.view(part.v.shape), block, o)
            state, first = (slots[stop], stop) if keep else (slots[-1], 0)
        if keep:
            ctx.save_for_backward(*inputs, *kept)
        ctx.scale, ctx.plan, ctx.work = scale, plan, states.dtype
        ctx.set_materialize_grads(False)
        return o, last

    @staticmethod
    @differentiable_once("gated_delta_chunked")
    def backward(ctx: Any, d_o: Tensor | None, d_last: Tensor | None) -> Any:
        """Gradients of the first six inputs."""
        q, k, v, g, beta, *kept = ctx.saved_tensors
        plan: Plan = ctx.plan
        inputs = (q, k, v, g, beta)
        gradients = tuple(torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in inputs)
        batch, _, heads, width = q.shape
        rows = batch * heads
        shape = (plan.sequences, rows, width, v.shape[3])
        d_states = q.new_zeros(shape, dtype=ctx.work) if d_last is None else d_last.to(ctx.work).clone()
        d_o = torch.zeros_like(v) if d_o is None else d_o
        most = max(block.chunks for block in plan.blocks)
        room = _Room(d_states, most * rows)
        # Gradients of the states between the chunks of a block, the one after it included.
        slots = d_states.new_empty(most + 1, *shape[1:])
        stop = sum(block.chunks for block in plan.blocks)
        for block in reversed(plan.blocks):
            first = stop - block.chunks
            part = _load(inputs, ctx.scale, block, plan.chunk, room)
            there = [tensor[first * rows : stop * rows] for tensor in kept]
            d_out = into_chunks(d_o, block, plan.chunk)
            results = _backward(part, block, there, d_out, slots, d_states, room)
            lead = d_out.shape[:4]
            factors = (part.x.new_full((1,) * 5, ctx.scale), None, part.beta.view(*lead, 1), None, None)
            for result, factor, gradient in zip(results, factors, gradients, strict=True):
                out_of_chunks(result.view(*lead, *gradient.shape[3:]), block, gradient, factor)
            stop = first
        return *gradients, d_states, None, None, None


class _Room:
    """Working memory that blocks take one after the other: the same place under the same name."""

    def __init__(self, like: Tensor, most: int) -> None:
        """For at most `most` chunks side by side, in the dtype of `like`."""
        self._like, self._most = like, most
        self._memory: dict[str, Tensor] = {}
        self._taken: dict[tuple[str, int], Tensor] = {}

    def take(self, name: str, parts: int, n: int, *shape: int) -> Tensor:
        """[parts, n, *shape] of whatever was there, contiguous."""
        if name not in self._memory:
            self._memory[name] = self._like.new_empty(parts * self._most * math.prod(shape))
        if (name, n) not in self._taken:
            count = parts * n * math.prod(shape)
            self._taken[name, n] = self._memory[name][:count].view(parts, n, *shape)
        return self._taken[name, n]


class _Part(NamedTuple):
    """A block's tokens in chunks, in the working dtype, and what both directions compute of them. The 2: query, key."""

    x: Tensor  # [2, n, q, d] scaled queries, keys
    v: Tensor  # [m, b, h, q, v] as given
    beta: Tensor  # [n, q, 1]
    e: Tensor  # [2, n, q, d] exp(G) ∘ Q, exp(G) ∘ (−B K)
    since: Tensor  # [n, q, 1] exp(G)
    to_end: Tensor  # [n, q, 1] exp(G[last] − G)
    whole: Tensor  # [m, b · h, 1, 1] exp(G[last])
    between: Tensor  # [n, q, q] D
    keys_to_end: Tensor  # [n, q, d] exp(G[last] − G) ∘ K


def _load(inputs: Inputs, scale: float, block: Block, chunk: int, room: _Room) -> _Part:
    q, k, v, g, beta = (into_chunks(tensor, block, chunk) for tensor in inputs)
    n, width = q.shape[:3].numel(), q.shape[-1]
    x = room.take("x", 2, n, chunk, width)
    torch.mul(q, x.new_full((1,) * 5, scale), out=x[0].view(q.shape))
    x[1].view(k.shape).copy_(k)
    beta = beta.to(x.dtype).reshape(n, chunk, 1)
    total = g.to(x.dtype).reshape(n, chunk, 1).cumsum(dim=1)
    end = total[:, -1:]
    since, to_end = total.exp(), (end - total).exp()
    factor = torch.stack((since, since * -beta))
    # Exponents above zero are those of pairs that `tril_` drops, but exp is fast only where it gives ordinary numbers.
    (between,) = room.take("between", 1, n, chunk, chunk)
    torch.sub(total, total.transpose(1, 2), out=between).clamp_(max=0).exp_().tril_()
    return _Part(
        x=x,
        v=v,
        beta=beta,
        e=torch.mul(x, factor, out=room.take("e", 2, n, chunk, width)),
        since=since,
        to_end=to_end,
        whole=since[:, -1].view(block.chunks, -1, 1, 1),
        between=between,
        keys_to_end=torch.mul(x[1], to_end, out=room.take("keys to end", 1, n, chunk, width)[0]),
    )


def _forward(
    part: _Part, block: Block, kept: list[Tensor], slots: list[Tensor], initial: Tensor, last: Tensor, room: _Room
) -> Tensor:
    """Output [n, q, v]. Fills `kept`, and the states [b·h, d, v] around the chunks, `slots`, of which the first is there."""
    states, solution, new, scores = kept
    n, chunk = scores.shape[:2]
    keys_t = part.x[1].transpose(1, 2)
    torch.bmm(part.x[0], keys_t, out=scores).mul_(part.between)
    (system,) = room.take("system", 1, n, chunk, chunk)
    torch.bmm(part.x[1], keys_t, out=system).mul_(part.between).mul_(part.beta)
    one = torch.eye(chunk, dtype=system.dtype, device=system.device).expand_as(system)
    torch.linalg.solve_triangular(system, one, upper=False, unitriangular=True, out=solution)
    (right,) = room.take("right", 1, n, chunk, part.v.shape[-1])
    torch.mul(part.v, part.beta.view(*part.v.shape[:4], 1), out=right.view(part.v.shape))

    m = block.chunks
    right_, reads, solution_, new_ = (_by_chunk(tensor, m) for tensor in (right, part.e[1], solution, new))
    writes, whole = _by_chunk(part.keys_to_end.transpose(1, 2), m), part.whole.unbind()
    for j in range(m):
        if j in block.starts:
            slots[j].copy_(initial[block.starts[j]])
        torch.bmm(solution_[j], right_[j].baddbmm_(reads[j], slots[j]), out=new_[j])
        torch.mul(slots[j], whole[j], out=slots[j + 1]).baddbmm_(writes[j], new_[j])
        if j in block.ends:
            last[block.ends[j]] = slots[j + 1]
    # The right-hand sides are done with, the output takes their place.
    return torch.bmm(part.e[0], states, out=right).baddbmm_(scores, new)


def _backward(
    part: _Part,
    block: Block,
    kept: list[Tensor],
    d_o: Tensor,
    slots: Tensor,
    d_states: Tensor,
    room: _Room,
) -> Gradients:
    """Gradients of q (before the scale), k, v (before beta), g and beta, [n, q, …].

    `slots` [most + 1, b·h, d, v] comes with the gradient of the state after the block in its first place, unless a sequence
    ends there, and leaves with that of the state before it. `d_states` [s, b·h, d, v] holds the gradients of the last states
    and is overwritten with those of the first.
    """
    states, solution, new, scores = kept
    m, (n, chunk, width), value = block.chunks, part.keys_to_end.shape, new.shape[-1]
    x, e, keys = part.x, part.e, part.x[1]
    d_out, d_new, d_right = room.take("d_out", 3, n, chunk, value)
    d_out.view(d_o.shape).copy_(d_o)
    torch.bmm(scores.transpose(1, 2), d_out, out=d_new)

    # What the outputs ask of the state before each chunk, then all of its gradient.
    if m - 1 not in block.ends:
        slots[m].copy_(slots[0])
    torch.bmm(e[0].transpose(1, 2), d_out, out=slots[:m].view(states.shape))
    d_new_, d_right_, solution_ = (_by_chunk(tensor, m) for tensor in (d_new, d_right, solution.transpose(1, 2)))
    writes, reads = _by_chunk(part.keys_to_end, m), _by_chunk(e[1].transpose(1, 2), m)
    slot, whole = slots.unbind(), part.whole.unbind()
    for j in reversed(range(m)):
        if j in block.ends:
            slot[j + 1].copy_(d_states[block.ends[j]])
        torch.bmm(solution_[j], d_new_[j].baddbmm_(writes[j], slot[j + 1]), out=d_right_[j])
        slot[j].addcmul_(whole[j], slot[j + 1]).baddbmm_(reads[j], d_right_[j])
        if j in block.starts:
            d_states[block.starts[j]] = slot[j]
    d_ends = slots[1 : m + 1].view(states.shape)

    # A token's write is read by its own query without decay: left out until g's gradient, where its two parts would
    # cancel but for their rounding, is done. The same goes for the last token's way to the end.
    (scratch,), (d_keys,) = room.take("scratch", 1, n, chunk, width), room.take("d_keys", 1, n, chunk, width)
    dots = []
    for half, y in enumerate((d_out, d_right)):
        d_z, d_x = room.take("d_z", 1, n, chunk, chunk)[0], e[half]  # this half of e is done with
        torch.bmm(y, new.transpose(1, 2), out=d_z).mul_(part.between)
        diagonal = d_z.diagonal(dim1=1, dim2=2)
        if half == 0:
            own = diagonal[..., None].clone()
        diagonal.zero_()
        torch.bmm(y, states.transpose(1, 2), out=d_x).mul_(part.since).baddbmm_(d_z, keys)
        dots.append(torch.mul(d_x, x[half], out=scratch).sum(dim=-1))
        if half == 0:
            torch.bmm(d_z.transpose(1, 2), x[0], out=d_keys)
        else:
            d_keys.baddbmm_(d_z.mul_(part.beta).transpose(1, 2), keys, alpha=-1)
    d_keys_to_end = torch.bmm(new, d_ends.transpose(1, 2), out=part.keys_to_end).mul_(part.to_end)

    read = torch.mul(d_right.view(part.v.shape), part.v, out=d_new.view(part.v.shape)).sum(dim=-1)
    d_beta = read.view(n, chunk) - dots[1]
    to_end = torch.mul(d_keys_to_end, keys, out=scratch).sum(dim=-1)[:, :-1]
    d_total = dots[0].addcmul_(dots[1], part.beta[..., 0], value=-1)
    d_total -= torch.mul(d_keys, keys, out=scratch).sum(dim=-1)
    d_total[:, :-1] -= to_end
    d_total[:, -1] += to_end.sum(dim=-1) + part.whole.view(n) * (d_ends * states).sum(dim=(1, 2))
    d_g = d_total.flip(-1).cumsum(-1).flip(-1)
    d_q = e[0].addcmul_(own, keys)
    d_k = d_keys.add_(d_keys_to_end).addcmul_(e[1], part.beta, value=-1).addcmul_(own, x[0])
    return d_q, d_k, d_right, d_g, d_beta


def _by_chunk(tensor: Tensor, chunks: int) -> Sequence[Tensor]:
    """[m · b · h, …] → m times [b · h, …]."""
    return tensor.unflatten(0, (chunks, -1)).unbind()
