"""The chunked gated delta rule and its gradient by hand, block by block, as one autograd function.

Within a chunk let K be its keys, Q its scaled queries, B = diag(beta), G the running sum of g, and D[i, j] = exp(G[i] − G[j])
for i ≥ j and else 0. With S the state before the chunk, what the chunk writes (`new`) and gives (`O`) are

    E = [Q; −B K]          Z = (E Kᵀ) ∘ [D; D]          T = (I − strictly lower part of Z's lower half)⁻¹
    new = T (B V + exp(G) ∘ (−B K) S)                   O = exp(G) ∘ Q S + (upper half of Z) new
    S' = exp(G[last]) S + (exp(G[last] − G) ∘ K)ᵀ new

which is section 3.3 of arXiv 2412.06464. Only S' waits for the chunk before. The gradient runs over the chunks the other way:
with Y = [dO; dR] and dR = Tᵀ dnew it needs S, T and `new`, which are kept, and computes the rest again.

Letters: b batch, h heads, m chunks of a block, q tokens of a chunk, d key width, v value width, n = b · h · m.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench.kernels.delta_plan import Block, Plan, into_chunks, out_of_chunks
from workbench.kernels.once import differentiable_once

Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # q, k, v, g, beta


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
        state = states[0]
        kept: list[Tensor] = []
        for block in plan.blocks:
            part = _load(inputs, scale, block, plan.chunk, states.dtype)
            out, state, block_kept = _forward(part, block, state, states, last)
            out_of_chunks(out.view(block.chunks, *v.shape[::2][:2], plan.chunk, -1), block, o)
            kept += block_kept if keep else []
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
        shape = (plan.sequences, batch * heads, width, v.shape[3])
        d_states = q.new_zeros(shape, dtype=ctx.work) if d_last is None else d_last.to(ctx.work).clone()
        d_o = torch.zeros_like(v) if d_o is None else d_o
        d_state = d_states[0]
        for index, block in reversed(list(enumerate(plan.blocks))):
            part = _load(inputs, ctx.scale, block, plan.chunk, ctx.work)
            d_out = into_chunks(d_o, block, plan.chunk).to(ctx.work).reshape(part.v.shape)
            results, d_state = _backward(part, block, kept[3 * index : 3 * index + 3], d_out, d_state, d_states)
            for result, gradient in zip(results, gradients, strict=True):
                lead = (block.chunks, batch, heads, plan.chunk)
                out_of_chunks(result.view(*lead, *gradient.shape[3:]), block, gradient)
        return *gradients, d_states, None, None, None


class _Part(NamedTuple):
    """A block's tokens in chunks, in the working dtype, and what both directions compute of them. The 2: query, key."""

    x: Tensor  # [2, n, q, d] queries and keys as given
    v: Tensor  # [n, q, v]
    beta: Tensor  # [n, q, 1]
    factor: Tensor  # [2, n, q, 1] scale, −beta
    e: Tensor  # [2, n, q, d] E
    e_decayed: Tensor  # [2, n, q, d] exp(G) ∘ E
    since: Tensor  # [n, q, 1] exp(G)
    to_end: Tensor  # [n, q, 1] exp(G[last] − G)
    whole: Tensor  # [m, b · h, 1, 1] exp(G[last])
    between: Tensor  # [n, q, q] D
    keys_to_end: Tensor  # [n, q, d] exp(G[last] − G) ∘ K


def _load(inputs: Inputs, scale: float, block: Block, chunk: int, work: torch.dtype) -> _Part:
    q, k, v, g, beta = (into_chunks(tensor, block, chunk) for tensor in inputs)
    lead = q.shape[:3]
    n = lead.numel()
    x = q.new_empty(2, *q.shape, dtype=work)
    x[0], x[1] = q, k
    x = x.view(2, n, *q.shape[3:])
    factor = x.new_full((2, *beta.shape), scale)
    factor[1] = -beta
    factor = factor.view(2, n, chunk, 1)
    total = g.to(work).reshape(n, chunk, 1).cumsum(dim=1)
    end = total[:, -1:]
    since, to_end = total.exp(), (end - total).exp()
    between = (total - total.transpose(1, 2)).add_(_future(chunk, total)).exp_()
    e = x * factor
    return _Part(
        x=x,
        v=v.to(work).reshape(n, *v.shape[3:]),
        beta=-factor[1],
        factor=factor,
        e=e,
        e_decayed=e * since,
        since=since,
        to_end=to_end,
        whole=end.exp().view(block.chunks, -1, 1, 1),
        between=between,
        keys_to_end=x[1] * to_end,
    )


def _future(chunk: int, like: Tensor) -> Tensor:
    """[q, q]: minus infinity where the second token comes after the first."""
    return like.new_full((chunk, chunk), float("-inf")).triu_(1)


