"""A layer's kind is read off its names, in every layout and with every option of the oracle."""

from __future__ import annotations

import pytest

from tests.checkpoint.layer_names import CASES, ORACLE, PAIRS, canonical_of_case, fused_of, local_of
from workbench.checkpoint.kinds import symbols_held
from workbench.pattern.symbols import SYMBOLS

SINGLE = [case for case in CASES if len(ORACLE["tp1"][case]["pattern"]) == 1]


@pytest.mark.parametrize("case", SINGLE)
def test_canonical_names(case):
    assert symbols_held(canonical_of_case(case)) == ORACLE["tp1"][case]["pattern"]


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_local_names(symbol):
    assert symbols_held(local_of(symbol)) == symbol


@pytest.mark.parametrize("pair", PAIRS)
def test_a_fused_block_holds_two(pair):
    assert symbols_held(fused_of(pair)) == pair


@pytest.mark.parametrize(
    ("names", "held"),
    [
        ([], ""),
        (["input_layernorm.weight"], ""),
        (["self_attention.linear_proj.weight"], ""),
        (["mlp.shared_experts.linear_fc1.weight"], ""),
        (["mixer"], ""),
        (["mlp.experts.experts.linear_fc1.weight"], "E"),
        (["self_attention.A_log"], "M"),
        (["self_attention.A_log", "self_attention.out_norm.weight"], "G"),
        (["self_attention.A_log", "self_attention.conv1d.weight"], "G"),
        (["self_attention.A_log", "self_attention.conv1d_weight"], "M"),
        (iter(["mixer.D"]), "M"),
    ],
)
def test_few_names(names, held):
    assert symbols_held(names) == held
