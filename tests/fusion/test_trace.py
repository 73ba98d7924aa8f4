"""A trace records the calls and tensors of a forward, the same for twins, and leaves nothing behind."""

from __future__ import annotations

import pytest
import torch

from tests.fusion.building import PAIRS, assert_same, build, tokens, twins
from workbench.fusion.model import forward_tokens
from workbench.fusion.trace import Trace, slots, traced
from workbench.fusion.trainer import make_trainer


def trace_of(model: torch.nn.Module, **options: bool) -> Trace:
    with torch.no_grad(), traced(model, **options) as trace:
        forward_tokens(model, tokens())
    return trace


def test_each_block_is_called_once_with_its_sub_layers_inside() -> None:
    calls = trace_of(build("M[*-][ME]/[*-]")).calls
    assert [(call.block, call.module, call.symbols, call.sublayers) for call in calls] == [
        ("decoder.layers.0", "MambaLayer", "M", [0]),
        ("decoder.layers.1", "TransformerLayer", "*-", [1, 2]),
        ("decoder.layers.2", "MoETransformerLayer", "ME", [3, 4]),
        ("mtp.layers.0.mtp_model_layer.layers.0", "TransformerLayer", "*-", [0, 1]),
    ]


@pytest.mark.parametrize("pair", PAIRS)
def test_twins_compute_the_same_tensors_on_the_way(pair: str) -> None:
    fused, unfused = (trace_of(model).tensors for model in twins(f"M{pair}"))
    assert_same(fused, unfused)
    assert list(fused) == [
        f"decoder.layers.{index}.{what}" for index in range(3) for what in ("input", "normed", "output")
    ]
    assert {tensor.shape for tensor in fused.values()} == {(16, 2, 64)}


def test_tensors_are_copies() -> None:
    trace = trace_of(build("[*-]"))
    assert len({tensor.data_ptr() for tensor in trace.tensors.values()}) == len(trace.tensors)


def test_calls_alone_can_be_recorded() -> None:
    trace = trace_of(build("[*-]"), tensors=False)
    assert (len(trace.calls), trace.tensors) == (1, {})


def hooks(model: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_no_hook_stays_also_after_a_failure() -> None:
    model = build("M[*-]")
    before = hooks(model)

    def fail() -> None:
        with traced(model):
            assert hooks(model) > before
            raise KeyError("on purpose")

    with pytest.raises(KeyError):
        fail()
    assert hooks(model) == before


def test_wrappers_are_looked_through() -> None:
    model = make_trainer(build("[*-]")).model
    assert len(trace_of(model).calls) == 1


def test_the_slots_of_a_block_are_its_norms_and_mixers() -> None:
    stack = build("M[M-]").decoder
    alone, fused = stack.layers
    assert list(slots(stack, 0)) == [(0, alone.norm, alone.mixer)]
    assert list(slots(stack, 1)) == [
        (1, fused.input_layernorm, fused.self_attention),
        (2, fused.pre_mlp_layernorm, fused.mlp),
    ]
