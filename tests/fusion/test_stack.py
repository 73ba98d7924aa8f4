"""What the fused stack builds: one upstream layer a pair, canonical numbers, plans, parameter order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from megatron.core.models.hybrid.hybrid_block import HybridStack
from megatron.core.ssm.mamba_layer import MambaLayer
from megatron.core.ssm.mlp_layer import MLPLayer
from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer import transformer_layer
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.moe.moe_layer import MoELayer
from megatron.core.transformer.transformer_layer import MoETransformerLayer, TransformerLayer

from tests.fusion.building import PAIRS, assert_same, build, twins
from workbench.errors import WorkbenchError
from workbench.fusion.names import canonical_parameters
from workbench.fusion.stack import FusedMultiTokenPredictionLayer, plan_blocks, stacks


@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_is_one_upstream_layer_with_both_slots_filled(pair: str) -> None:
    stack = build(pair).decoder
    assert isinstance(stack, HybridStack)
    assert len(stack.layers) == 1
    layer = stack.layers[0]
    assert type(layer) is (MoETransformerLayer if pair[2] == "E" else TransformerLayer)
    for slot in (layer.input_layernorm, layer.self_attention, layer.pre_mlp_layernorm, layer.mlp):
        assert not isinstance(slot, IdentityOp)
        assert list(slot.parameters())
    assert isinstance(layer.cross_attention, IdentityOp)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_and_its_twin_start_from_the_same_weights_in_the_same_order(pair: str) -> None:
    fused, unfused = twins(pair)
    assert len(unfused.decoder.layers) == 2
    assert_same(canonical_parameters(fused), canonical_parameters(unfused))


def test_modules_in_the_order_of_the_pattern() -> None:
    stack = build("M[*-]M[ME]-E").decoder
    assert [type(layer) for layer in stack.layers] == [
        MambaLayer,
        TransformerLayer,
        MambaLayer,
        MoETransformerLayer,
        MLPLayer,
        MoETransformerLayer,
    ]
    assert [block.symbols for block in stack.blocks] == ["M", "*-", "M", "ME", "-", "E"]
    assert [block.sublayers for block in stack.blocks] == [(0,), (1, 2), (3,), (4, 5), (6,), (7,)]
    assert [layer.layer_number for layer in stack.layers] == [1, 2, 4, 5, 7, 8]
    assert stack.num_layers_per_pipeline_rank == 6


@pytest.mark.parametrize("mixer", ["M", "G", "*", "D", "+"])
def test_router_and_experts_answer_to_the_sub_layer_after_the_mixer(mixer: str) -> None:
    layer = build(f"M[{mixer}E]").decoder.layers[1]
    assert layer.layer_number == layer.self_attention.layer_number == 2
    assert isinstance(layer.mlp, MoELayer)
    assert layer.mlp.layer_number == layer.mlp.router.layer_number == 3


def test_an_unfused_pattern_is_built_as_upstream_builds_it() -> None:
    stack = build("M-*EG").decoder
    assert [layer.layer_number for layer in stack.layers] == [1, 2, 3, 4, 5]
    assert not any(block.fused for block in stack.blocks)


def test_stages_of_the_pattern_on_one_rank_are_one_segment() -> None:
    model = build("M[*-]|[ME]|")
    assert len(model.decoder.layers) == 3
    assert [layer.layer_number for layer in model.decoder.layers] == [1, 2, 4]


@pytest.mark.parametrize(("pattern", "symbols"), [("M*-/[*-]/[*-]", "*-"), ("ME/[ME]", "ME"), ("[*E]/*E/*E", "*E")])
def test_mtp_depths_are_fused_and_number_their_layers_from_one(pattern: str, symbols: str) -> None:
    model, twin = twins(pattern)
    fused = "[" in pattern.partition("/")[2]
    depths = pattern.count("/")
    found = [(prefix, stack) for prefix, stack in stacks(model) if prefix.startswith("mtp.")]
    assert [prefix for prefix, _ in found] == [f"mtp.layers.{depth}.mtp_model_layer." for depth in range(depths)]
    for layer in model.mtp.layers:
        assert type(layer) is FusedMultiTokenPredictionLayer
        assert layer.mtp_layer_pattern == symbols
    for _, stack in found:
        assert len(stack.layers) == (1 if fused else 2)
        assert stack.layers[0].layer_number == 1
        if fused and symbols[1] == "E":
            assert stack.layers[0].mlp.router.layer_number == 2
    assert_same(canonical_parameters(model), canonical_parameters(twin))


@pytest.mark.parametrize("pair", PAIRS)
def test_the_layers_of_earlier_pipeline_stages_are_counted_once(pair: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The canonical number has them already; upstream's layers add them unless they are told not to."""
    monkeypatch.setattr(transformer_layer, "get_transformer_layer_offset", lambda *_, **__: 100)
    layer = build(f"-{pair}").decoder.layers[1]
    assert layer.layer_number == layer.self_attention.layer_number == 2


def test_sub_layers_of_a_group_that_is_not_asked_for_stay_apart() -> None:
    assert [block.symbols for block in plan_blocks(list("M-M-"), 0, "M-[M-]")] == ["M", "-", "M-"]


