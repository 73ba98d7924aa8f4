"""Canonical state dicts: fused and unfused exchange them, and what does not fit is said before anything is written."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.fusion.building import PAIRS, assert_same, build, run, twins
from workbench.arch.sizes import ModelSizes
from workbench.checkpoint.mismatch import CheckpointMismatch
from workbench.errors import WorkbenchError
from workbench.fusion import runtime
from workbench.fusion.model import build_model
from workbench.fusion.state import canonical_state_dict, load_canonical_state_dict
from workbench.fusion.trainer import make_trainer

PATTERN = "M[*-]M[ME]/[*-]"


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in canonical_state_dict(model).items()}


def other(pattern: str, **options: Any) -> Any:
    """A model with other weights."""
    return build_model(pattern, seed=99, backend="local", **options)


def refusal(model: nn.Module, state: dict[str, Tensor], **options: Any) -> CheckpointMismatch:
    """The error, after a look that nothing was written."""
    before = copied(model)
    with pytest.raises(CheckpointMismatch) as error:
        load_canonical_state_dict(model, state, **options)
    assert_same(copied(model), before)
    return error.value


@pytest.mark.parametrize("pattern", [*PAIRS, PATTERN, "[M-]|[*E]"])
def test_weights_go_from_fused_to_unfused_and_back(pattern: str) -> None:
    fused, unfused = twins(pattern)
    state = copied(fused)
    assert list(state) == list(canonical_state_dict(unfused))
    for model in (other(fused.pattern), other(unfused.pattern)):
        load_canonical_state_dict(model, state)
        assert_same(canonical_state_dict(model), state)
        assert torch.equal(run(model).losses, run(fused).losses)


def test_the_tensors_are_the_models_own_and_detached() -> None:
    model = build("[M-]")
    state = canonical_state_dict(model)
    name = "embedding.word_embeddings.weight"
    assert state[name].data_ptr() == model.embedding.word_embeddings.weight.data_ptr()
    assert not any(tensor.requires_grad for tensor in state.values())


def test_buffers_are_part_of_the_state() -> None:
    model = build("[*E]", ModelSizes(moe_router_bias=True))
    assert "decoder.layers.1.mlp.router.expert_bias" in canonical_state_dict(model)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_wrapped_models_have_the_state_of_what_they_wrap(dtype: str) -> None:
    model = build(PATTERN, dtype=dtype)
    names = list(canonical_state_dict(model))
    wrapped = make_trainer(model).model
    assert list(canonical_state_dict(wrapped)) == names
    state = copied(other(PATTERN))
    load_canonical_state_dict(wrapped, state)
    dtypes = {tensor.dtype for tensor in model.parameters()}
    assert torch.bfloat16 in dtypes if dtype == "bf16" else dtypes == {torch.float32}
    for name, tensor in canonical_state_dict(model).items():
        assert torch.equal(tensor, state[name].to(tensor.dtype))


def test_extra_state_of_transformer_engine_is_no_mismatch() -> None:
    model = build("[M-]")
    state: dict[str, Any] = copied(model)
    state["decoder.layers.1.mlp.linear_fc1._extra_state"] = None
    load_canonical_state_dict(model, state)
    assert not any(name.endswith("_extra_state") for name in canonical_state_dict(model))


def test_another_kind_of_layer_is_said_once() -> None:
    error = refusal(build("[M-]"), copied(build("[*-]")))
    assert str(error) == (
        "the checkpoint does not fit the model:\n  sub-layer 0 is Mamba-2, and the checkpoint holds self-attention there"
    )
    assert all(name.startswith("decoder.layers.0.") for name in (*error.missing, *error.unexpected))
    assert error.missing
    assert error.unexpected


def test_a_layer_that_is_missing_is_said() -> None:
    assert str(refusal(build("[M-]M"), copied(build("[M-]")))).splitlines()[1:] == [
        "  sub-layer 2 is Mamba-2, and the checkpoint has nothing there"
    ]


def test_a_layer_too_many_is_said() -> None:
    assert str(refusal(build("[M-]"), copied(build("[M-]E")))).splitlines()[1:] == [
        "  sub-layer 2 is not in [M-], and the checkpoint holds mixture of experts there"
    ]


def test_a_layer_of_an_mtp_depth_is_said_with_its_depth() -> None:
    assert str(refusal(build("M/[*-]"), copied(build("M/[*E]")))).splitlines()[1:] == [
        "  MTP depth 1, sub-layer 1 is MLP, and the checkpoint holds mixture of experts there"
    ]


def test_names_of_a_fused_model_are_recognised() -> None:
    model = build("[*-]")
    fused_names = {name.replace("layers.1.", "layers.0."): tensor for name, tensor in copied(model).items()}
    assert "it was written with the names of a fused model, not with canonical ones" in str(refusal(model, fused_names))


def test_missing_and_unexpected_names_are_allowed_when_asked_for() -> None:
    model = build("[M-]")
    state = copied(other("[M-]"))
    name = "decoder.layers.1.mlp.linear_fc2.weight"
    kept = model.state_dict()["decoder.layers.0.mlp.linear_fc2.weight"].clone()
    del state[name]
    state["nobody.knows"] = torch.zeros(1)
    error = refusal(model, state)
    assert (error.missing, error.unexpected) == ((name,), ("nobody.knows",))
    load_canonical_state_dict(model, state, strict=False)
    found = canonical_state_dict(model)
    assert torch.equal(found[name], kept)
    assert all(torch.equal(found[each], state[each]) for each in found if each != name)


@pytest.mark.parametrize("strict", [True, False])
def test_another_shape_is_never_allowed(strict: bool) -> None:
    error = refusal(build("[M-]"), copied(build("[M-]", ModelSizes(ffn_hidden_size=96))), strict=strict)
    by_tensor = [
        "  sub-layer 1, MLP: decoder.layers.1.mlp.linear_fc1.weight is [256, 64] in the model and [192, 64] in the checkpoint",
        "  sub-layer 1, MLP: decoder.layers.1.mlp.linear_fc2.weight is [64, 128] in the model and [64, 96] in the checkpoint",
    ]
    # A whole checkpoint shows the size behind the shapes; a part of one does not.
    by_size = ["  ffn_hidden_size is 128 in the model and 96 in the checkpoint"]
    assert str(error).splitlines()[1:] == (by_size if strict else by_tensor)
    assert [name for name, _, _ in error.shapes] == [
        "decoder.layers.1.mlp.linear_fc1.weight",
        "decoder.layers.1.mlp.linear_fc2.weight",
    ]


def test_a_model_that_is_split_over_ranks_has_no_whole_state(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("[M-]")
    monkeypatch.setattr(runtime, "_runtime", runtime.Runtime("cpu", 2, 0, 2, 1, None, 1, 1))
    for attempt in (lambda: canonical_state_dict(model), lambda: load_canonical_state_dict(model, {})):
        with pytest.raises(WorkbenchError) as error:
            attempt()
        assert str(error.value) == (
            "the model is split over ranks (tensor 2, pipeline 1, expert 1), so no rank has a whole state dict; use save_checkpoint "
            "and load_checkpoint"
        )
