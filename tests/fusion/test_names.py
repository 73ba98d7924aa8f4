"""Live names and canonical names, one for one, whatever is fused and however the model is wrapped."""

from __future__ import annotations

import pytest

from tests.fusion.building import PAIRS, build, twins
from workbench.arch.sizes import ModelSizes
from workbench.fusion.names import built_blocks, canonical_name, canonical_names, canonical_parameters, unwrapped
from workbench.fusion.trainer import make_trainer


@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_has_its_twins_canonical_names_in_the_twins_order(pair: str) -> None:
    fused, unfused = twins(f"{pair}/{pair}")
    names = canonical_names(fused)
    assert list(names) == list(fused.state_dict())
    assert len(set(names.values())) == len(names)
    assert list(names.values()) == list(canonical_names(unfused).values())


@pytest.mark.parametrize(
    ("live", "canonical"),
    [
        ("decoder.layers.0.mixer.A_log", "decoder.layers.0.mixer.A_log"),
        ("decoder.layers.1.input_layernorm.weight", "decoder.layers.1.self_attention.linear_qkv.layer_norm_weight"),
        ("decoder.layers.1.pre_mlp_layernorm.weight", "decoder.layers.2.mlp.linear_fc1.layer_norm_weight"),
        ("decoder.layers.2.self_attention.in_proj.weight", "decoder.layers.3.mixer.in_proj.weight"),
        ("decoder.layers.2.input_layernorm.weight", "decoder.layers.3.mixer.in_proj.layer_norm_weight"),
        ("decoder.layers.2.mlp.router.weight", "decoder.layers.4.mlp.router.weight"),
        ("decoder.layers.2.pre_mlp_layernorm.weight", "decoder.layers.4.pre_mlp_layernorm.weight"),
        (
            "decoder.layers.2.mlp.experts.local_experts.3.linear_fc2.weight",
            "decoder.layers.4.mlp.experts.linear_fc2.weight3",
        ),
        (
            "mtp.layers.1.mtp_model_layer.layers.0.mlp.linear_fc2.weight",
            "mtp.layers.1.mtp_model_layer.layers.1.mlp.linear_fc2.weight",
        ),
        ("mtp.layers.0.eh_proj.weight", "mtp.layers.0.eh_proj.weight"),
        ("decoder.final_norm.weight", "decoder.final_norm.weight"),
        ("embedding.word_embeddings.weight", "embedding.word_embeddings.weight"),
    ],
)
def test_a_name(live: str, canonical: str) -> None:
    model = build("M[*-][ME]/[*-]/[*-]")
    assert live in model.state_dict()
    assert canonical_name(model, live) == canonical


def test_parameters_are_the_models_own_in_its_order() -> None:
    model = build("M[*-]/[*E]")
    assert [id(p) for p in canonical_parameters(model).values()] == [id(p) for p in model.parameters()]


def test_a_tied_output_layer_is_the_embedding_once() -> None:
    tied, untied = (list(canonical_parameters(build("[M-]", ModelSizes(tied_embeddings=on)))) for on in (True, False))
    assert tied == [name for name in untied if name != "output_layer.weight"]
    assert tied.count("embedding.word_embeddings.weight") == 1


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_wrappers_are_looked_through(dtype: str) -> None:
    model = build("[M-]/[*-]", dtype=dtype)
    names = canonical_names(model)
    wrapped = make_trainer(model).model
    assert unwrapped(wrapped) is model
    assert canonical_names(wrapped) == names
    assert list(canonical_parameters(wrapped)) == list(canonical_parameters(model))


def test_every_built_block_is_listed_mtp_too() -> None:
    found = [(name, stack.blocks[index].symbols) for name, stack, index in built_blocks(build("M[*-]/[*E]/[*E]"))]
    assert found == [
        ("decoder.layers.0", "M"),
        ("decoder.layers.1", "*-"),
        ("mtp.layers.0.mtp_model_layer.layers.0", "*E"),
        ("mtp.layers.1.mtp_model_layer.layers.0", "*E"),
    ]
