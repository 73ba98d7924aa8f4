"""Counting parameters: totals of published models, and that every break-down sums to the total."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.contracts.architectures import random_cases
from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.cost.parameters import parameters

LLAMA = {
    "hidden_size": 4096, "num_attention_heads": 32, "num_query_groups": 8, "head_dim": 128, "ffn_hidden_size": 14336,
    "vocab_size": 128256,
}  # fmt: skip


def test_llama_3_8b():
    found = parameters(Architecture("*-" * 32, ModelSizes(**LLAMA)))
    assert found.total == found.main == found.active == 8_030_261_248
    assert found.embedding == found.output_layer == 128256 * 4096
    assert found.active_without_embedding == 8_030_261_248 - 128256 * 4096
    assert found.by_kind == {
        "embedding": 525_336_576,
        "attention": 32 * (4096 * 4096 * 2 + 2 * 1024 * 4096 + 4096),
        "mlp": 32 * (3 * 4096 * 14336 + 4096),
        "final norm": 4096,
        "output layer": 525_336_576,
    }


def test_mixtral_8x7b():
    sizes = ModelSizes(**{**LLAMA, "vocab_size": 32000}, moe_experts=8, moe_topk=2, moe_ffn=14336)
    found = parameters(Architecture("*E" * 32, sizes))
    assert (found.total, found.active) == (46_702_792_704, 12_879_925_248)


def test_tied_embeddings_do_the_output_layers_work():
    tied = parameters(Architecture("M", ModelSizes(tied_embeddings=True)))
    untied = parameters(Architecture("M", ModelSizes()))
    assert tied.output_layer == 0
    assert tied.active_without_embedding == untied.active_without_embedding == tied.active


def test_learned_positions_are_no_output_layer():
    sizes = ModelSizes(tied_embeddings=True, position_embedding="learned_absolute")
    found = parameters(Architecture("*", sizes))
    assert found.embedding == (128 + 64) * 64
    assert found.active - found.active_without_embedding == 64 * 64


def test_one_expert_of_four():
    found = parameters(Architecture("E", ModelSizes(moe_topk=1)))
    one = 64 * 128 + 64 * 64
    assert found.routed_experts == 4 * one
    assert found.total - found.active == 3 * one


def test_mtp_is_in_the_total_and_not_active():
    without, found = parameters(Architecture("ME")), parameters(Architecture("ME/*E/*E"))
    assert found.total - found.mtp == found.main == without.total
    assert found.active == without.active
    assert found.by_kind["mtp"] == found.mtp > 0


def test_stages_have_what_they_build():
    found = parameters(Architecture("M|*-/*-"))
    mamba = parameters(Architecture("M"))
    assert found.by_stage[0] == mamba.by_kind["mamba"] + found.embedding
    assert found.by_stage[1] == found.total - found.by_stage[0]


@given(random_cases())
@settings(max_examples=100, deadline=None)
def test_every_break_down_sums_to_the_total(case):
    pattern, fields = case
    architecture = Architecture(pattern, ModelSizes(**fields))
    found = parameters(architecture)
    assert sum(found.by_kind.values()) == sum(found.by_stage) == found.total == architecture.parameters
    assert found.total == sum(tensor_elements(tensor.shape) for tensor in architecture.canonical() if tensor.trained)
    assert sum(found.by_block) == sum(part.parameters for part in architecture.sublayers)
    assert found.active_without_embedding <= found.active <= found.main <= found.total


def tensor_elements(shape):
    elements = 1
    for size in shape:
        elements *= size
    return elements


@pytest.mark.parametrize("fused", ["[M-][*E]", "M-[*E]"])
def test_fusion_costs_nothing(fused):
    assert parameters(Architecture(fused)).total == parameters(Architecture("M-*E")).total
    assert sum(parameters(Architecture(fused)).by_block) == sum(parameters(Architecture("M-*E")).by_block)


def test_json():
    found = parameters(Architecture("M")).to_json()
    assert list(found) == [
        "total", "main", "active", "active_without_embedding", "embedding", "output_layer", "mtp", "routed_experts",
        "by_kind", "by_stage", "by_block",
    ]  # fmt: skip
