"""All experts in one call: upstream's bits and parameters, and upstream's forward where a condition does not hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from megatron.core.transformer.moe.experts import SequentialMLP
from megatron.core.transformer.moe.moe_layer import MoELayer
from torch import Tensor

from tests.fusion.building import build
from workbench.arch.sizes import ModelSizes
from workbench.fusion import experts_at_once
from workbench.fusion.experts_at_once import ExpertsAtOnce

HIDDEN, TOKENS = 64, 24


def moe_layer(dtype: str = "fp32", **sizes: Any) -> MoELayer:
    (layer,) = (
        m for m in build("E", ModelSizes(hidden_size=HIDDEN, **sizes), dtype=dtype).modules() if isinstance(m, MoELayer)
    )
    return layer


def results(layer: MoELayer) -> list[Tensor]:
    """Output, the input's gradient and every parameter's."""
    generator = torch.Generator().manual_seed(3)
    kind = next(layer.experts.parameters()).dtype
    x = torch.randn(TOKENS, 1, HIDDEN, generator=generator).to(kind).requires_grad_()
    layer.zero_grad(set_to_none=True)
    y, _ = layer(x)
    y.backward(torch.randn(TOKENS, 1, HIDDEN, generator=generator).to(kind))
    assert x.grad is not None
    return [y.detach(), x.grad, *(p.grad for p in layer.parameters() if p.grad is not None)]


def calls(layer: MoELayer, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many products of all experts a forward makes."""
    made = []
    monkeypatch.setattr(
        experts_at_once,
        "expert_linear",
        lambda *given, run=experts_at_once.expert_linear: made.append(1) or run(*given),
    )
    layer(torch.randn(TOKENS, 1, HIDDEN))
    return len(made)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("activation", ["swiglu", "squared_relu"])
@pytest.mark.parametrize(("experts", "topk"), [(4, 1), (8, 3), (32, 2)])
def test_bits_of_upstreams_experts(experts: int, topk: int, activation: str, dtype: str) -> None:
    """32 experts for 48 copies of tokens: some have none."""
    layer = moe_layer(dtype, moe_experts=experts, moe_topk=topk, activation=activation)
    assert type(layer.experts) is ExpertsAtOnce
    assert layer.experts.why_one_by_one(TOKENS * topk) is None
    ours = results(layer)
    names = list(layer.state_dict())
    layer.experts.__class__ = SequentialMLP
    for at_once, one_by_one in zip(ours, results(layer), strict=True):
        assert torch.equal(at_once, one_by_one)
    assert list(layer.state_dict()) == names


def test_two_calls_stand_for_all_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert calls(moe_layer(moe_experts=8), monkeypatch) == 2


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({"linear_bias": True}, "the experts have biases"),
        ({"moe_ffn": 5}, "their width is no multiple of 16"),
        ({"moe_experts": 1, "moe_topk": 1}, "there is one expert"),
    ],
)
def test_settings_that_leave_it_to_upstream(
    sizes: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = moe_layer(**sizes)
    assert layer.experts.why_one_by_one().startswith(reason)
    assert calls(layer, monkeypatch) == 0


def test_a_hook_inside_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, seen = moe_layer(), []
    handle = layer.experts.local_experts[1].linear_fc2.register_forward_hook(lambda *_: seen.append(1))
    assert layer.experts.why_one_by_one() == "a hook is registered on 1.linear_fc2"
    assert calls(layer, monkeypatch) == 0
    assert seen == [1]
    handle.remove()
    assert layer.experts.why_one_by_one() is None


class Doubled(torch.nn.Module):
    """A user's wrapper around an expert or a linear of one."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *given: Any) -> Any:
        output, bias = self.inner(*given)
        return 2 * output, bias


def replace_expert(experts: Any) -> None:
    experts.local_experts[1] = Doubled(experts.local_experts[1])


def replace_linear(experts: Any) -> None:
    experts.local_experts[1].linear_fc2 = Doubled(experts.local_experts[1].linear_fc2)


def replace_forward(experts: Any) -> None:
    linear = experts.local_experts[1].linear_fc2
    linear.forward = lambda x, original=linear.forward: (2 * original(x)[0], None)


def replace_activation(experts: Any) -> None:
    experts.local_experts[1].activation_func = torch.tanh


def parametrize_weight(experts: Any) -> None:
    class Twice(torch.nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    torch.nn.utils.parametrize.register_parametrization(experts.local_experts[1].linear_fc2, "weight", Twice())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (replace_expert, "an expert was replaced"),
        (replace_linear, "a linear of an expert was replaced"),
        (replace_forward, "the forward of 1.linear_fc2 was replaced"),
        (replace_activation, "the experts have different activations"),
        (parametrize_weight, "a linear of an expert was replaced"),
    ],
)
def test_what_a_user_puts_inside_is_called(change: Any, reason: str) -> None:
    layer, other = (moe_layer(activation="squared_relu") for _ in range(2))
    before = results(layer)
    other.experts.__class__ = SequentialMLP
    for changed in (layer, other):
        change(changed.experts)
    found = results(layer)
    assert layer.experts.why_one_by_one() == reason
    assert not torch.equal(found[0], before[0])
    for ours, upstreams in zip(found, results(other), strict=True):
        assert torch.equal(ours, upstreams)


def test_experts_with_much_to_do_run_one_by_one() -> None:
    experts = moe_layer(moe_experts=4, moe_ffn=64).experts
    assert experts.why_one_by_one(4 * 48 * 1024 // 128) is None
    assert experts.why_one_by_one(4 * 48 * 1024 // 128 + 1) == "every expert has so much to do that nothing is gained"
