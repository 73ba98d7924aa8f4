"""What a user changes in a model after a step is what the next lean step computes with: attributes, settings, layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.fusion.building import assert_same_run, build, run, tokens
from workbench.arch.sizes import ModelSizes
from workbench.fusion.lean.report import lean_blocks, run_lean
from workbench.fusion.model import forward_tokens


def layer_of(model: Any, index: int) -> Any:
    return model.decoder.layers[index]


# What a user may set after a step. `[M-]` is block 1, `[*-]` block 0.
CHANGES: dict[str, Callable[[Any], None]] = {
    "activation of the config": lambda m: setattr(m.config, "activation_func", nn.functional.gelu),
    "offset of the gated half": lambda m: setattr(m.config, "glu_linear_offset", 1.0),
    "clamped activation": lambda m: setattr(m.config, "activation_func_clamp_value", 0.01),
    "interleaved rotation": lambda m: setattr(m.config, "rotary_interleaved", True),
    "scale of scores": lambda m: setattr(layer_of(m, 0).self_attention.core_attention, "softmax_scale", 0.9),
    "second scale": lambda m: setattr(layer_of(m, 0).self_attention.core_attention.scale_mask_softmax, "scale", 0.5),
    "window": lambda m: setattr(layer_of(m, 0).self_attention.core_attention.scale_mask_softmax, "window_size", (2, 0)),
    "scale of the rotation": lambda m: setattr(layer_of(m, 0).self_attention, "_yarn_concentration_factor", 1.5),
    "epsilon": lambda m: setattr(layer_of(m, 0).input_layernorm, "eps", 0.5),
    "zero-centred gamma": lambda m: setattr(layer_of(m, 0).pre_mlp_layernorm, "zero_centered", True),
    "residual addition": lambda m: setattr(layer_of(m, 0), "mlp_bda", lambda *_: lambda _, residual, __: 2 * residual),
    "norm of the scan": lambda m: setattr(layer_of(m, 1).self_attention, "rmsnorm", False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_set_after_a_step_counts(name: str) -> None:
    model, other = build("[*-][M-]"), build("[*-][M-]")
    run_lean(other, False)
    before = run(model).losses
    for changed in (model, other):
        CHANGES[name](changed)
    assert not torch.equal(assert_same_run(model, other).losses, before)


def test_an_activation_set_after_a_step_counts() -> None:
    model, other = (build("[*-]", ModelSizes(activation="squared_relu")) for _ in range(2))
    run_lean(other, False)
    before = run(model).losses
    for changed in (model, other):
        layer_of(changed, 0).mlp.activation_func = torch.tanh
    assert not torch.equal(assert_same_run(model, other).losses, before)


def test_a_layer_of_another_class_needs_nothing_but_its_number() -> None:
    class Wrapped(nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner, self.layer_number = inner, inner.layer_number

        def forward(self, **given: Any) -> Any:
            return self.inner(**given)

    model, other = build("[*-][M-]"), build("[*-][M-]")
    run_lean(other, False)
    for changed in (model, other):
        changed.decoder.layers[0] = Wrapped(layer_of(changed, 0))
    assert torch.equal(forward_tokens(model, tokens()), forward_tokens(other, tokens()))
    assert [block.reason for block in lean_blocks(model)] == ["a Wrapped has a forward of its own", None]


def test_a_stack_of_which_layers_were_taken_runs_as_upstreams() -> None:
    model, other = build("[*-][M-][G-]"), build("[*-]")
    model.decoder.layers = model.decoder.layers[:1]
    model.load_state_dict(other.state_dict())
    assert torch.equal(forward_tokens(model, tokens()), forward_tokens(other, tokens()))
    assert [block.reason for block in lean_blocks(model)] == ["layers were taken out of its stack"]
    assert "1 layers are left of 3 blocks" in repr(model)
