"""The chunked scan of Mamba-2 with a backward pass of its own: what `workbench.kernels.ssd.ssd_chunked` runs.

In a chunk, with s the sum of dt·A up to and with a token, u = dt·x and S the state that enters (equation 1 of
arXiv 2405.21060, unrolled; sums run over the tokens k of the chunk, in y up to q):

    y_q = Σ (C_q·B_k) exp(s_q − s_k) u_k + exp(s_q) S C_q        S' = exp(s_last) S + Σ exp(s_last − s_k) u_k B_kᵀ

Between forward and backward only the inputs and the state that enters each chunk are kept; what has a number for each pair
of tokens is computed again. Both passes walk over spans of a few chunks, so that a span's tensors stay in the cache and
memory does not grow with the length beyond inputs, outputs, their gradients and states.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench.kernels.once import differentiable_once
from workbench.kernels.ssd_cuts import Cuts
from workbench.kernels.ssd_span import Chunks, Scratch, heads_first
from workbench.kernels.ssd_states import StatesBack, StatesOnward


class Inputs(NamedTuple):
    """As `ssd_chunked` takes them, but `initial` is [sequences, b, h, p, n], and nothing is checked any more."""

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    initial: Tensor | None

    def wide(self, tensor: Tensor) -> Tensor:
        """In the dtype of the work: float32, float64 where x is."""
        return tensor.to(torch.float64 if self.x.dtype == torch.float64 else torch.float32)

    def skip(self) -> Tensor | None:
        """D as a factor of [d, b, h, q, p]."""
        if self.D is None:
            return None
        return self.wide(self.D if self.D.dim() == 2 else self.D[:, None])[:, None]


def scan(inputs: Inputs, cuts: Cuts, *, final: bool) -> tuple[Tensor, Tensor | None]:
    """y [b, l, h, p] in the dtype of x, and with `final` the states at the ends [sequences, b, h, p, n], else None."""
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in inputs):
        return _Scan.apply(cuts, final, *inputs)
    y, last, _ = _forward(inputs, cuts, final, keep=False)
    return y, last


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cuts: Cuts, final: bool, *inputs: Any) -> tuple[Tensor, Tensor | None]:
        y, last, entering = _forward(Inputs(*inputs), cuts, final, keep=True)
        ctx.save_for_backward(*inputs, entering)
        ctx.cuts = cuts
        ctx.set_materialize_grads(False)
        return y, last

    @staticmethod
    @differentiable_once("the chunked scan of Mamba-2")
    def backward(ctx: Any, dy: Tensor | None, dlast: Tensor | None) -> tuple[Tensor | None, ...]:
        *inputs, entering = ctx.saved_tensors
        return (None, None, *_backward(Inputs(*inputs), entering, ctx.cuts, dy, dlast))


def _forward(inputs: Inputs, cuts: Cuts, final: bool, *, keep: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """y, the last states, and with `keep` the states that enter the chunks [t, b, h, p, n] where any is not zero."""
    x, B, A, skip = inputs.x, inputs.B, inputs.wide(inputs.A), inputs.skip()
    shape = (x.shape[0], *x.shape[2:], B.shape[3])
    y = _room(x)
    last = A.new_empty(cuts.sequences, *shape) if final else None
    kept = A.new_empty(cuts.count, *shape) if keep and (cuts.carry or inputs.initial is not None) else None
    states = StatesOnward(cuts, inputs.initial, last, kept)
    scratch = Scratch(A)
    for span in cuts.spans(x.shape[0] * x.shape[2]):
        here = Chunks.of(span, x, inputs.dt, A, B, inputs.C, scratch)
        u = here.u.flatten(0, 2)
        out = torch.bmm(here.mixed(here.decay), u, out=scratch.room("out", u.shape)).view(here.u.shape)
        entering = states.enter(span, here)
        if entering is not None:
            carried = here.alone(here.read(here.C, entering))
            here.by_group(out).addcmul_(carried, here.by_group(here.so_far())[..., None])
        _write(heads_first(span, y), out, here.x, skip)
    return y, last, kept


def _backward(
    inputs: Inputs, kept: Tensor | None, cuts: Cuts, dy: Tensor | None, dlast: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The gradient of every input, in its dtype.

    That of s is taken from the pairs of two tokens. `y_q·dy_q − u_q·du_q` says the same in exact arithmetic, but holds the
    pair of a token with itself, which does not decay, and what is left of it when the decay is strong is rounding.
    """
    x, dt, B, C, skip = inputs.x, inputs.dt, inputs.B, inputs.C, inputs.skip()
    A = inputs.wide(inputs.A)
    dy = torch.zeros_like(x) if dy is None else dy
    dx, ddt, dB, dC = _room(x), _room(dt), _room(B), _room(C)
    dA, dskip = torch.zeros_like(A), None if skip is None else torch.zeros_like(skip)
    dinitial = None if inputs.initial is None else _room(inputs.initial)
    states = StatesBack(cuts, dlast, dinitial)
    scratch = Scratch(A)
    for span in reversed(list(cuts.spans(x.shape[0] * x.shape[2]))):
        here = Chunks.of(span, x, dt, A, B, C, scratch)
        dout = scratch.room("dout", here.x.shape).copy_(heads_first(span, dy))
        dout_rows = dout.flatten(0, 2)
        mixed = here.mixed(scratch.room("mixed", here.decay.shape))
        dmixed = torch.bmm(dout_rows, here.u.flatten(0, 2).mT, out=scratch.room("dmixed", mixed.shape))
        du = torch.bmm(mixed.mT, dout_rows, out=scratch.room("du", dout_rows.shape)).view(dout.shape)
        pairs = mixed.mul_(dmixed)  # the gradient of s_q − s_k
        pairs.diagonal(dim1=1, dim2=2).zero_()
        dsums = (pairs.sum(dim=2) - pairs.sum(dim=1)).view(here.sums.shape)
        dscores = scratch.room("dscores", here.scores.shape)
        torch.sum(here.by_group(dmixed.view(here.decay.shape).mul_(here.decay)), dim=3, out=dscores)
        dscores = dscores.flatten(0, 2)
        dB_rows = torch.bmm(dscores.mT, here.C, out=scratch.room("dB", here.C.shape))
        dC_rows = torch.bmm(dscores, here.B, out=scratch.room("dC", here.B.shape))

        entering = None if kept is None else kept[span.first : span.first + span.count]
        seen = None
        if entering is not None:
            seen = here.shared(dout, here.so_far())
            dC_rows.baddbmm_(seen, here.states(entering))
            carried = here.read(here.C, entering)
            dsums += here.alone(carried.mul_(seen)).sum(dim=-1).flatten(2, 3)
        ones = A.new_ones(span.size, span.size)
        dlog = dsums @ ones.tril()  # of dt·A: a token's is in the sums of all that follow
        dleaving = states.leave(span, here, seen)
        if dleaving is not None:
            to_end = here.to_end()
            written = here.shared(here.u, to_end)
            dwritten = here.read(here.B, dleaving)
            dB_rows.baddbmm_(written, here.states(dleaving))
            here.by_group(du).addcmul_(here.alone(dwritten), here.by_group(to_end)[..., None])
            dlog += here.alone(dwritten.mul_(written)).sum(dim=-1).flatten(2, 3) @ ones.triu(1)
            if entering is not None:
                dlog += here.whole()[..., 0] * dleaving.mul_(entering).flatten(3).sum(dim=-1, keepdim=True)

        dA += (dlog * here.dt).sum(dim=(0, 1, 3))
        heads_first(span, ddt).copy_((du * here.x).sum(dim=-1).addcmul_(dlog, A[:, None]))
        _write(heads_first(span, dx), du.mul_(here.dt[..., None]), dout, skip)
        if skip is not None and dskip is not None:
            dskip += dout.mul_(here.x).sum(dim=(0, 1)).sum_to_size(skip.shape)
        for rows, whole in ((dB_rows, dB), (dC_rows, dC)):
            place = heads_first(span, whole)
            place.copy_(rows.view(place.shape))
    dD = None if inputs.D is None or dskip is None else dskip.view(inputs.D.shape).to(inputs.D.dtype)
    return dx, ddt, dA.to(inputs.A.dtype), dB, dC, dD, dinitial


def _write(place: Tensor, result: Tensor, skipped: Tensor, skip: Tensor | None) -> None:
    """`place`, which may be less precise than the work, takes the result and what skips the scan."""
    if skip is None:
        place.copy_(result)
    elif place.dtype == result.dtype:
        torch.addcmul(result, skipped, skip, out=place)
    else:
        place.copy_(result.addcmul_(skipped, skip))


def _room(tensor: Tensor) -> Tensor:
    """As large, contiguous whatever the tensor is."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
