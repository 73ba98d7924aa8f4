"""Whether a block runs lean: what a user hangs on its modules is called, and every setting that stands in the way is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from megatron.core.transformer.attention import SelfAttention
from megatron.core.transformer.transformer_layer import TransformerLayer
from torch import nn

from tests.fusion.building import SEED, assert_same_run, build, run, tokens
from workbench.arch.sizes import ModelSizes
from workbench.fusion.config import transformer_config
from workbench.fusion.lean import conditions
from workbench.fusion.lean.block import LeanBlock
from workbench.fusion.lean.report import lean_blocks, run_lean
from workbench.fusion.local_spec import local_stack_spec
from workbench.fusion.model import build_model, forward_tokens
from workbench.fusion.stack_spec import fused_stack_spec
from workbench.fusion.trace import traced
from workbench.pattern.model import Pattern


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way blocks ran: "lean", or "layer" for a `TransformerLayer`'s own forward."""
    found: list[str] = []
    ways: tuple[tuple[type, str, str], ...] = (
        (LeanBlock, "__call__", "lean"), (TransformerLayer, "forward", "layer"),
    )  # fmt: skip
    for owner, name, way in ways:
        original = getattr(owner, name)

        def noting(*args: Any, way: str = way, original: Callable[..., Any] = original, **kwargs: Any) -> Any:
            found.append(way)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, noting)
    return found


def ways(model: Any, ran: list[str]) -> list[str]:
    ran.clear()
    run(model)
    return list(ran)


def reasons(model: Any) -> list[str | None]:
    return [block.reason for block in lean_blocks(model)]


def test_a_training_step_runs_lean_and_nothing_else_does(ran: list[str]) -> None:
    model = build("[*-][ME]")
    assert ways(model, ran) == ["lean", "lean"]
    with torch.no_grad():
        forward_tokens(model, tokens())
    model.eval()
    forward_tokens(model, tokens())
    assert ran == ["lean", "lean", *4 * ["layer"]]


def test_it_is_turned_off_and_on(ran: list[str]) -> None:
    model = build("[*-]/[*-]")
    run_lean(model, False)
    assert ways(model, ran) == ["layer", "layer"]
    assert reasons(model) == 2 * ["it is turned off"]
    run_lean(model, True)
    assert ways(model, ran) == ["lean", "lean"]


def test_the_spec_turns_it_off_in_mtp_layers_too() -> None:
    config = transformer_config(Pattern("[*-]/[*-]"), ModelSizes())
    spec = fused_stack_spec(local_stack_spec(config), "[*-]/[*-]", lean=False)
    assert spec.params["lean"] is False
    (layer,) = spec.submodules.mtp_block_spec.submodules.layer_specs
    assert layer.params["lean"] is False


# The softmax writes into its input, which a backward hook on it does not allow: upstream's own forward fails then.
PASSED_OVER = [
    (name, kind)
    for name in (
        "",
        "input_layernorm",
        "self_attention",
        "self_attention.linear_qkv",
        "self_attention.core_attention",
        "self_attention.core_attention.scale_mask_softmax",
        "self_attention.linear_proj",
        "pre_mlp_layernorm",
        "mlp",
        "mlp.linear_fc1",
        "mlp.linear_fc2",
    )
    for kind in ("forward", "forward_pre", "full_backward", "full_backward_pre")
    if "softmax" not in name or "backward" not in kind
]


@pytest.mark.parametrize(("name", "kind"), PASSED_OVER)
def test_hooks_on_a_module_that_is_passed_over_are_called(name: str, kind: str, ran: list[str]) -> None:
    model, calls = build("[*-]"), []
    assert ways(model, ran) == ["lean"]
    module = model.decoder.layers[0].get_submodule(name)
    handle = getattr(module, f"register_{kind}_hook")(lambda *_: calls.append(1))
    assert ways(model, ran) == ["layer"]
    assert calls
    assert reasons(model) == [f"a hook is registered on {name or 'the layer'}"]
    handle.remove()
    assert ways(model, ran) == ["lean"]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("[M-]", "self_attention.in_proj"),
        ("[M-]", "self_attention.norm"),
        ("[G-]", "self_attention.conv1d"),
        ("[G-]", "self_attention.out_norm"),
        ("[*E]", "mlp"),
        ("[*E]", "mlp.router"),
        ("[*E]", "mlp.experts"),
        ("[*E]", "mlp.experts.local_experts.2.linear_fc1"),
    ],
)
def test_hooks_inside_of_other_mixers_are_called_as_without_lean(pattern: str, name: str) -> None:
    def calls(lean: bool) -> int:
        model, found = build(pattern), []
        run_lean(model, lean)
        run(model)
        model.decoder.layers[0].get_submodule(name).register_forward_hook(lambda *_: found.append(1))
        run(model)
        return len(found)

    assert calls(True) == calls(False)


def test_hooks_for_all_modules_are_called(ran: list[str]) -> None:
    model, calls = build("[*-]"), []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: calls.append(type(module).__name__))
    try:
        assert ways(model, ran) == ["layer"]
    finally:
        handle.remove()
    assert "DotProductAttention" in calls


def test_a_trace_sees_the_tensors_that_a_lean_step_has() -> None:
    model = build("[*-][ME]")
    found = run(model)
    with traced(model) as trace:
        assert torch.equal(run(model).losses, found.losses)
    assert [call.sublayers for call in trace.calls] == [[0, 1], [2, 3]]


