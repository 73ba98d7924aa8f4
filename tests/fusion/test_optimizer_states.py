"""Training goes on from a checkpoint as if it had never stopped: bitwise, for every optimizer, between any fusions."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from tests.fusion.checkpoints import KINDS, Training, differing
from workbench.errors import WorkbenchError
from workbench.fusion import optimizer_states
from workbench.fusion.checkpointing import load_checkpoint, save_checkpoint, stored_tensors, stored_values
from workbench.fusion.model import build_model
from workbench.fusion.trainer import make_trainer, train_step

FUSED, UNFUSED = "M[*-][ME]/[*-]", "M*-ME/*-"
NAMES = {
    "fp32": "megatron's fp32 optimizer",
    "bf16": "megatron's optimizer with fp32 master weights",
    "distributed fp32": "megatron's distributed optimizer",
    "distributed bf16": "megatron's distributed optimizer",
    "Adam": "torch's Adam",
    "AdamW": "torch's AdamW",
}
OTHERS = [(a, b) for a, b in itertools.permutations(KINDS, 2) if NAMES[a] != NAMES[b]]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained():
    """What four steps without a stop give, by kind."""
    made: dict[str, dict[str, torch.Tensor]] = {}

    def of(kind: str) -> dict[str, torch.Tensor]:
        if kind not in made:
            made[kind] = Training(UNFUSED, kind).train(0, 4).weights()
        return made[kind]

    return of


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small checkpoint of every kind."""
    folder = tmp_path_factory.mktemp("saved")
    for kind in KINDS:
        training = Training("[M-]", kind).train(0, 1)
        save_checkpoint(folder / kind, training.model, training.optimizer)
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("first", "second"), [(FUSED, UNFUSED), (UNFUSED, FUSED)])
def test_training_resumes_exactly(kind, first, second, trained, tmp_path):
    before = Training(first, kind).train(0, 2)
    save_checkpoint(tmp_path / "c", before.model, before.optimizer, iteration=2)
    after = Training(second, kind, seed=9)
    assert load_checkpoint(tmp_path / "c", after.model, after.optimizer).iteration == 2
    after.train(2, 2)
    assert differing(after.weights(), trained(kind)) == []
    assert {float(step) for step in after.steps()} <= {4.0}


