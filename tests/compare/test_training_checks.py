"""Training, exchanged checkpoints and resumed training: each check sees its own thing broken, and names the place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.compare import training_checks
from workbench.compare.session import Session
from workbench.compare.training_checks import (
    check_left_to_right,
    check_resume,
    check_right_to_left,
    check_training,
)
from workbench.fusion.trainer import optimizer_state

Twins = Callable[..., Session]


def trained(twins: Twins, **settings: Any) -> Session:
    session = twins("[*-]M", **settings)
    assert check_training(session).passed is True
    return session


def test_sound_twins_pass_every_check(twins: Twins) -> None:
    session = trained(twins)
    for check in (check_left_to_right, check_right_to_left, check_resume):
        found = check(session)
        assert found.passed is True, found
        assert found.differences == ()
    assert len(session.left.losses) == 4, "two steps before the checkpoint, two after it"


def test_training_really_changes_weights_and_moments(twins: Twins) -> None:
    session = twins("[*-]M")
    before = {name: tensor.clone() for name, tensor in session.left.state().items()}
    check_training(session)
    after = session.left.state()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert any(name.startswith("optimizer.exp_avg_sq.") for name in after)


def test_another_learning_rate(twins: Twins) -> None:
    session = twins("[*-]M")
    session.left.trainer = session.trainer(session.left.model)
    for group in session.left.trainer.optimizer.param_groups:
        group["lr"] *= 1.001
    found = check_training(session)
    assert found.passed is False
    assert found.measured["differences"] > 10


def test_one_moment_that_differs(twins: Twins) -> None:
    session = twins("[*-]M")
    session.train(session.left, 0, 2)
    name = "exp_avg_sq.decoder.layers.1.mlp.linear_fc1.weight"
    with torch.no_grad():
        optimizer_state(session.left.trainer)[name][0, 0] *= 2
    session.train(session.right, 0, 2)
    left, right = training_checks._trained(session.left), training_checks._trained(session.right)
    (difference,) = training_checks.compare_named(session, left, right)
    assert difference.name == f"optimizer.{name}"
    assert difference.place == "sub-layer 1, MLP"


def test_a_moment_that_is_not_restored(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    session = trained(twins)
    original = training_checks.load_checkpoint
    name = "exp_avg_sq.decoder.layers.0.self_attention.linear_qkv.weight"

    def forgetful(path: Path, model: Any, optimizer: Any) -> Any:
        result = original(path, model, optimizer)
        for trainer in (side.trainer for side in fresh):
            if trainer.optimizer is optimizer:
                optimizer_state(trainer)[name].zero_()
        return result

    fresh: list[Any] = []
    build = session.fresh

    def remembered(side: Any) -> Any:
        fresh.append(build(side))
        return fresh[-1]

    session.fresh = remembered  # type: ignore[method-assign]
    monkeypatch.setattr(training_checks, "load_checkpoint", forgetful)
    found = check_left_to_right(session)
    assert found.passed is False
    (difference,) = found.differences
    assert difference.name == f"optimizer.{name}"
    assert difference.place == "sub-layer 0, self-attention, after loading"
    resumed = check_resume(session)
    assert resumed.passed is False
    assert any("sub-layer 0" in entry.place for entry in resumed.differences)


def test_a_renamed_key(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    session = trained(twins)
    stack = session.left.model.decoder
    original = stack._rename_fused

    def misnamed(part: Any, live: str, layers: str, block: Any) -> None:
        original(part, live, layers, block)
        for entry in part.values():
            if getattr(entry, "key", "").endswith("self_attention.linear_proj.weight"):
                entry.key = entry.key.replace("linear_proj", "projection")

    monkeypatch.setattr(stack, "_rename_fused", misnamed)
    found = check_left_to_right(session)
    assert found.passed is False
    assert "decoder.layers.0" in found.summary or "sub-layer 0, self-attention" in found.summary
    assert "projection.weight" in str(found.differences)


def test_a_key_that_only_the_file_has_otherwise(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both twins still load it: only the comparison of the files can see it."""
    session = trained(twins)
    original = training_checks.stored_tensors

    def tampered(path: Path) -> dict[str, torch.Tensor]:
        tensors = original(path)
        if path == session.left.checkpoint:
            tensors["decoder.layers.2.mixer.D"] = tensors["decoder.layers.2.mixer.D"] + 1e-6
        return tensors

    monkeypatch.setattr(training_checks, "stored_tensors", tampered)
    found = check_right_to_left(session)
    (difference,) = found.differences
    assert difference.place == "sub-layer 2, Mamba-2, on disk"


@pytest.mark.parametrize("keep", [0, 1000])
def test_a_truncated_file(twins: Twins, keep: int) -> None:
    session = trained(twins)
    data = max(session.save(session.left).glob("*.distcp"), key=lambda path: path.stat().st_size)
    data.write_bytes(data.read_bytes()[:keep])
    found = check_left_to_right(session)
    assert found.passed is False
    (difference,) = found.differences
    assert difference.place == "the left checkpoint"
    assert str(session.left.checkpoint) in difference.detail
    assert check_resume(session).passed is False


def test_a_missing_index(twins: Twins) -> None:
    session = trained(twins)
    (session.save(session.right) / ".metadata").unlink()
    found = check_right_to_left(session)
    assert found.passed is False
    assert found.differences[0].place == "the right checkpoint"


def test_one_flipped_byte(twins: Twins) -> None:
    session = trained(twins)
    data = max(session.save(session.left).glob("*.distcp"), key=lambda path: path.stat().st_size)
    content = bytearray(data.read_bytes())
    weight = session.left.model.decoder.layers[0].mlp.linear_fc2.weight.detach().numpy().tobytes()
    content[content.index(weight) + 100] ^= 1
    data.write_bytes(bytes(content))
    found = check_left_to_right(session)
    assert found.passed is False
    assert "sub-layer 1, MLP, on disk" in {entry.place for entry in found.differences}


def test_a_tolerance_does_not_loosen_what_a_checkpoint_holds(twins: Twins) -> None:
    from workbench.compare.tensors import Tolerance

    session = trained(twins, tolerance=Tolerance(atol=1.0))
    loaded = session.fresh(session.right)
    with torch.no_grad():
        session.right.model.decoder.final_norm.weight.add_(1e-6)
    assert training_checks._exactly(session, session.left.state(), loaded.state())


@pytest.mark.parametrize("settings", [{"dtype": "bf16"}, {"clip_grad": 1e-3}])
def test_bf16_and_clipping_are_bitwise_too(twins: Twins, settings: dict[str, Any]) -> None:
    session = trained(twins, **settings)
    assert check_left_to_right(session).passed is True
    assert check_resume(session).passed is True
