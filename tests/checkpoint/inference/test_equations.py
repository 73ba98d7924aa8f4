"""What shapes prove of several sizes at once: what follows from one of them, and what contradicts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.arch.architecture import Architecture
from workbench.arch.presets import preset
from workbench.arch.sizes import ModelSizes
from workbench.checkpoint.inference.equations import AtMost, Either, NotOneOf, OneOf, Padded, Product
from workbench.checkpoint.inference.infer import infer


@given(st.integers(1, 99), st.integers(1, 99))
def test_a_product_gives_the_other_factor(left, right):
    product = Product(("a", "b"), left * right)
    assert product.solved({"a": left}) == {"b": right}
    assert product.solved({}) == product.solved({"a": left, "b": right}) == {}
    assert not product.broken({"a": left, "b": right})
    assert product.broken({"a": left, "b": right + 1})
    assert product.broken({"a": left * right + 1})


def test_a_case_is_decided_by_what_is_left():
    either = Either(
        "gate", ((False, Product(("groups", "width"), 64)), (True, Product(("groups", "width"), 32))), "text"
    )
    assert either.names == ("gate", "groups", "width")
    assert either.solved({}) == {}
    assert either.solved({"gate": True, "width": 8}) == {"groups": 4}
    assert either.solved({"width": 64}) == {"gate": False, "groups": 1}
    assert either.broken({"width": 5})
    assert either.broken({"gate": True, "width": 64})


def test_the_others():
    assert OneOf("a", ("x",), "").broken({"a": "y"})
    assert not OneOf("a", ("x",), "").broken({})
    assert NotOneOf("a", ("x",), "").broken({"a": "x"})
    assert not NotOneOf("a", ("x",), "").broken({})
    assert AtMost("a", 3).broken({"a": 4})
    assert not AtMost("a", 3).broken({"a": 3})
    assert AtMost("a", 3).text == "a ≤ 3"


@given(st.integers(1, 500), st.integers(1, 64))
def test_padding(size, multiple):
    rows = -(-size // multiple) * multiple
    padded = Padded(rows)
    assert not padded.broken({"vocab_size": size, "vocab_multiple": multiple})
    assert padded.broken({"vocab_size": rows + 1})
    assert padded.broken({"vocab_size": size, "vocab_multiple": rows + 1})


# -------------------------------------------------------- what is unknown could really be something else


def shapes(pattern: str, **fields):
    return {tensor.name: tensor.shape for tensor in Architecture(pattern, ModelSizes(**fields)).canonical()}


@pytest.mark.parametrize(
    ("pattern", "one", "other"),
    [
        ("*", {"num_attention_heads": 4, "head_dim": 16}, {"num_attention_heads": 8, "num_query_groups": 4, "head_dim": 8}),
        ("*", {"num_attention_heads": 4, "num_query_groups": 4}, {"num_query_groups": 2, "attention_output_gate": True}),
        ("M", {"mamba_num_groups": 2, "mamba_state_dim": 16}, {"mamba_num_groups": 4, "mamba_state_dim": 8}),
        ("G", {"gdn_num_key_heads": 2, "gdn_key_head_dim": 16}, {"gdn_num_key_heads": 1, "gdn_key_head_dim": 32}),
        ("-", {"activation": "swiglu"}, {"activation": "geglu"}),
        ("-", {"activation": "gelu"}, {"activation": "squared_relu"}),
        ("E", {"moe_topk": 1}, {"moe_topk": 3}),
        ("E", {"moe_shared_ffn": 64, "moe_shared_experts": 1}, {"moe_shared_ffn": 64, "moe_shared_experts": 2}),
        ("*-", {"linear_bias": True, "qkv_bias": True}, {"linear_bias": True, "qkv_bias": False}),
        ("MG", {"linear_bias": True}, {"linear_bias": False}),
        ("M", {"vocab_size": 120, "vocab_multiple": 64}, {"vocab_size": 128, "vocab_multiple": 1}),
        ("*", {"position_embedding": "rope"}, {"position_embedding": "none"}),
        ("M/*-", {"mtp_use_repeated_layer": True}, {"mtp_use_repeated_layer": False}),
        ("+", {"dsa_index_topk": 1, "rotary_base": 5}, {"dsa_index_topk": 2, "rotary_base": 6}),
    ],
)  # fmt: skip
def test_two_models_of_the_same_names_and_shapes_differ_in_what_is_unknown(pattern, one, other):
    assert shapes(pattern, **one) == shapes(pattern, **other)
    found = infer(shapes(pattern, **one))
    changed = {name for name in one.keys() & other.keys() if one[name] != other[name]}
    assert not changed & found.values.keys()


@pytest.mark.parametrize("name", ["nemotron-h-8b", "qwen3-next-80b-a3b", "llama-3-8b", "mixtral-8x7b"])
def test_products_of_presets_are_not_decided_by_anything_else(name):
    architecture = preset(name).architecture()
    found = infer({tensor.name: tensor.shape for tensor in architecture.canonical()})
    example = found.example()
    for equation in found.equations:
        if isinstance(equation, Product) and not set(equation.names) & found.values.keys():
            assert any(getattr(example, size) != getattr(architecture.sizes, size) for size in equation.names)