@pytest.mark.parametrize("kind", KINDS)
def test_training_resumes_into_an_optimizer_that_has_trained(kind, trained, tmp_path):
    before = Training(FUSED, kind).train(0, 2)
    save_checkpoint(tmp_path / "c", before.model, before.optimizer)
    after = Training(UNFUSED, kind, seed=9).train(50, 3)
    load_checkpoint(tmp_path / "c", after.model, after.optimizer)
    assert differing(after.train(2, 2).weights(), trained(kind)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_twins_store_the_same_optimizer_state(kind, tmp_path):
    for name, pattern in (("fused", FUSED), ("unfused", UNFUSED)):
        training = Training(pattern, kind).train(0, 2)
        save_checkpoint(tmp_path / name, training.model, training.optimizer)
    fused, unfused = stored_tensors(tmp_path / "fused"), stored_tensors(tmp_path / "unfused")
    assert differing(fused, unfused) == []
    assert str(stored_values(tmp_path / "fused")) == str(stored_values(tmp_path / "unfused"))
    weights = {name for name in fused if not name.startswith("optimizer.")}
    moments = {f"optimizer.state.{moment}.{name}" for moment in ("exp_avg", "exp_avg_sq") for name in weights}
    # A tensor that is not trained (the router's balance) has no state.
    assert {name for name in moments if "expert_bias" not in name} <= fused.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_counts_its_own_steps(kind, saved):
    training = Training("[M-]", kind, seed=9)
    load_checkpoint(saved / kind, training.model, training.optimizer)
    steps = training.steps()
    assert len(steps) > 5
    assert len({step.data_ptr() for step in steps}) == len(steps)
    assert {float(step) for step in steps} == {1.0}
    training.train(1, 1)
    assert {float(step) for step in training.steps()} == {2.0}


@pytest.mark.parametrize("kind", KINDS)
def test_settings_come_back(kind, tmp_path):
    before = Training("[M-]", kind).train(0, 1)
    for group in before.optimizer.param_groups:
        group["lr"] = 0.125
    save_checkpoint(tmp_path / "c", before.model, before.optimizer)
    after = Training("M-", kind)
    load_checkpoint(tmp_path / "c", after.model, after.optimizer)
    assert {group["lr"] for group in after.optimizer.param_groups} == {0.125}


@pytest.mark.parametrize(("stored", "given"), OTHERS)
def test_another_kind_of_optimizer_is_refused(stored, given, saved):
    training = Training("[M-]", given, seed=9).train(0, 1)
    before = training.weights()
    with pytest.raises(WorkbenchError) as caught:
        load_checkpoint(saved / stored, training.model, training.optimizer)
    assert str(caught.value) == (
        f"{saved / stored} holds the state of {NAMES[stored]}, and this is {NAMES[given]}: load it without an optimizer"
    )
    assert differing(before, training.weights()) == []
    load_checkpoint(saved / stored, training.model)


@pytest.mark.parametrize(("first", "second"), [("distributed fp32", "distributed bf16"), ("distributed bf16",) * 2])
def test_the_distributed_optimizer_changes_precision(first, second, saved):
    # It keeps fp32 weights in either, under one name.
    training = Training("[M-]", second, seed=9)
    load_checkpoint(saved / first, training.model, training.optimizer)
    assert {float(step) for step in training.steps()} == {1.0}


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_without_optimizer_state(kind, tmp_path):
    save_checkpoint(tmp_path / "c", Training("[M-]").model)
    training = Training("[M-]", kind, seed=9)
    before = training.weights()
    with pytest.raises(WorkbenchError) as caught:
        load_checkpoint(tmp_path / "c", training.model, training.optimizer)
    assert str(caught.value) == f"{tmp_path / 'c'} holds no optimizer state: load it without an optimizer"
    assert differing(before, training.weights()) == []


def test_a_checkpoint_from_before_the_first_step(tmp_path):
    new = Training("[M-]", "bf16")
    save_checkpoint(tmp_path / "c", new.model, new.optimizer)
    training = Training("[M-]", "bf16", seed=9)
    with pytest.raises(WorkbenchError) as caught:
        load_checkpoint(tmp_path / "c", training.model, training.optimizer)
    assert "optimizer state(s) of this optimizer, such as optimizer.state.exp_avg." in str(caught.value)
    assert "it was saved before the first step; load it without an optimizer" in str(caught.value)


def test_another_optimizer_class_is_refused(saved, tmp_path):
    training = Training("[M-]", "Adam")
    momentum = torch.optim.SGD(training.model.parameters(), lr=0.1)
    said = "SGD is not supported: use megatron's optimizer, torch's Adam or AdamW"
    with pytest.raises(WorkbenchError, match=said):
        save_checkpoint(tmp_path / "c", training.model, momentum)
    with pytest.raises(WorkbenchError, match=said):
        load_checkpoint(saved / "Adam", training.model, momentum)
    assert list(tmp_path.iterdir()) == []


def test_tensors_without_settings(tmp_path):
    with pytest.raises(WorkbenchError) as caught:
        optimizer_states.check_kind(Training("[M-]").optimizer, {"optimizer.state.exp_avg.a"}, {"state": {}}, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds tensors of an optimizer and not its settings: load it without an optimizer"
    )


def test_torch_adam_over_part_of_a_model(tmp_path):
    training = Training("[M-]", "Adam").train(0, 1)
    some = torch.optim.Adam(list(training.model.decoder.parameters()), lr=1e-3)
    training.optimizer = some
    training.train(1, 1)
    save_checkpoint(tmp_path / "c", training.model, some)
    names = [name for name in stored_tensors(tmp_path / "c") if name.startswith("optimizer.state.")]
    assert names
    assert {name.split(".")[3] for name in names} == {"decoder"}


def test_resuming_without_the_state_is_not_exact(trained, tmp_path):
    before = Training(FUSED).train(0, 2)
    save_checkpoint(tmp_path / "c", before.model, before.optimizer)
    after = Training(UNFUSED, seed=9)
    load_checkpoint(tmp_path / "c", after.model)
    assert differing(before.weights(), after.weights()) == []
    assert differing(after.train(2, 2).weights(), trained("fp32"))


def test_another_learning_rate_is_named_as_what_stands_in_the_way(tmp_path: Path) -> None:
    saved = make_trainer(build_model("[*-]", seed=1), learning_rate=1e-3)
    train_step(saved, torch.arange(34).reshape(2, 17))
    save_checkpoint(tmp_path / "run", saved.model, saved.optimizer)
    other = make_trainer(build_model("[*-]", seed=2), learning_rate=2e-3)
    with pytest.raises(WorkbenchError, match="another learning rate or weight decay than the checkpoint's"):
        load_checkpoint(tmp_path / "run", other.model, other.optimizer)
