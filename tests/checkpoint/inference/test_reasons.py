"""One sentence a cause: a sub-layer more, a size that is another, a tensor that is damaged; not a hundred names."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from tests.contracts.architectures import random_cases
from workbench.arch.architecture import Architecture
from workbench.arch.presets import preset
from workbench.arch.sizes import ModelSizes
from workbench.arch.stored import stored
from workbench.checkpoint.inference.alignment import align
from workbench.checkpoint.inference.reasons import reasons
from workbench.checkpoint.inference.whole_shapes import whole_shapes
from workbench.pattern.model import Pattern


def shapes(pattern: str, **fields):
    return {tensor.name: tensor.shape for tensor in Architecture(pattern, ModelSizes(**fields)).canonical()}


def said(model, checkpoint, pattern: str = "M-M*-E"):
    return reasons(model, checkpoint, Pattern(pattern))


def test_one_sublayer_less_is_one_sentence():
    assert said(shapes("M-M*-E"), shapes("M-*-E")) == [
        "the model has a sub-layer that the checkpoint has not: its sub-layer 2, Mamba-2"
    ]


def test_one_sublayer_more_is_one_sentence():
    assert said(shapes("M-*-E"), shapes("M-M*-E"), "M-*-E") == [
        "the checkpoint has a sub-layer that the model has not, before the model's sub-layer 2: its sub-layer 2, Mamba-2"
    ]


def test_several_changes_are_a_sentence_each():
    assert said(shapes("M-M*-E"), shapes("--M*-E-")) == [
        "sub-layer 0 is Mamba-2, and the checkpoint holds MLP there",
        "sub-layer 6 is not in M-M*-E, and the checkpoint holds MLP there",
    ]
    assert said(shapes("M-M*-E"), shapes("--MM*-")) == [
        "the checkpoint has 2 sub-layers that the model has not, before the model's sub-layer 0: its sub-layers 0–1 (--)",
        "the model has a sub-layer that the checkpoint has not: its sub-layer 1, MLP",
        "the model has a sub-layer that the checkpoint has not: its sub-layer 5, mixture of experts",
    ]


def test_mtp_is_aligned_by_itself():
    assert said(shapes("M-/M*-"), shapes("M-/*-"), "M-/M*-") == [
        "MTP depth 1, the model has a sub-layer that the checkpoint has not: its sub-layer 0, Mamba-2"
    ]
    assert said(shapes("M-/*-"), shapes("M-"), "M-/*-") == [
        "MTP depth 1, sub-layer 0 is self-attention, and the checkpoint has nothing there",
        "MTP depth 1, sub-layer 1 is MLP, and the checkpoint has nothing there",
    ]
    assert said(shapes("M-"), shapes("M-/*-"), "M-")[0] == (
        "MTP depth 1, sub-layer 0 is not in M-, and the checkpoint holds self-attention there"
    )


def test_a_size_is_one_sentence():
    assert said(shapes("M-M*-E", ffn_hidden_size=96), shapes("M-M*-E")) == [
        "ffn_hidden_size is 96 in the model and 128 in the checkpoint"
    ]


def test_every_size_is_one_sentence():
    ours = shapes("M-M*-E", hidden_size=128, mamba_head_dim=16, head_dim=16, moe_experts=8)
    lines = said(ours, shapes("M-M*-E"))
    assert lines == [
        "hidden_size is 128 in the model and 64 in the checkpoint",
        "mamba_num_heads is 16 in the model and 8 in the checkpoint",
        "moe_experts is 8 in the model and 4 in the checkpoint",
    ]


def test_a_product_that_differs():
    assert said(shapes("*-", num_attention_heads=8, head_dim=16), shapes("*-"), "*-") == [
        "num_attention_heads × head_dim is 128 in the model and 64 in the checkpoint"
    ]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"qk_layernorm": True}, "qk_layernorm is true in the model and false in the checkpoint"),
        ({"tied_embeddings": True}, "tied_embeddings is true in the model and false in the checkpoint"),
        ({"activation": "gelu"}, "a gated activation is false in the model and true in the checkpoint"),
        ({"normalization": "LayerNorm"}, "normalization is LayerNorm in the model and RMSNorm in the checkpoint"),
        ({"vocab_size": 256}, "the padded vocabulary is 256 in the model and 128 in the checkpoint"),
    ],
)
def test_choices_are_sizes_too(fields, sentence):
    assert said(shapes("*-*-", **fields), shapes("*-*-"), "*-*-") == [sentence]


def test_kinds_and_sizes_together():
    assert said(shapes("M-M*-E", ffn_hidden_size=96), shapes("M-*-E")) == [
        "the model has a sub-layer that the checkpoint has not: its sub-layer 2, Mamba-2",
        "ffn_hidden_size is 96 in the model and 128 in the checkpoint",
    ]


def test_what_no_size_explains_is_said_besides():
    found = shapes("M-M*-E")
    found["decoder.layers.2.mixer.D"] = (3,)
    del found["decoder.layers.1.mlp.linear_fc1.weight"]
    lines = said(shapes("M-M*-E", ffn_hidden_size=96), found)
    assert any("sub-layer 1, MLP: the checkpoint lacks mlp.linear_fc1.weight" in line for line in lines)
    assert any("decoder.layers.2.mixer.D is [8]" in line and "[3] in the checkpoint" in line for line in lines)


def test_a_preset_against_another_is_a_few_sentences():
    ours, theirs = (preset(name).architecture() for name in ("nemotron-h-8b", "nemotron-nano-9b-v2"))
    lines = reasons(*({t.name: t.shape for t in each.canonical()} for each in (ours, theirs)), ours.pattern)
    assert len(lines) < 16
    assert "hidden_size is 4096 in the model and 4480 in the checkpoint" in lines


@given(random_cases())
@settings(max_examples=60, deadline=None)
def test_stored_shapes_become_whole(case):
    pattern, fields = case
    if "E" not in pattern or not fields["moe_shared_ffn"]:
        fields = {**fields, "shared_expert_gate": False}
    architecture = Architecture(pattern, replace(ModelSizes(**fields), mla_down_proj_fusion=False))
    whole = whole_shapes({tensor.name: tensor.shape for tensor in stored(architecture)})
    assert whole == {tensor.name: tensor.shape for tensor in architecture.canonical()}


@given(random_cases(), random_cases())
@settings(max_examples=60, deadline=None)
def test_two_models_differ_exactly_where_there_is_a_reason(first, second):
    sides = []
    for pattern, fields in (first, second):
        if "E" not in pattern or not fields["moe_shared_ffn"]:
            fields = {**fields, "shared_expert_gate": False}
        sides.append(Architecture(pattern, ModelSizes(**fields)))
    ours, theirs = ({tensor.name: tensor.shape for tensor in side.canonical()} for side in sides)
    lines = reasons(ours, theirs, sides[0].pattern)
    assert bool(lines) == (ours != theirs)
    assert all(line and "\n" not in line for line in lines)


def test_alignment_of_a_long_pattern():
    long = "M-M*" * 500
    found = align(long, long[:777] + "E" + long[777:])
    assert len(found.changes) == 1
    assert len(found.pairs) == len(long)
