"""Live names map to canonical ones: every name of the oracle is reached, none twice, from either layout and any fusion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoint.layer_names import PAIRS, canonical_of, fused_of, local_of
from workbench.arch.names import (
    LOCAL_RULES,
    canonical_to_local,
    fused_name,
    fused_prefixes,
    local_prefixes,
    local_to_canonical,
    sublayer_name,
)
from workbench.errors import WorkbenchError
from workbench.pattern.symbols import CHANNEL_MIXERS, SEQUENCE_MIXERS, SYMBOLS

symbols = st.sampled_from(sorted(SYMBOLS))
kinds = st.sampled_from(["weight", "bias"])


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_local_names_reach_every_canonical_name_once(symbol):
    local = local_of(symbol)
    mapped = [local_to_canonical(symbol, name) for name in local]
    assert len(mapped) == len(set(mapped)) == len(local)
    assert set(mapped) == canonical_of(symbol)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_canonical_names_are_left_alone(symbol):
    assert {local_to_canonical(symbol, name) for name in canonical_of(symbol)} == canonical_of(symbol)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_local_names_and_back(symbol):
    for name in canonical_of(symbol):
        assert local_to_canonical(symbol, canonical_to_local(symbol, name)) == name


@pytest.mark.parametrize("pair", PAIRS)
def test_names_of_a_fused_block_and_back(pair):
    for fused, (position, alone) in fused_of(pair).items():
        assert fused_name(pair, position, alone) == fused


def test_a_name_that_a_fused_block_has_no_place_for():
    with pytest.raises(WorkbenchError, match=r"'bias' has no place in sub-layer 1 of a fused block \[M-\]"):
        fused_name("M-", 1, "bias")
    assert fused_name("M", 0, "bias") == "bias"


@pytest.mark.parametrize("pair", PAIRS)
def test_a_fused_block_gives_back_both_sublayers(pair):
    fused = fused_of(pair)
    assert {name: sublayer_name(pair, name) for name in fused} == fused
    for position in (0, 1):
        assert {name for at, name in fused.values() if at == position} == local_of(pair[position])


@given(st.sampled_from(PAIRS), st.data())
def test_two_names_of_a_fused_block_are_never_one_canonical_name(pair, data):
    names = data.draw(st.lists(st.sampled_from(sorted(fused_of(pair))), min_size=2, max_size=2, unique=True))
    places = []
    for name in names:
        position, alone = sublayer_name(pair, name)
        places.append((position, local_to_canonical(pair[position], alone)))
    assert places[0] != places[1]


@given(st.integers(0, 999), st.integers(0, 999), kinds)
def test_experts_keep_apart(first, second, kind):
    names = {
        local_to_canonical("E", f"mlp.experts.local_experts.{expert}.linear_fc1.{kind}") for expert in (first, second)
    }
    assert names == {f"mlp.experts.linear_fc1.{kind}{expert}" for expert in (first, second)}


@given(symbols, st.from_regex(r"[a-z_]{1,8}(\.[a-z_]{1,8}){1,3}", fullmatch=True))
def test_only_names_that_a_rule_has_are_changed(symbol, name):
    ruled = [rule for rule in LOCAL_RULES if symbol == rule.symbol and rule.expression(rule.local).fullmatch(name)]
    assert (local_to_canonical(symbol, name) == name) is not bool(ruled)


@pytest.mark.parametrize(
    ("symbol", "local", "canonical"),
    [
        ("M", "norm.weight", "mixer.in_proj.layer_norm_weight"),
        ("M", "mixer.norm.weight", "mixer.norm.weight"),
        ("G", "input_layernorm.weight", "self_attention.in_proj.layer_norm_weight"),
        ("G", "self_attention.out_norm.weight", "self_attention.out_norm.weight"),
        ("*", "input_layernorm.bias", "self_attention.linear_qkv.layer_norm_bias"),
        ("*", "self_attention.q_layernorm.weight", "self_attention.q_layernorm.weight"),
        ("+", "self_attention.q_layernorm.weight", "self_attention.linear_q_up_proj.layer_norm_weight"),
        ("+", "self_attention.kv_layernorm.weight", "self_attention.linear_kv_up_proj.layer_norm_weight"),
        ("+", "input_layernorm.weight", "input_layernorm.weight"),
        ("D", "self_attention.q_layernorm.weight", "self_attention.q_layernorm.weight"),
        ("-", "pre_mlp_layernorm.weight", "mlp.linear_fc1.layer_norm_weight"),
        ("E", "pre_mlp_layernorm.weight", "pre_mlp_layernorm.weight"),
        ("E", "mlp.experts.local_experts.12.linear_fc2.bias", "mlp.experts.linear_fc2.bias12"),
        ("E", "mlp.shared_experts.linear_fc1.weight", "mlp.shared_experts.linear_fc1.weight"),
    ],
)
def test_each_rule(symbol, local, canonical):
    assert local_to_canonical(symbol, local) == canonical


def test_a_layer_of_no_known_kind_has_no_rules():
    for rule in LOCAL_RULES:
        local, canonical = (
            side.format(kind="weight", linear="linear_fc1", expert="0") for side in (rule.local, rule.canonical)
        )
        assert (local_to_canonical("", local), canonical_to_local("", canonical)) == (local, canonical)
    assert local_prefixes("") == {}


def test_prefixes_of_every_symbol():
    assert {symbol: local_prefixes(symbol) for symbol in SYMBOLS} == {
        "M": {"norm.": "mixer.in_proj.layer_norm_"},
        "G": {"input_layernorm.": "self_attention.in_proj.layer_norm_"},
        "*": {"input_layernorm.": "self_attention.linear_qkv.layer_norm_"},
        "D": {},
        "+": {
            "self_attention.q_layernorm.": "self_attention.linear_q_up_proj.layer_norm_",
            "self_attention.kv_layernorm.": "self_attention.linear_kv_up_proj.layer_norm_",
        },
        "-": {"pre_mlp_layernorm.": "mlp.linear_fc1.layer_norm_"},
        "E": {},
    }


@pytest.mark.parametrize("pair", PAIRS)
def test_no_prefix_of_a_fused_block_begins_another(pair):
    prefixes = list(fused_prefixes(pair))
    assert not [(a, b) for a in prefixes for b in prefixes if a != b and a.startswith(b)]


def test_a_stand_alone_block_keeps_its_names():
    assert sublayer_name("M", "mixer.A_log") == (0, "mixer.A_log")


def test_a_name_that_a_fused_block_cannot_hold():
    with pytest.raises(WorkbenchError) as caught:
        sublayer_name("M-", "cross_attention.weight")
    assert str(caught.value) == (
        "'cross_attention.weight' has no place in a fused block [M-]: expected one of input_layernorm., self_attention., "
        "pre_mlp_layernorm., mlp."
    )


def test_pairs_are_all_there():
    assert len(PAIRS) == len(SEQUENCE_MIXERS) * len(CHANNEL_MIXERS) == 10
