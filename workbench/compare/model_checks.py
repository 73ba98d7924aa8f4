"""The checks that need no training: sub-layers, weights, the path that ran, logits, loss, gradients.

Each takes a session and returns what it found as a `Check`; `passed` is decided here and nowhere else.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.compare.findings import compare_named, make_check, said, tensor_check
from workbench.compare.session import Session
from workbench.compare.structure import (
    first_divergence,
    off_path,
    other_layout,
    other_numbers,
    other_symbols,
    unplanned,
)
from workbench.compare.tensors import digest
from workbench.compare.verdict import Check, Difference, Number
from workbench.fusion.model import forward_logits, forward_tokens
from workbench.fusion.names import canonical_parameters
from workbench.fusion.state import canonical_state_dict
from workbench.fusion.statistics import statistics
from workbench.fusion.trace import Trace, traced


def check_sublayers(session: Session) -> Check:
    """The same canonical sub-layers, and as many modules built as the patterns have blocks."""
    differences = [*other_symbols(session), *unplanned(session.left), *unplanned(session.right)]
    if not differences:
        differences = [*other_layout(session), *other_numbers(session)]
    left, right = session.left.pattern, session.right.pattern
    return make_check(
        "sublayers",
        "Do both build the same sub-layers, one module a block?",
        differences,
        f"{len(left.sublayers)} sub-layers, in {len(left.blocks)} blocks on the left and {len(right.blocks)} on the right",
        {
            "sublayers": len(left.sublayers),
            "mtp_sublayers": len(left.mtp.sublayers) * left.mtp.depths if left.mtp else 0,
            "left_blocks": len(left.blocks),
            "right_blocks": len(right.blocks),
            "left_fused": left.counts["fused"],
            "right_fused": right.counts["fused"],
            "tensors": len(canonical_state_dict(session.left.model)),
        },
    )


def check_initial_weights(session: Session) -> Check:
    """The same weights from the same seed, by canonical name."""
    left, right = canonical_state_dict(session.left.model), canonical_state_dict(session.right.model)
    return tensor_check(session, "initial_weights", "Does one seed give both the same weights?", left, right, "tensors")


def check_fused_path(session: Session) -> Check:
    """Hooks saw every planned block called once, and the mixers of its sub-layers run inside that call, in order."""
    differences: list[Difference] = []
    measured: dict[str, Number] = {}
    for side in (session.left, session.right):
        with torch.no_grad(), traced(side.model, tensors=False) as trace:
            session.reseed()
            forward_tokens(side.model, session.tokens(0))
        differences += off_path(side, trace.calls)
        measured[f"{side.label}_block_calls"] = len(trace.calls)
        measured[f"{side.label}_fused_calls"] = sum(len(call.sublayers) == 2 for call in trace.calls)
    return make_check(
        "fused_path",
        "Did each fused group really run as one block?",
        differences,
        f"{measured['left_block_calls']} block calls on the left, {measured['left_fused_calls']} of them fused; "
        f"{measured['right_block_calls']} and {measured['right_fused_calls']} on the right",
        measured,
    )


def check_logits(session: Session) -> Check:
    """The same logits in training mode (dropout drawn alike); where they differ, the first place on the way that does."""
    logits: list[Tensor] = []
    traces: list[Trace] = []
    for side in (session.left, session.right):
        side.model.train()
        with torch.no_grad(), traced(side.model) as trace:
            session.reseed()
            logits.append(forward_logits(side.model, session.tokens(0)[:, :-1]))
        traces.append(trace)
    left, right = logits
    differences = compare_named(session, {"logits": left}, {"logits": right})
    if differences:
        differences = [*first_divergence(session, *traces), *differences]
    measured: dict[str, Number] = {"elements": left.numel(), "digest": digest({"logits": left})}
    return make_check(
        "logits", "Do both compute the same logits?", differences, said(session, left.numel(), "logits"), measured
    )


def check_loss(session: Session) -> Check:
    """The same loss, token by token, and the same router and MTP statistics, layer by layer."""
    found: list[dict[str, Tensor]] = []
    for side in (session.left, session.right):
        session.reseed()
        # Not under no_grad: megatron's router records its losses only where a backward could follow.
        losses = forward_tokens(side.model, session.tokens(0)).detach()
        found.append({"loss a token": losses, "loss": losses.float().mean()} | statistics())
    left, right = found
    differences = compare_named(session, left, right)
    measured: dict[str, Number] = {
        "loss": float(left["loss"]),
        "right_loss": float(right["loss"]),
        "tokens": left["loss a token"].numel(),
        "statistics": len(left) - 2,
    }
    return make_check(
        "loss",
        "Is the loss the same, and what megatron logs beside it?",
        differences,
        f"loss {measured['loss']:.9g} against {measured['right_loss']:.9g}{_logged(list(left)[2:])}",
        measured,
    )


def check_gradients(session: Session) -> Check:
    """The same gradient of every parameter, by canonical name; one that is missing on one side is a difference."""
    found: list[dict[str, Tensor]] = []
    for side in (session.left, session.right):
        side.model.zero_grad(set_to_none=True)
        session.reseed()
        forward_tokens(side.model, session.tokens(0)).float().mean().backward()
        parameters = canonical_parameters(side.model)
        found.append({name: p.grad.clone() for name, p in parameters.items() if p.grad is not None})
        side.model.zero_grad(set_to_none=True)
    left, right = found
    check = tensor_check(session, "gradients", "Is every gradient the same?", left, right, "gradients")
    total = len(canonical_parameters(session.left.model))
    extra: dict[str, Number] = {
        "parameters": total,
        "without_gradient": total - len(left),
        "all_zero": sum(not bool(tensor.any()) for tensor in left.values()),
    }
    return Check(**{**vars(check), "measured": {**check.measured, **extra}})


def _logged(names: list[str]) -> str:
    return f"; also equal, by layer: {', '.join(names)}" if names else ""
