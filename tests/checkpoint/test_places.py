"""Where a canonical name lives, in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.checkpoint.places import Place, describe, locate, symbol_at, words
from workbench.pattern.model import Pattern

PATTERN = Pattern("M[*-]|E/[*-]/[*-]")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("embedding.word_embeddings.weight", "embedding"),
        ("decoder.layers.0.mixer.A_log", "sub-layer 0, Mamba-2"),
        ("decoder.layers.2.mlp.linear_fc1.weight", "sub-layer 2, MLP"),
        ("decoder.layers.3.mlp.experts.experts.linear_fc1.weight", "sub-layer 3, mixture of experts"),
        ("decoder.layers.4.mixer.A_log", "sub-layer 4"),
        ("decoder.final_norm.weight", "final norm"),
        ("output_layer.weight", "output layer"),
        ("rotary_pos_emb.inv_freq", "rotary embedding"),
        ("mtp.layers.0.eh_proj.weight", "MTP depth 1, its projection and norms"),
        (
            "mtp.layers.1.mtp_model_layer.layers.0.self_attention.linear_qkv.weight",
            "MTP depth 2, sub-layer 0, self-attention",
        ),
        ("mtp.layers.1.transformer_layer.layers.1.mlp.linear_fc1.weight", "MTP depth 2, sub-layer 1, MLP"),
        ("mtp.layers.1.mtp_model_layer.layers.2.mlp.linear_fc1.weight", "MTP depth 2, sub-layer 2"),
        ("<script>", "outside the layers"),
        # More digits than Python turns into a number.
        (f"decoder.layers.{'9' * 5000}.mixer.A_log", "outside the layers"),
        ("decoder.layers.٣.mixer.A_log", "outside the layers"),
        ("", "outside the layers"),
    ],
)
def test_in_words(name, said):
    assert describe(name, PATTERN) == said


def test_a_pattern_without_mtp_has_no_kind_there():
    name = "mtp.layers.0.mtp_model_layer.layers.0.mlp.linear_fc1.weight"
    assert describe(name, Pattern("M-")) == "MTP depth 1, sub-layer 0"


def test_a_place_has_its_layer_and_the_rest():
    name = "mtp.layers.1.mtp_model_layer.layers.0.input_layernorm.weight"
    place = locate(name)
    assert place == Place("mtp.layers.1.mtp_model_layer.layers.0.", "input_layernorm.weight", 0, 1)
    assert words(place) == "MTP depth 2, sub-layer 0"
    assert symbol_at(place, PATTERN) == "*"


@given(st.text(st.sampled_from("decoder.layers.0123mtp_model_layer."), max_size=60))
def test_a_name_is_never_lost(name):
    place = locate(name)
    assert place.layer + place.rest == name
    assert (place.index is None) == (place.layer == "")


@given(st.integers(0, 10**9 - 1), st.from_regex(r"[A-Za-z_.0-9]+", fullmatch=True))
def test_any_sublayer_is_found(index, rest):
    assert locate(f"decoder.layers.{index}.{rest}") == Place(f"decoder.layers.{index}.", rest, index)
