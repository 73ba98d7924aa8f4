"""The short causal depthwise convolution in front of Mamba-2 and gated delta net: every channel looks a few tokens back.

`causal_conv_plain` is the definition, one token at a time; `causal_conv` the fast form. Both callers in megatron-core hold
their data as [b, l, d] and hand over its transpose, so the fast form works on [b, l, d] and neither transposes nor pads the
whole: it adds shifted rows, one block of tokens after the other, so that a block stays in the cache through all its
passes. Its backward keeps x alone and computes what the activation saw again.

Letters: b rows, l tokens, d channels, w width of the kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.errors import WorkbenchError
from workbench.kernels.once import differentiable_once
from workbench.kernels.segments import check_index, runs_from_index

_ACTIVATIONS = (None, "silu", "swish")
_BLOCK_ELEMENTS = 128 * 1024  # half a MiB of float32: several such blocks fit into a core's L2 cache


def causal_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: str | None = None,
    before: Tensor | None = None,
    seq_idx: Tensor | None = None,
) -> Tensor:
    """y[t] = act(bias + Σ weight[i] · x[t − w + 1 + i]), channel by channel, a block of tokens at a time.

    `x` [b, d, l], `weight` [d, w], `bias` [d], `before` [b, d, w − 1] the tokens in front of x (zeros without). `seq_idx`
    [b, l] numbers the packed sequences: where it changes, a new one begins and nothing before it is seen; what lies in
    `before` belongs to none, so the two exclude each other. `activation` is None, "silu" or "swish" (the same).

    Returns [b, d, l] in the dtype of x, laid out as [b, l, d]. Computed in float32 (float64 where x is) and rounded once.
    Cost: O(b · l · d · w); forward keeps nothing but its arguments, backward as much again. An x that is laid out as
    [b, d, l] is copied once. Differentiable once.
    """
    _check(x, weight, bias, activation, before, seq_idx)
    cuts = None if seq_idx is None else _cuts(seq_idx, weight.shape[1])
    y: Tensor = _Conv.apply(x, weight, bias, before, cuts, activation is not None)
    return y


def causal_conv_plain(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: str | None = None,
    before: Tensor | None = None,
    seq_idx: Tensor | None = None,
) -> Tensor:
    """`causal_conv`'s definition with its arguments: one token after the other, each looking back over the last w."""
    _check(x, weight, bias, activation, before, seq_idx)
    width, work = weight.shape[1], _work_dtype(x)
    nothing = torch.zeros_like(x[..., 0])
    front = x.new_zeros(*x.shape[:2], width - 1) if before is None else before
    outputs = []
    for t in range(x.shape[-1]):
        y = torch.zeros_like(x[..., 0], dtype=work) + (0 if bias is None else bias.to(work))
        for i in range(width):
            place = t - width + 1 + i
            seen = x[..., place] if place >= 0 else front[..., place]  # before x: counted from the end
            if seq_idx is not None:
                same = (seq_idx[:, max(place, 0) : t + 1] == seq_idx[:, t, None]).all(dim=1)[:, None]
                seen = torch.where(same, seen, nothing)
            y = y + weight[:, i].to(work) * seen.to(work)
        outputs.append((y if activation is None else F.silu(y)).to(x.dtype))
    return torch.stack(outputs, dim=-1)


def last_tokens(x: Tensor, count: int, before: Tensor | None = None) -> Tensor:
    """The last `count` tokens of `x` [b, d, l], with `before` or zeros in front where x is shorter: [b, d, count]."""
    if before is None:
        before = x.new_zeros(*x.shape[:2], count)
    joined = torch.cat([before.to(x.dtype), x], dim=-1)
    missing = count - joined.shape[-1]
    return F.pad(joined, (missing, 0)) if missing > 0 else joined[..., joined.shape[-1] - count :]


# ------------------------------------------------------------------------------------------------------


