"""Why a checkpoint does not fit, sentence by sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoint.layer_names import canonical_of_case, fused_of
from workbench.checkpoint.mismatch import CheckpointMismatch, check_names
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

OUTSIDE = {"embedding.word_embeddings.weight": (128, 64), "decoder.final_norm.weight": (64,)}
QK = "*+qknorm"


def names(*cases: str, prefix: str = "decoder.layers.") -> dict[str, tuple[int, ...]]:
    """The canonical names of a model whose sub-layers are these oracle cases; every shape is (8, 8)."""
    layers = {f"{prefix}{index}.{name}": (8, 8) for index, case in enumerate(cases) for name in canonical_of_case(case)}
    return OUTSIDE | layers


def problems(wanted, found, pattern: str) -> list[str]:
    with pytest.raises(CheckpointMismatch) as caught:
        check_names(wanted, found, Pattern(pattern))
    head, *lines = str(caught.value).split("\n  ")
    assert head == "the checkpoint does not fit the model:"
    return lines


def test_equal_names_fit():
    check_names(names("M", "-"), names("M", "-"), Pattern("[M-]"))


def test_the_order_of_names_does_not_matter():
    found = dict(reversed(names("M", "-").items()))
    check_names(names("M", "-"), found, Pattern("M-"))


def test_a_shape_may_be_any_sequence():
    check_names({"a.b": (1, 2)}, {"a.b": [1, 2]}, Pattern("M"))  # type: ignore[dict-item]


def test_another_kind():
    assert problems(names("M", "-"), names("*", "-"), "[M-]") == [
        "sub-layer 0 is Mamba-2, and the checkpoint holds self-attention there"
    ]


@pytest.mark.parametrize(
    ("model", "checkpoint", "names_there"),
    [
        ("-", "E", "sub-layer 1 is MLP, and the checkpoint holds mixture of experts there"),
        ("E", "-", "sub-layer 1 is mixture of experts, and the checkpoint holds MLP there"),
        ("+", "D", "sub-layer 1 is multi-latent attention, and the checkpoint holds DeepSeek sparse attention there"),
        ("D", "+", "sub-layer 1 is DeepSeek sparse attention, and the checkpoint holds multi-latent attention there"),
        ("G", "M", "sub-layer 1 is gated delta net, and the checkpoint holds Mamba-2 there"),
    ],
)
def test_kinds_that_share_names(model, checkpoint, names_there):
    assert problems(names("M", model), names("M", checkpoint), f"M{model}") == [names_there]


def test_an_order_turned_round_is_said_twice_and_in_order():
    assert problems(names("M", "-"), names("-", "M"), "M-") == [
        "sub-layer 0 is Mamba-2, and the checkpoint holds MLP there",
        "sub-layer 1 is MLP, and the checkpoint holds Mamba-2 there",
    ]


def test_a_missing_sublayer():
    assert problems(names("M", "-", "M"), names("M", "-"), "[M-]M") == [
        "sub-layer 2 is Mamba-2, and the checkpoint has nothing there"
    ]


def test_an_extra_sublayer():
    assert problems(names("M", "-"), names("M", "-", "E"), "[M-]") == [
        "sub-layer 2 is not in [M-], and the checkpoint holds mixture of experts there"
    ]


def test_an_extra_sublayer_of_no_known_kind():
    found = names("M") | {"decoder.layers.1.thing.weight": (1,)}
    assert problems(names("M"), found, "M") == [
        "sub-layer 1 is not in M, and the checkpoint holds something unknown there"
    ]


def test_something_unknown_in_a_sublayer():
    found = OUTSIDE | {"decoder.layers.0.thing.weight": (1,)}
    assert problems(names("M"), found, "M") == [
        "sub-layer 0 is Mamba-2, and the checkpoint holds something unknown: thing.weight there"
    ]


@pytest.mark.parametrize("pair", ["M-", "*E", "GE", "+-"])
def test_a_file_with_the_names_of_a_fused_model(pair):
    found = OUTSIDE | {f"decoder.layers.0.{name}": (8, 8) for name in fused_of(pair)}
    lines = problems(names(*pair), found, f"[{pair}]")
    kinds = {"M-": ("Mamba-2", "MLP"), "*E": ("self-attention", "mixture of experts")}
    kinds |= {"GE": ("gated delta net", "mixture of experts"), "+-": ("multi-latent attention", "MLP")}
    mixer, channel = kinds[pair]
    assert lines == [
        f"sub-layer 0 is {mixer}, and the checkpoint holds {mixer} and {channel} under one layer: it was written with the "
        "names of a fused model, not with canonical ones",
        f"sub-layer 1 is {channel}, and the checkpoint has nothing there",
    ]


def test_a_missing_q_layernorm():
    found = {name: shape for name, shape in names(QK).items() if "q_layernorm" not in name}
    assert problems(names(QK), found, "*") == [
        "sub-layer 0, self-attention: the checkpoint lacks self_attention.q_layernorm.weight"
    ]


def test_qk_norms_that_the_model_does_not_have():
    assert problems(names("*"), names(QK), "*") == [
        "sub-layer 0, self-attention: the checkpoint also holds self_attention.k_layernorm.weight, "
        "self_attention.q_layernorm.weight"
    ]


def test_both_sides_of_one_sublayer():
    found = names("*") | {"decoder.layers.0.self_attention.linear_qkv.bias": (8,)}
    del found["decoder.layers.0.self_attention.linear_proj.weight"]
    assert problems(names("*"), found, "*") == [
        "sub-layer 0, self-attention: the checkpoint lacks self_attention.linear_proj.weight",
        "sub-layer 0, self-attention: the checkpoint also holds self_attention.linear_qkv.bias",
    ]


def test_more_than_six_names_are_counted():
    found = names("M") | {f"decoder.layers.0.mixer.x{number}": (1,) for number in range(8)}
    assert problems(names("M"), found, "M") == [
        "sub-layer 0, Mamba-2: the checkpoint also holds mixer.x0, mixer.x1, mixer.x2, mixer.x3, mixer.x4, mixer.x5 and 2 more"
    ]


def test_names_outside_the_layers():
    found = names("M") | {"output_layer.weight": (128, 64)}
    del found["decoder.final_norm.weight"]
    assert problems(names("M"), found, "M") == [
        "the checkpoint lacks decoder.final_norm.weight",
        "the checkpoint also holds output_layer.weight",
    ]


def test_shapes():
    found = names("M") | {"embedding.word_embeddings.weight": (256, 64)}
    found |= {"decoder.layers.0.mixer.D": (4, 8)}
    assert problems(names("M"), found, "M") == [
        "sub-layer 0, Mamba-2: decoder.layers.0.mixer.D is [8, 8] in the model and [4, 8] in the checkpoint",
        "embedding: embedding.word_embeddings.weight is [128, 64] in the model and [256, 64] in the checkpoint",
    ]


def test_more_than_six_shapes_are_counted():
    found = dict.fromkeys(names("M"), (1,))
    lines = problems(names("M"), found, "M")
    assert len(lines) == 7
    assert lines[-1] == f"and {len(found) - 6} more tensors of another shape"


def test_mtp():
    mtp = [names("*", "-", prefix=f"mtp.layers.{depth}.mtp_model_layer.layers.") for depth in (0, 1)]
    wanted = names("M") | mtp[0] | mtp[1]
    other = names("*", "E", prefix="mtp.layers.1.mtp_model_layer.layers.")
    assert problems(wanted, names("M") | mtp[0] | other, "M/[*-]/[*-]") == [
        "MTP depth 2, sub-layer 1 is MLP, and the checkpoint holds mixture of experts there"
    ]
    assert problems(wanted, names("M") | mtp[0], "M/*-/*-") == [
        "MTP depth 2, sub-layer 0 is self-attention, and the checkpoint has nothing there",
        "MTP depth 2, sub-layer 1 is MLP, and the checkpoint has nothing there",
    ]
    assert problems(names("M"), names("M") | mtp[0], "M") == [
        "MTP depth 1, sub-layer 0 is not in M, and the checkpoint holds self-attention there",
        "MTP depth 1, sub-layer 1 is not in M, and the checkpoint holds MLP there",
    ]


def test_what_is_the_same_of_many_sublayers_is_said_once():
    assert problems(names(*"M" * 12), names(), "M" * 12) == [
        "sub-layers 0–11 are Mamba-2, and the checkpoint has nothing there"
    ]
    found = {name: shape for name, shape in names(*(QK, "-") * 3).items() if "q_layernorm" not in name}
    assert problems(names(*(QK, "-") * 3), found, "*-*-*-") == [
        "sub-layers 0, 2, 4, self-attention: the checkpoint lacks self_attention.q_layernorm.weight"
    ]


def test_sublayers_come_in_their_order_not_in_that_of_text():
    found = names(*"MM-" * 4)
    for name in ("11.mlp.linear_fc1.weight", "3.mixer.A_log", "0.mixer.D"):
        del found[f"decoder.layers.{name}"]
    assert [line.split(",")[0] for line in problems(names(*"MM-" * 4), found, "MM-" * 4)] == [
        "sub-layer 0",
        "sub-layer 3",
        "sub-layer 11",
    ]


def test_the_error_carries_the_names():
    found = names("M") | {"output_layer.weight": (1,), "decoder.layers.0.mixer.D": (4,)}
    del found["decoder.final_norm.weight"]
    with pytest.raises(WorkbenchError) as caught:
        check_names(names("M"), found, Pattern("M"))
    assert isinstance(caught.value, CheckpointMismatch)
    assert caught.value.missing == ("decoder.final_norm.weight",)
    assert caught.value.unexpected == ("output_layer.weight",)
    assert caught.value.shapes == (("decoder.layers.0.mixer.D", (8, 8), (4,)),)


def test_not_strict_allows_names_and_never_shapes():
    found = names("M") | {"output_layer.weight": (1,)}
    del found["decoder.final_norm.weight"]
    check_names(names("M"), found, Pattern("M"), strict=False)
    with pytest.raises(CheckpointMismatch):
        check_names(names("M"), found | {"decoder.layers.0.mixer.D": (4,)}, Pattern("M"), strict=False)


@given(st.dictionaries(st.text(max_size=40), st.tuples(st.integers(0, 9)), max_size=8))
def test_any_name_is_accounted_for(found):
    with pytest.raises(CheckpointMismatch) as caught:
        check_names(names("M"), found, Pattern("M"))
    assert set(caught.value.unexpected) == set(found) - set(names("M"))
    assert len(str(caught.value).splitlines()) > 1
