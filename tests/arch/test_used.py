"""The plainest form of sizes: what a pattern does not read is not there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest

from tests.contracts.architectures import plain_sizes
from workbench.arch.needs import NEEDS
from workbench.arch.sizes import ModelSizes
from workbench.arch.used import READ_BY, used_sizes
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import SYMBOLS


def test_every_field_is_of_the_model_or_of_known_kinds() -> None:
    assert READ_BY.keys() < {field.name for field in fields(ModelSizes)}
    assert set("".join(READ_BY.values())) == set(SYMBOLS)


@pytest.mark.parametrize("symbol", NEEDS)
def test_what_a_kind_needs_it_reads(symbol: str) -> None:
    assert [name for name in NEEDS[symbol] if symbol not in READ_BY[name]] == []
    kept = used_sizes(Pattern(symbol), ModelSizes())
    assert [name for name in NEEDS[symbol] if getattr(kept, name) is None] == []
    others = {name for names in NEEDS.values() for name in names if symbol not in READ_BY[name]}
    assert {getattr(kept, name) for name in others} == {None}


@pytest.mark.parametrize(
    ("pattern", "one", "other"),
    [
        ("M", {}, {"moe_experts": 8, "moe_topk": 3, "ffn_hidden_size": 7, "qk_layernorm": True}),
        ("M", {}, {"mamba_num_heads": 8}),
        ("M", {"position_embedding": "rope"}, {"position_embedding": None, "rotary_base": 7}),
        ("M-", {"vocab_size": 100, "vocab_multiple": 64}, {"vocab_size": 128}),
        ("*", {"num_query_groups": None}, {"num_query_groups": 4}),
        ("*", {"head_dim": None}, {"head_dim": 16}),
        ("*", {"linear_bias": True}, {"linear_bias": True, "qkv_bias": True}),
        ("*", {"position_embedding": "none"}, {"position_embedding": None, "rotary_base": 7}),
        ("*", {"position_embedding": "learned_absolute"}, {"position_embedding": "learned_absolute", "rotary_base": 7}),
        ("+", {}, {"num_query_groups": 4, "dsa_index_heads": 9}),
        ("E", {"moe_aux_loss_coeff": None}, {"moe_aux_loss_coeff": 0.01}),
        ("E", {"moe_shared_ffn": 32}, {"moe_shared_ffn": 32, "moe_shared_experts": 2}),
        ("*", {}, {"mtp_use_repeated_layer": True}),
    ],
)
def test_sizes_of_one_architecture(pattern: str, one: dict, other: dict) -> None:
    assert plain_sizes(Pattern(pattern), ModelSizes(**one)) == plain_sizes(Pattern(pattern), ModelSizes(**other))


@pytest.mark.parametrize(
    ("pattern", "changes"),
    [
        ("M", {"mamba_num_heads": 4}),
        ("M", {"position_embedding": "learned_absolute"}),
        ("*", {"qkv_bias": True}),
        ("*/*", {"mtp_use_repeated_layer": True}),
        ("+", {"rotary_base": 7}),
        ("M/E", {"moe_experts": 8}),
    ],
)
def test_sizes_of_two_architectures(pattern: str, changes: dict) -> None:
    assert plain_sizes(Pattern(pattern), ModelSizes()) != plain_sizes(Pattern(pattern), ModelSizes(**changes))


@pytest.mark.parametrize(("hidden", "kept"), [(48, None), (50, 12), (20, 12)])
def test_a_width_of_heads_that_sizes_cannot_do_without(hidden: int, kept: int | None) -> None:
    sizes = ModelSizes(hidden_size=hidden, num_attention_heads=4, head_dim=12, mamba_num_heads=2)
    assert used_sizes(Pattern("+"), sizes).head_dim == kept
    assert used_sizes(Pattern("M"), sizes).head_dim is None


@pytest.mark.parametrize("form", [used_sizes, plain_sizes])
def test_twice_is_once(form: Callable[[Pattern, ModelSizes], ModelSizes]) -> None:
    for symbol in SYMBOLS:
        once = form(Pattern(symbol), ModelSizes(moe_shared_ffn=32, shared_expert_gate=True))
        assert form(Pattern(symbol), once) == once