def test_without_a_plan_every_pair_is_fused() -> None:
    blocks = plan_blocks(list("-M-*EM"), 10, None)
    assert [(block.symbols, block.first) for block in blocks] == [("-", 10), ("M-", 11), ("*E", 13), ("M", 15)]


def test_a_segment_gets_the_blocks_that_lie_in_it() -> None:
    assert [(block.symbols, block.first) for block in plan_blocks(list("M-"), 0, "[M-]|M[*E]")] == [("M-", 0)]
    assert [(block.symbols, block.first) for block in plan_blocks(list("M*E"), 2, "[M-]|M[*E]")] == [
        ("M", 2),
        ("*E", 3),
    ]
    assert plan_blocks([], 5, "[M-]|M[*E]|") == ()
    assert plan_blocks([], 0, "|[M-]") == ()


def test_a_pair_across_the_pipeline_split_is_an_error() -> None:
    with pytest.raises(WorkbenchError) as error:
        plan_blocks(list("M*"), 0, "M[*-]")
    assert str(error.value) == (
        "pattern 'M[*-]': a fused pair lies across the pipeline split at sub-layer 0 or 2; put a '|' between blocks where the "
        "pipeline is to be split"
    )
    with pytest.raises(WorkbenchError, match="lies across the pipeline split at sub-layer 2 or 3"):
        plan_blocks(list("-"), 2, "M[*-]")


def test_a_plan_for_other_symbols_is_an_error() -> None:
    with pytest.raises(WorkbenchError) as error:
        plan_blocks(list("M-M"), 2, "M*[*-]M")
    assert str(error.value) == (
        "the model is built from 'M-M' (sub-layers 2 to 4), and the stack spec was made for 'M*[*-]M', which has '*-M' there"
    )


def test_a_plan_that_is_longer_than_the_model_is_an_error_where_the_model_ends() -> None:
    with pytest.raises(WorkbenchError, match="lies across the pipeline split"):
        plan_blocks(list("M"), 0, "[M-]")


MOE_LAYER_EXTRAS = {
    "_should_call_local_cudagraph",
    "transition_cudagraph_scope",
    "create_mcore_cudagraph_manager",
    "_resolve_token_dispatcher_attr",
    "_restore_token_dispatcher_attrs",
    "_get_token_dispatcher_attrs",
    "_forward_mlp_router",
    "_forward_mlp_expert_compute",
    "_forward_mlp_postprocess",
    "_forward_mlp",
}


def test_what_upstream_adds_to_a_layer_for_experts_is_known() -> None:
    added = {name for name, value in vars(MoETransformerLayer).items() if callable(value) and name != "__init__"}
    assert added == MOE_LAYER_EXTRAS


@pytest.mark.parametrize("mixer", ["M", "G", "*", "D", "+"])
def test_a_fused_expert_block_keeps_what_upstream_adds_for_experts(mixer: str) -> None:
    fused, alone = build(f"[{mixer}E]").decoder.layers[0], build("ME").decoder.layers[1]
    for name in MOE_LAYER_EXTRAS:
        assert getattr(type(fused), name) is getattr(type(alone), name)
    for name in ("is_moe_layer", "use_partial_cudagraphs", "moe_layer_recompute", "_local_cudagraph_attr_names"):
        assert getattr(fused, name) == getattr(alone, name), name
    assert not build(f"[{mixer}-]").decoder.layers[0].is_moe_layer


def test_the_stages_of_a_partial_cuda_graph_add_up_to_the_experts_of_a_fused_block() -> None:
    """Router, experts and what follows, as `MoETransformerLayer` runs them apart, are its ordinary forward."""
    layer = build("[*E]").decoder.layers[0]
    hidden = torch.randn(8, 2, 64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        whole = layer._forward_mlp(hidden)
        residual, dispatched, probs, shared, *attributes = layer._forward_mlp_router(hidden)
        output, bias = layer._forward_mlp_expert_compute(dispatched, probs, attributes)
        staged = layer._forward_mlp_postprocess(residual, output, shared, bias)
    assert torch.equal(whole, staged)


@pytest.mark.parametrize("pair", PAIRS)
def test_modules_are_named_as_in_the_unfused_model(pair: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantization recipes of Transformer Engine choose modules by the names they are built with."""
    names: list[str] = []
    for linear in (ColumnParallelLinear, RowParallelLinear):

        def noting(self: Any, *args: Any, init: Any = linear.__init__, **kwargs: Any) -> None:
            names.append(str(kwargs.get("name")))
            init(self, *args, **kwargs)

        monkeypatch.setattr(linear, "__init__", noting)
    build(f"M{pair}/{pair}")
    fused = names.copy()
    names.clear()
    build(f"M{pair[1:3]}/{pair[1:3]}")
    # Upstream's stack forgets to name its latent-attention layers (hybrid_block.py:181), and names no local expert.
    named = [name for name in names if name != "None"]
    assert [name for name in fused if name in named] == named
    assert {name for name in fused if name not in named} <= {"None"} | {
        name for name in fused if pair[1] == "+" and ".self_attention." in name
    }
