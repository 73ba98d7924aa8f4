"""The checks that train and save: N optimizer steps, checkpoints exchanged on disk, training resumed in the other twin."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from workbench.compare.findings import compare_named, make_check, said, tensor_check
from workbench.compare.session import Session, Side
from workbench.compare.tensors import Tolerance, compare_mappings, digest
from workbench.compare.verdict import Check, Difference, Number
from workbench.errors import WorkbenchError
from workbench.fusion.checkpointing import load_checkpoint, stored_tensors


def check_training(session: Session) -> Check:
    """The same weights and optimizer states after N steps of megatron's optimizer, and the same losses on the way."""
    steps = session.settings.steps
    for side in (session.left, session.right):
        session.train(side, 0, steps)
    left, right = _trained(session.left), _trained(session.right)
    check = tensor_check(
        session, "training", f"Are weights and optimizer states the same after {steps} steps?", left, right, "tensors"
    )
    extra: dict[str, Number] = {
        "steps": steps,
        "first_loss": session.left.losses[0],
        "last_loss": session.left.losses[-1],
        "right_last_loss": session.right.losses[-1],
        "last_grad_norm": session.left.grad_norms[-1],
    }
    summary = check.summary
    if check.passed:
        summary = f"{steps} steps, loss {session.left.losses[0]:.6g} → {session.left.losses[-1]:.6g}; {summary}"
    return Check(**{**vars(check), "summary": summary, "measured": {**check.measured, **extra}})


def check_left_to_right(session: Session) -> Check:
    """What the left wrote is what the right would have written, and the right reads it."""
    return _exchange(session, "checkpoint_left_to_right", session.left, session.right)


def check_right_to_left(session: Session) -> Check:
    """What the right wrote is what the left would have written, and the left reads it."""
    return _exchange(session, "checkpoint_right_to_left", session.right, session.left)


def check_resume(session: Session) -> Check:
    """N more steps in the other twin, from the checkpoint, equal N more steps that were never interrupted."""
    steps, trained = session.settings.steps, session.settings.steps
    question = (
        f"Do {steps} more steps in the other twin, from the checkpoint, equal training that was never interrupted?"
    )
    differences: list[Difference] = []
    measured: dict[str, Number] = {"steps": steps}
    elements = 0
    for source, target in ((session.left, session.right), (session.right, session.left)):
        session.save(source)
        resumed = session.fresh(target)
        assert resumed.trainer is not None
        try:
            load_checkpoint(session.save(source), resumed.trainer.model, resumed.trainer.optimizer)
        except WorkbenchError as error:
            return make_check("resume", question, [_unreadable(source, error)], "", measured)
        session.train(resumed, trained, steps)
        expected = _uninterrupted(session, source, trained, steps)
        found = _trained(resumed)
        elements += sum(tensor.numel() for tensor in expected.values())
        differences += compare_named(session, expected, found)
        measured[f"{source.label}_uninterrupted_digest"] = digest(expected)
        measured[f"{target.label}_resumed_digest"] = digest(found)
        measured[f"{target.label}_resumed_last_loss"] = resumed.losses[-1]
    return make_check("resume", question, differences, f"both ways, {said(session, elements, 'numbers')}", measured)


# ------------------------------------------------------------------------------------------------------


def _exchange(session: Session, name: str, source: Side, target: Side) -> Check:
    question = f"Does the {target.label} twin read what the {source.label} one wrote?"
    try:
        written, expected = stored_tensors(session.save(source)), stored_tensors(session.save(target))
        loaded = session.fresh(target)
        assert loaded.trainer is not None
        load_checkpoint(session.save(source), loaded.trainer.model, loaded.trainer.optimizer)
    except WorkbenchError as error:
        return make_check(name, question, [_unreadable(source, error)], "", {})
    loaded_state = loaded.state()
    differences = [
        *_in(compare_named(session, written, expected), "on disk"),
        # A load is exact whatever the tolerance: it copies.
        *_in(_exactly(session, source.state(), loaded_state), "after loading"),
    ]
    stored_bytes = sum(tensor.numel() * tensor.element_size() for tensor in written.values())
    measured: dict[str, Number] = {
        "stored_tensors": len(written),
        "stored_bytes": stored_bytes,
        "written_digest": digest(written),
        "expected_digest": digest(expected),
        "loaded_tensors": len(loaded_state),
    }
    summary = f"{len(written)} stored tensors, {stored_bytes:,} bytes: the same names, shapes, dtypes and bytes"
    return make_check(name, question, differences, summary, measured)


def _uninterrupted(session: Session, side: Side, first: int, steps: int) -> Mapping[str, Tensor]:
    """The side's state after `steps` further steps; trained once, and the checkpoint was written before."""
    if len(side.losses) == first:
        session.train(side, first, steps)
    return _trained(side)


def _trained(side: Side) -> dict[str, Tensor]:
    """Weights, optimizer states, and the loss and gradient norm of the last steps, as tensors that can be compared."""
    return side.state() | {
        "last loss": torch.tensor(side.losses[-1], dtype=torch.float64),
        "last gradient norm": torch.tensor(side.grad_norms[-1], dtype=torch.float64),
    }


def _exactly(session: Session, left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> list[Difference]:
    return compare_mappings(left, right, session.place, Tolerance())


def _in(differences: list[Difference], where: str) -> list[Difference]:
    return [Difference(**{**vars(entry), "place": f"{entry.place}, {where}"}) for entry in differences]


def _unreadable(source: Side, error: WorkbenchError) -> Difference:
    return Difference("checkpoint", f"the {source.label} checkpoint", "structure", str(error))
