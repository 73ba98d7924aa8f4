"""`Architecture`: its parts, their places, and what it refuses. What real models hold is in tests/contracts."""

from __future__ import annotations

import pytest

from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes, SizesError
from workbench.arch.weights import Weight
from workbench.errors import WorkbenchError


def test_the_parts_in_order():
    found = Architecture("M[*-]|[ME]/[*-]/[*-]")
    assert [part.name for part in found.parts] == [
        "embedding",
        "sub-layer 0 (Mamba-2)",
        "sub-layer 1 (self-attention)",
        "sub-layer 2 (MLP)",
        "sub-layer 3 (Mamba-2)",
        "sub-layer 4 (mixture of experts)",
        "final norm",
        "output layer",
        "MTP depth 1, MTP projection",
        "MTP depth 1, sub-layer 0 (self-attention)",
        "MTP depth 1, sub-layer 1 (MLP)",
        "MTP depth 2, MTP projection",
        "MTP depth 2, sub-layer 0 (self-attention)",
        "MTP depth 2, sub-layer 1 (MLP)",
    ]
    assert [part.stage for part in found.parts] == [0] * 4 + [1] * 10
    assert [[part.kind for part in block] for block in found.blocks] == [
        ["mamba"],
        ["attention", "mlp"],
        ["mamba", "moe"],
    ]
    assert [len(stage) for stage in found.stages] == [4, 10]
    assert [part.position for part in found.sublayers] == [0, 0, 1, 0, 1]


def test_fusion_changes_live_names_and_nothing_else():
    fused, plain = Architecture("M[*-]"), Architecture("M*-")
    assert fused.canonical() == plain.canonical()
    assert fused.parameters == plain.parameters
    live = [tensor.name for tensor in fused.built("local") if ".layers.1." in tensor.name]
    assert live == [
        "decoder.layers.1.self_attention.linear_proj.weight",
        "decoder.layers.1.self_attention.linear_qkv.weight",
        "decoder.layers.1.input_layernorm.weight",
        "decoder.layers.1.mlp.linear_fc1.weight",
        "decoder.layers.1.pre_mlp_layernorm.weight",
        "decoder.layers.1.mlp.linear_fc2.weight",
    ]
    assert "decoder.layers.2.mlp.linear_fc1.layer_norm_weight" in {tensor.name for tensor in plain.built("te")}
    assert "decoder.layers.1.mlp.linear_fc1.layer_norm_weight" in {tensor.name for tensor in fused.built("te")}


def test_live_and_canonical_go_together():
    pairs = list(Architecture("[M-][ME]").built_and_canonical("local"))
    assert (
        "decoder.layers.1.mlp.experts.local_experts.3.linear_fc1.weight",
        "decoder.layers.3.mlp.experts.linear_fc1.weight3",
    ) in [(live.name, canonical.name) for live, canonical in pairs]
    assert all((live.shape, live.dtype) == (canonical.shape, canonical.dtype) for live, canonical in pairs)


def test_a_repeated_mtp_layer_is_there_once():
    repeated = ModelSizes(mtp_use_repeated_layer=True)
    assert Architecture("M/*/*", repeated).parameters == Architecture("M/*", repeated).parameters
    assert Architecture("M/*/*").parameters > Architecture("M/*").parameters
    assert Architecture("M", repeated).built_depths == 0


def test_tied_embeddings_are_counted_once():
    tied, untied = (Architecture("M", ModelSizes(tied_embeddings=value)).parameters for value in (True, False))
    assert untied - tied == 128 * 64


def test_copies_of_an_experts_weight():
    row = Weight("mlp.experts.linear_fc1.weight{expert}", (8, 4), copies=3)
    assert row.elements == 96
    assert [weight.elements for weight in row.each()] == [32, 32, 32]
    assert (row.expert, row.each()[0].expert) == (True, False)


def test_data_model():
    one = Architecture("M[*-]", ModelSizes())
    assert one == Architecture("M[*-]")
    assert hash(one) == hash(Architecture("M[*-]"))
    assert one != Architecture("M*-")
    assert one != Architecture("M[*-]", dtype="fp32")
    assert one != "M[*-]"
    assert repr(one) == "Architecture('M[*-]', hidden_size=64, dtype='bf16')"


def test_an_empty_pattern_has_an_embedding_and_an_output_layer():
    assert [part.kind for part in Architecture("").parts] == ["embedding", "final norm", "output layer"]


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: Architecture("M", dtype="fp8"), WorkbenchError, "dtype must be one of bf16, fp32, not 'fp8'"),
        (lambda: Architecture("M").built("jax"), WorkbenchError, "backend must be one of te, local, not 'jax'"),
        (
            lambda: Architecture("-", ModelSizes(ffn_hidden_size=None)),
            SizesError,
            "'-' (MLP) needs ffn_hidden_size, which the sizes leave out",
        ),
        (
            lambda: Architecture("-", ModelSizes(vocab_size=None)),
            SizesError,
            "a model needs a vocab_size, which the sizes leave out",
        ),
        (
            lambda: Architecture("M/E", ModelSizes(moe_ffn=None, moe_topk=None)),
            SizesError,
            "'E' (mixture of experts) needs moe_topk, moe_ffn, which the sizes leave out",
        ),
    ],
)
def test_what_is_refused(call, kind, said):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == said