def _forward(
    part: _Part, block: Block, state: Tensor, initial: Tensor, last: Tensor
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Output [n, q, v], the state [b·h, d, v] after the block, and the states before its chunks, T and `new`."""
    m = block.chunks
    keys_t = part.x[1].transpose(1, 2)
    scores = torch.bmm(part.e[0], keys_t).mul_(part.between)
    solution = _inverse(torch.bmm(part.e[1], keys_t).mul_(part.between))
    new = torch.bmm(solution, part.v * part.beta)
    reads = torch.bmm(solution, part.e_decayed[1])
    states = state.new_empty(m, *state.shape)
    new_, reads_, writes_ = (_by_chunk(tensor, m) for tensor in (new, reads, part.keys_to_end.transpose(1, 2)))
    states[0] = state
    for j in range(m):
        if j in block.starts:
            states[j] = initial[block.starts[j]]
        new_[j].baddbmm_(reads_[j], states[j])
        state = states[j + 1] if j + 1 < m else torch.empty_like(state)
        torch.mul(part.whole[j], states[j], out=state).baddbmm_(writes_[j], new_[j])
        if j in block.ends:
            last[block.ends[j]] = state
    flat = states.view(-1, *state.shape[1:])
    out = torch.bmm(part.e_decayed[0], flat).baddbmm_(scores, new)
    return out, state, [flat, solution, new]


def _backward(
    part: _Part, block: Block, kept: list[Tensor], d_out: Tensor, d_state: Tensor, d_states: Tensor
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Gradients of q, k, v, g, beta, [n, q, …], and that of the state before the block.

    `d_states` [s, b·h, d, v] holds the gradients of the last states and is overwritten with those of the first.
    """
    states, solution, new = kept
    m = block.chunks
    x, e, e_decayed, keys = part.x, part.e, part.e_decayed, part.x[1]
    scores = torch.bmm(e[0], keys.transpose(1, 2)).mul_(part.between)
    solution_t = solution.transpose(1, 2)
    d_right = torch.bmm(solution_t, torch.bmm(scores.transpose(1, 2), d_out))
    sees = torch.bmm(solution_t, part.keys_to_end)

    # What the outputs ask of the state before each chunk; `d_ends` is about the states after the chunks.
    asks = torch.bmm(e_decayed[0].transpose(1, 2), d_out).view(m, *d_state.shape)
    d_ends = torch.empty_like(asks)
    d_right_, sees_, reads_ = (_by_chunk(tensor, m) for tensor in (d_right, sees, e_decayed[1].transpose(1, 2)))
    for j in reversed(range(m)):
        d_ends[j] = d_states[block.ends[j]] if j in block.ends else d_state
        d_right_[j].baddbmm_(sees_[j], d_ends[j])
        d_state = asks[j].addcmul_(part.whole[j], d_ends[j]).baddbmm_(reads_[j], d_right_[j])
        if j in block.starts:
            d_states[block.starts[j]] = d_state
    flat = d_ends.view(states.shape)

    new_t, states_t = new.transpose(1, 2), states.transpose(1, 2)
    d_z = scores.new_empty(2, *scores.shape)
    d_e = torch.empty_like(e)
    for half, y in enumerate((d_out, d_right)):
        torch.bmm(y, new_t, out=d_z[half])
        torch.bmm(y, states_t, out=d_e[half])
    d_z.mul_(part.between)
    # A token's write is read by its own query without decay: left out until g's gradient, where its two parts would
    # cancel but for their rounding, is done. The same goes for the last token's way to the end.
    own = d_z[0].diagonal(dim1=1, dim2=2)[..., None].clone()
    d_z.diagonal(dim1=2, dim2=3).zero_()
    d_e.mul_(part.since)
    for half in range(2):
        d_e[half].baddbmm_(d_z[half], keys)
    d_keys = torch.bmm(d_z[0].transpose(1, 2), e[0]).baddbmm_(d_z[1].transpose(1, 2), e[1])
    d_keys_to_end = torch.bmm(new, flat.transpose(1, 2)).mul_(part.to_end)

    dots = (d_e * x).sum(dim=-1)
    d_beta = (d_right * part.v).sum(dim=-1) - dots[1]
    to_end = (d_keys_to_end * keys).sum(dim=-1)[:, :-1]
    d_total = (dots * part.factor[..., 0]).sum(dim=0) - (d_keys * keys).sum(dim=-1)
    d_total[:, :-1] -= to_end
    d_total[:, -1] += to_end.sum(dim=-1) + part.whole.flatten() * (flat * states).sum(dim=(1, 2))
    d_g = d_total.flip(-1).cumsum(-1).flip(-1)
    d_x = d_e.mul_(part.factor)
    d_q = d_x[0].addcmul_(part.factor[0] * own, keys)
    d_k = d_keys.add_(d_keys_to_end).add_(d_x[1]).addcmul_(own, e[0])
    return (d_q, d_k, d_right * part.beta, d_g, d_beta), d_state


def _by_chunk(tensor: Tensor, chunks: int) -> Tensor:
    """[m · b · h, …] → [m, b · h, …]."""
    return tensor.unflatten(0, (chunks, -1))


def _inverse(z: Tensor) -> Tensor:
    """(I − strictly lower part of z)⁻¹, [n, q, q]."""
    one = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
    return torch.linalg.solve_triangular(-z, one.expand_as(z), upper=False, unitriangular=True)
