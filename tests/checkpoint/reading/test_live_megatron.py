"""Megatron's live models and optimizers, fused or not: the names of their state dicts, the memory that they train in."""

from __future__ import annotations

import pytest

import workbench.fusion  # noqa: F401
from tests.fusion.checkpoints import KINDS, MEGATRON, Training
from tests.gpt_models import gpt
from workbench.arch.sizes import ModelSizes
from workbench.checkpoint.reading.live import open_live
from workbench.fusion import runtime
from workbench.fusion.names import canonical_parameters
from workbench.fusion.trainer import optimizer_state

PATTERN = "M[*-][ME]"


@pytest.fixture(scope="module", autouse=True)
def _running() -> None:
    runtime.start()


@pytest.fixture(scope="module", params=KINDS)
def training(request: pytest.FixtureRequest) -> Training:
    return Training(PATTERN, request.param).train(0, 1)


def test_a_model(training):
    opened = open_live(training.model)
    expected = {name: value for name, value in training.model.state_dict().items() if value is not None}
    assert set(opened.names) == expected.keys()
    assert opened.format == "module"
    assert opened.notes[0].endswith("_extra_state entries that hold nothing were left out")
    for name, value in expected.items():
        assert opened.read(name).equal(value)
        assert opened.dtype(name) == str(value.dtype)[6:]
        assert opened[name].bits().__array_interface__["data"][0] == value.data_ptr()


@pytest.mark.parametrize("kind", MEGATRON)
def test_wrapped_models_have_the_names_of_the_model(kind):
    training = Training(PATTERN, kind)
    (chunk,) = training.trainer.chunks
    assert hasattr(chunk, "module")
    assert open_live(chunk).names == open_live(training.model).names


def test_an_optimizer(training):
    """Every state that a training step left, in the shape of its weight."""
    opened = open_live(training.optimizer, module=training.model)
    weights = {name: weight for name, weight in training.model.named_parameters() if weight.requires_grad}
    kinds = {"exp_avg", "exp_avg_sq"} | ({"fp32_param"} if training.kind.endswith("bf16") else set())
    for name, weight in weights.items():
        for kind in kinds:
            assert opened.shape(f"optimizer.state.{kind}.{name}") == tuple(weight.shape)
            assert opened.dtype(f"optimizer.state.{kind}.{name}") == "float32"
        assert opened.read(f"optimizer.state.step.{name}") == 1
    assert len(opened.tensors) == len(weights) * (len(kinds) + 1)
    if training.kind.endswith("bf16"):
        for name, weight in weights.items():
            assert opened.read(f"optimizer.state.fp32_param.{name}").bfloat16().equal(weight.detach())
    names = [name for group in opened.values["optimizer.param_groups"] for name in group["params"]]
    assert sorted(names) == sorted(weights)


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_its_values_are_those_that_the_trainer_reports(kind):
    training = Training(PATTERN, kind).train(0, 2)
    opened = open_live(training.optimizer, module=training.model)
    live = {id(weight): name for name, weight in training.model.named_parameters()}
    told = optimizer_state(training.trainer)
    for canonical, weight in canonical_parameters(training.model).items():
        for state in ("exp_avg", "exp_avg_sq", "step"):
            assert opened.read(f"optimizer.state.{state}.{live[id(weight)]}").equal(told[f"{state}.{canonical}"])


@pytest.mark.parametrize("experts", [False, True])
def test_a_gpt_model(experts):
    model = gpt(ModelSizes(), experts=experts)
    opened = open_live(model)
    expected = {name: value for name, value in model.state_dict().items() if value is not None}
    assert set(opened.names) == expected.keys()
    assert all(opened.read(name).equal(value) for name, value in expected.items())