class _Conv(torch.autograd.Function):
    """`x` [b, d, l], `before` [b, d, w − 1] or None, `cuts` as `_cuts` makes them or None → y [b, d, l]; inside, tokens first."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        before: Tensor | None,
        cuts: Tensor | None,
        activate: bool,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, bias, before, cuts)
        ctx.activate = activate
        x, front = _tokens_first(x), None if before is None else _tokens_first(before)
        taps, base = _taps(weight, bias, x)
        y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        for rows, start, end in _blocks(x, len(taps)):
            out = y[rows, start:end]
            made = out if base.dtype == x.dtype else torch.empty(out.shape, dtype=base.dtype, device=x.device)
            _add_up(made, _seen(x, front, cuts, len(taps), rows, start, end), taps, base)
            if activate:
                F.silu(made, inplace=True)
            if made is not out:
                out.copy_(made)
        return y.transpose(1, 2)

    @staticmethod
    @differentiable_once("causal_conv")
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, before, cuts = ctx.saved_tensors
        x, front, dy = _tokens_first(x), None if before is None else _tokens_first(before), dy.transpose(1, 2)
        taps, base = _taps(weight, bias, x)
        back = len(taps) - 1
        dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        dfront = None if front is None else base.new_zeros(front.shape)
        blocks = _blocks(x, len(taps))
        rows, start, end = blocks[0]
        sums: Tensor | None = None
        scratch = base.new_empty(rows.stop - rows.start, end - start, x.shape[2])
        # d(loss)/d(sum of taps) of a block, and after it of the next block's first tokens, which see this one's last.
        room = base.new_empty(len(scratch), end - start + back, x.shape[2])
        for rows, start, end in reversed(blocks):
            count = end - start
            ds = room[: rows.stop - rows.start]
            if end == x.shape[1]:
                ds[:, count : count + back] = 0
            else:
                ds[:, count : count + back] = ds[:, :back].clone()
            d = ds[:, :count]
            seen = _seen(x, front, cuts, len(taps), rows, start, end)
            if ctx.activate:
                _add_up(d, seen, taps, base)
                torch.ops.aten.silu_backward.grad_input(dy[rows, start:end].to(d.dtype), d, grad_input=d)
            else:
                d.copy_(dy[rows, start:end])
            product = scratch[: len(d), :count]
            by_distance = [torch.mul(d, part, out=product).sum(dim=(0, 1)) for part in seen]
            of_block = torch.stack([*by_distance, d.sum(dim=(0, 1))])
            sums = of_block if sums is None else sums.add_(of_block)
            out = dx[rows, start:end]
            made = out if d.dtype == x.dtype else torch.empty_like(d)
            _add_up(made, _seen_by(ds, cuts, len(taps), rows, start, end), taps, None)
            if made is not out:
                out.copy_(made)
            if dfront is not None and start == 0:
                for t in range(min(count, back)):  # token t sees the places t, t + 1, … from its furthest tap on
                    dfront[rows, t:].addcmul_(d[:, t, None], torch.stack(taps[:t:-1]))
        assert sums is not None
        *dtaps, dbias = sums.unbind()
        return (
            dx.transpose(1, 2),
            torch.stack(dtaps[::-1], dim=1).to(weight.dtype),
            None if bias is None else dbias.to(bias.dtype),
            None if dfront is None else dfront.transpose(1, 2).to(before.dtype),
            None,
            None,
        )


def _tokens_first(x: Tensor) -> Tensor:
    """[b, d, l] → [b, l, d] with the channels side by side: a view where they are already, else a copy."""
    turned = x.transpose(1, 2)
    return turned if turned.stride(-1) == 1 else turned.contiguous()


def _work_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _taps(weight: Tensor, bias: Tensor | None, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """The weights [d] by distance (0 is the token itself), and the bias or zeros [d], in the dtype that is computed in."""
    by_place = weight.to(_work_dtype(x)).t().contiguous()
    return list(reversed(by_place.unbind())), by_place.new_zeros(len(weight)) if bias is None else bias.to(
        by_place.dtype
    )


def _blocks(x: Tensor, width: int) -> list[tuple[slice, int, int]]:
    """(rows, first token, end) of what is worked on at once, row by row; only the last of a row may be shorter than w − 1."""
    batch, length, channels = x.shape
    rows = min(batch, max(1, _BLOCK_ELEMENTS // (channels * min(length, 32))))
    tokens = min(length, max(1, width - 1, _BLOCK_ELEMENTS // (channels * rows)))
    return [
        (slice(row, min(row + rows, batch)), start, min(start + tokens, length))
        for row in range(0, batch, rows)
        for start in range(0, length, tokens)
    ]


def _seen(
    x: Tensor, front: Tensor | None, cuts: Tensor | None, width: int, rows: slice, start: int, end: int
) -> list[Tensor]:
    """The tokens start … end of `x` [b, l, d], those one before them, two before, …: zeros where another sequence lies."""
    work, back, here = _work_dtype(x), width - 1, x[rows, max(0, start - width + 1) : end]
    if start < back:
        shape = (len(here), back, here.shape[2])
        first = here.new_zeros(shape, dtype=work) if front is None else front[rows].to(work)
        here = torch.cat([first, here.to(work)], dim=1)  # start is 0: no other block is that short
    here = here.to(work)
    parts = [here[:, back - distance : back - distance + end - start] for distance in range(width)]
    if cuts is None:
        return parts
    return [parts[0], *(p.masked_fill(cuts[k, rows, start:end], 0) for k, p in enumerate(parts[1:]))]


def _seen_by(ds: Tensor, cuts: Tensor | None, width: int, rows: slice, start: int, end: int) -> list[Tensor]:
    """As `_seen` the other way: of `ds` [r, tokens + w − 1, d] the tokens themselves, those one after, two after, …"""
    parts = [ds[:, distance : distance + end - start] for distance in range(width)]
    if cuts is None:
        return parts
    return [
        parts[0],
        *(p.masked_fill(cuts[k, rows, start + k + 1 : end + k + 1], 0) for k, p in enumerate(parts[1:])),
    ]


def _add_up(out: Tensor, parts: list[Tensor], taps: list[Tensor], base: Tensor | None) -> None:
    """out = base + Σ taps[i] · parts[i]."""
    if base is None:
        torch.mul(parts[0], taps[0], out=out)
    else:
        torch.addcmul(base, parts[0], taps[0], out=out)
    for part, tap in zip(parts[1:], taps[1:], strict=True):
        out.addcmul_(part, tap)


def _cuts(seq_idx: Tensor, width: int) -> Tensor:
    """[w − 1, b, l + w − 1, 1]: whether a token and the one so far before it (1, 2, …) lie in different sequences."""
    runs = runs_from_index(seq_idx)
    rows, length = runs.shape
    cuts = torch.ones(width - 1, rows, length + width - 1, 1, dtype=torch.bool, device=runs.device)
    for distance in range(1, min(width, length)):
        cuts[distance - 1, :, distance:length, 0] = runs[:, distance:] != runs[:, :-distance]
    return cuts


def _check(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    before: Tensor | None,
    seq_idx: Tensor | None,
) -> None:
    if activation not in _ACTIVATIONS:
        raise WorkbenchError(f"activation must be None, 'silu' or 'swish', not {activation!r}")
    fits = x.dim() == 3 and weight.dim() == 2 and x.shape[1] == weight.shape[0] and weight.shape[1] > 0
    fits = fits and (bias is None or bias.shape == weight.shape[:1])
    fits = fits and (before is None or before.shape == (*x.shape[:2], weight.shape[1] - 1))
    if not fits:
        optional = {"bias": bias, "before": before}
        given = {"x": x, "weight": weight} | {name: t for name, t in optional.items() if t is not None}
        raise WorkbenchError("shapes do not fit: " + ", ".join(f"{name} {list(t.shape)}" for name, t in given.items()))
    if seq_idx is not None:
        check_index(seq_idx, rows=x.shape[0], length=x.shape[2])
        if before is not None:
            raise WorkbenchError("packed sequences (seq_idx) have nothing before them; leave `before` out")
    if x.numel() == 0:
        raise WorkbenchError("a convolution needs at least one token")