def test_a_replaced_forward_is_called(ran: list[str]) -> None:
    model, calls = build("[*-]"), []
    run(model)
    module = model.decoder.layers[0].mlp.linear_fc1
    original = module.forward
    module.forward = lambda x: (calls.append(1), original(x))[1]
    assert ways(model, ran) == ["layer"]
    assert calls == [1]
    assert reasons(model) == ["the forward of mlp.linear_fc1 was replaced"]
    del module.forward
    assert ways(model, ran) == ["lean"]


def test_a_replaced_module_is_called(ran: list[str]) -> None:
    class Doubled(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> Any:
            x, bias = self.inner(x)
            return 2 * x, bias

    model, other = build("[*-]"), build("[*-]")
    run(model)
    for changed in (model, other):
        mlp = changed.decoder.layers[0].mlp
        mlp.linear_fc2 = Doubled(mlp.linear_fc2)
    run_lean(other, False)
    assert_same_run(model, other)
    assert ways(model, ran) == ["lean"]


def test_dropout_that_is_turned_on_later_is_noticed(ran: list[str]) -> None:
    model, other = build("[*-]"), build("[*-]")
    run(model)
    run_lean(other, False)
    for changed in (model, other):
        changed.decoder.layers[0].self_attention.core_attention.attention_dropout.p = 0.2
    dropped = assert_same_run(model, other)
    assert list(lean_blocks(model)[0].called) == ["self_attention"]
    for changed in (model, other):
        changed.decoder.layers[0].hidden_dropout = 0.2
    assert not torch.equal(assert_same_run(model, other).losses, dropped.losses)
    assert reasons(model) == ["dropout is on"]


def test_a_class_of_the_users_is_called_as_it_is(ran: list[str]) -> None:
    class Mine(SelfAttention):
        def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            ran.append("mine")
            return super().forward(x, *args, **kwargs)

    config = transformer_config(Pattern("[*-]"), ModelSizes())
    base = local_stack_spec(config)
    given = base.submodules.attention_layer
    slots = replace(given.submodules, self_attention=replace(given.submodules.self_attention, module=Mine))
    spec = replace(base, submodules=replace(base.submodules, attention_layer=replace(given, submodules=slots)))
    fused, unfused = (build_model(text, config, seed=SEED, spec=spec) for text in ("[*-]", "*-"))
    assert_same_run(fused, unfused)
    assert ways(fused, ran) == ["lean", "mine"]
    assert [(block.reason, block.called) for block in lean_blocks(fused)] == [
        (None, {"self_attention": "a Mine is called as it is"})
    ]


def test_a_layer_class_of_the_users_has_its_own_forward() -> None:
    class Mine(TransformerLayer):
        pass

    config = transformer_config(Pattern("[*-]"), ModelSizes())
    base = local_stack_spec(config)
    spec = replace(
        base, submodules=replace(base.submodules, attention_layer=replace(base.submodules.attention_layer, module=Mine))
    )
    assert reasons(build_model("[*-]", config, spec=spec)) == ["a Mine has a forward of its own"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"recompute_granularity": "selective", "recompute_modules": ["mlp"]}, "recompute_granularity is 'selective'"),
        ({"mlp_chunks_for_training": 2}, "mlp_chunks_for_training is 2"),
        ({"dtype": "bf16", "fp32_residual_connection": True}, "fp32_residual_connection is True"),
    ],
)
def test_settings_of_a_model_that_stand_in_the_way(fields: dict[str, Any], reason: str, ran: list[str]) -> None:
    fused, unfused = build("[*-][M-]", **fields), build("*-M-", **fields)
    assert_same_run(fused, unfused)
    assert "lean" not in ran
    assert all(why is not None and why.startswith(reason) for why in reasons(fused))


@pytest.mark.parametrize("name", sorted(conditions._SETTINGS))
def test_every_setting_is_looked_at(name: str) -> None:
    config = transformer_config(Pattern("[*-]"), ModelSizes())
    assert conditions.setting_reason(config) is None
    changed = SimpleNamespace(**{setting: getattr(config, setting) for setting in conditions._SETTINGS})
    setattr(changed, name, "something else")
    why = conditions.setting_reason(changed)
    assert why is not None
    assert why.startswith(f"{name} is 'something else': ")


def test_a_setting_that_is_changed_between_steps_is_noticed(ran: list[str]) -> None:
    model = build("[*-]")
    assert ways(model, ran) == ["lean"]
    model.decoder.config.mlp_chunks_for_training = 2
    assert ways(model, ran) == ["layer"]


def test_what_a_step_is_like() -> None:
    x, none = torch.zeros(1, 1, 1), {"attention_mask": None}
    assert conditions.step_reason(True, x, None, none) is None
    assert conditions.step_reason(False, x, None, none) == "it is not a training step"
    assert conditions.step_reason(True, x, None, {"packed_seq_params": 1}) == "packed_seq_params is given"
    assert "on the CPU" in str(conditions.step_reason(True, x.to("meta"), None, none))
    assert "different angles" in str(conditions.step_reason(True, x, (x, x), none))
    with torch.autocast("cpu"):
        assert "autocast" in str(conditions.step_reason(True, x, None, none))


def test_autocast_gives_what_it_gives_without(ran: list[str]) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused, unfused = build("[*-]"), build("*-")
        assert_same_run(fused, unfused)
    assert "lean" not in ran


def test_a_printed_model_says_what_it_runs() -> None:
    model = build("M[*-][M-]")
    assert "3 blocks, 2 fused, 2 run lean" in repr(model)
    model.decoder.layers[1].mlp.register_forward_hook(lambda *_: None)
    assert "3 blocks, 2 fused, 1 run lean" in repr(model)
    run_lean(model, False)
    assert "3 blocks, 2 fused, 0 run lean" in repr(model)
