"""Sizes: what is accepted, and every refusal with its field."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from workbench.arch.sizes import ACTIVATIONS, ModelSizes, SizesError
from workbench.errors import WorkbenchError

FIELDS = {field.name: str(field.type) for field in fields(ModelSizes)}
WHOLE = [name for name, declared in FIELDS.items() if declared.startswith("int")]
NUMBERS = [name for name, declared in FIELDS.items() if declared.startswith("float")]
TRUTHS = [name for name, declared in FIELDS.items() if declared == "bool"]
TEXTS = [name for name, declared in FIELDS.items() if declared.startswith("str")]
REQUIRED = [name for name, declared in FIELDS.items() if "None" not in declared]


def refusal(**values: Any) -> str:
    with pytest.raises(SizesError) as caught:
        ModelSizes(**values)
    return str(caught.value)


def test_every_field_is_of_one_of_the_kinds():
    assert sorted(WHOLE + NUMBERS + TRUTHS + TEXTS) == sorted(FIELDS)


def test_the_defaults_have_every_layer_kind():
    sizes = ModelSizes()
    assert (sizes.attention_head_dim, sizes.mamba_heads, sizes.gated, sizes.rotary_percent) == (16, 8, True, 1.0)


def test_the_error_is_a_value_error():
    assert issubclass(SizesError, WorkbenchError)
    assert issubclass(SizesError, ValueError)


# -- types and ranges


@pytest.mark.parametrize("name", [name for name in WHOLE if name != "moe_shared_experts"])
@pytest.mark.parametrize("value", [0, -1, 1.0, "64", True, [64]])
def test_whole_numbers(name, value):
    assert refusal(**{name: value}) == f"{name} must be a whole number of at least 1, not {value!r}"


def test_no_shared_experts_is_a_number_too():
    assert ModelSizes(moe_shared_experts=0).moe_shared_experts == 0
    assert refusal(moe_shared_experts=-1) == "moe_shared_experts must be a whole number of at least 0, not -1"


@pytest.mark.parametrize("name", [*WHOLE, *NUMBERS])
def test_no_number_is_so_large_that_arithmetic_fails(name):
    assert refusal(**{name: 10**400}) == f"{name} must be at most 1099511627776"


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-0.1, "0.1", True, float("nan"), float("inf")])
def test_numbers(name, value):
    assert refusal(**{name: value}) == f"{name} must be a number of at least 0, not {value!r}"


@pytest.mark.parametrize("name", TRUTHS)
@pytest.mark.parametrize("value", [0, 1, "true"])
def test_truths(name, value):
    assert refusal(**{name: value}) == f"{name} must be true or false, not {value!r}"


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("value", [1, True, ["rope"]])
def test_texts(name, value):
    assert refusal(**{name: value}) == f"{name} must be a text, not {value!r}"


@pytest.mark.parametrize("name", REQUIRED)
def test_what_must_be_there(name):
    assert refusal(**{name: None}) == f"{name} must be given"


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - set(REQUIRED)))
def test_what_may_be_absent(name):
    # A width and its sharers go together.
    together = {"moe_shared_ffn": {"moe_shared_experts": None}}.get(name, {})
    assert getattr(ModelSizes(**{name: None, **together}), name) is None


@pytest.mark.parametrize("name", ["hidden_dropout", "attention_dropout"])
def test_dropout_is_a_probability_below_one(name):
    assert refusal(**{name: 1.0}) == f"{name} must be at least 0 and below 1, not 1.0"
    assert getattr(ModelSizes(**{name: 0.5}), name) == 0.5


# -- values that are words


def test_words():
    assert refusal(normalization="BatchNorm") == "normalization must be one of RMSNorm, LayerNorm, not 'BatchNorm'"
    assert refusal(activation="tanh") == (
        "activation must be one of swiglu, geglu, gelu, squared_relu, silu, relu, not 'tanh'"
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gated_activations(activation):
    assert ModelSizes(activation=activation).gated is (activation in ("swiglu", "geglu"))


@pytest.mark.parametrize(
    ("text", "variant", "percent"),
    [
        (None, "none", 0.0),
        ("none", "none", 0.0),
        ("rope", "rope", 1.0),
        ("rope 25%", "rope", 0.25),
        ("rope 100%", "rope", 1.0),
        ("mrope 25%", "mrope", 0.25),
        ("rope (yarn)", "yarn", 1.0),
        ("rope/yarn", "yarn", 1.0),
    ],
)
def test_position_embeddings(text, variant, percent):
    sizes = ModelSizes(position_embedding=text)
    assert (sizes.rotary_variant, sizes.rotary_percent) == (variant, percent)


@pytest.mark.parametrize("text", ["", "alibi", "rope 0%", "rope 101%", "rope25%", "rope 25", "Rope", "yarn", "none "])
def test_position_embeddings_that_are_none(text):
    assert refusal(position_embedding=text) == (
        f"position_embedding must be 'rope', 'rope 25%', 'learned_absolute' or 'none', not {text!r}"
    )


# -- values that contradict each other


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"num_attention_heads": 4, "num_query_groups": 3},
            "num_attention_heads 4 is not a multiple of num_query_groups 3",
        ),
        ({"mamba_num_groups": 3}, "mamba_num_heads 8 is not a multiple of mamba_num_groups 3"),
        (
            {"gdn_num_key_heads": 3, "gdn_num_value_heads": 4},
            "gdn_num_value_heads 4 is not a multiple of gdn_num_key_heads 3",
        ),
        (
            {"num_attention_heads": 7, "num_query_groups": None},
            "hidden_size 64 is not a multiple of num_attention_heads 7: set head_dim",
        ),
        (
            {"mamba_head_dim": 24},
            "2 × hidden_size 64 is not a multiple of mamba_head_dim 24: set mamba_num_heads",
        ),
        ({"moe_experts": 4, "moe_topk": 5}, "moe_topk 5 is more than moe_experts 4"),
        ({"head_dim": 15}, "position_embedding 'rope' rotates 15 of head_dim 15: it must be an even number"),
        (
            {"head_dim": 20, "position_embedding": "rope 25%"},
            "position_embedding 'rope 25%' rotates 5 of head_dim 20: it must be an even number",
        ),
        ({"moe_shared_experts": 1}, "moe_shared_experts 1 needs moe_shared_ffn, their width together"),
        ({"moe_shared_experts": 0, "moe_shared_ffn": 64}, "moe_shared_ffn 64 contradicts moe_shared_experts 0"),
        (
            {"moe_shared_experts": 3, "moe_shared_ffn": 64},
            "moe_shared_ffn 64 is not a multiple of moe_shared_experts 3",
        ),
        ({"shared_expert_gate": True}, "shared_expert_gate needs moe_shared_ffn: there is no shared expert to gate"),
    ],
)
def test_contradictions(values, said):
    assert refusal(**values) == said


@pytest.mark.parametrize(
    "values",
    [
        {"num_attention_heads": 7, "num_query_groups": 7, "head_dim": 16},
        {"head_dim": 15, "position_embedding": "none"},
        {"head_dim": 15, "position_embedding": None},
        {"mamba_head_dim": 24, "mamba_num_heads": 6},
        {"num_attention_heads": None},
        {"moe_shared_experts": 2, "moe_shared_ffn": 64},
        {"moe_shared_ffn": 64, "shared_expert_gate": True},
    ],
)
def test_what_does_not_contradict(values):
    ModelSizes(**values)


def test_derived_widths():
    assert ModelSizes(head_dim=32).attention_head_dim == 32
    assert ModelSizes(num_attention_heads=None).attention_head_dim is None
    assert ModelSizes(mamba_num_heads=4).mamba_heads == 4
    assert ModelSizes(mamba_head_dim=None).mamba_heads is None


def test_the_loss_that_balances_experts():
    assert ModelSizes().aux_loss_coeff == 0.01
    assert ModelSizes(moe_router_bias=True).aux_loss_coeff == 0.0
    assert ModelSizes(moe_router_bias=True, moe_aux_loss_coeff=0.1).aux_loss_coeff == 0.1
    assert ModelSizes(moe_aux_loss_coeff=0.0).aux_loss_coeff == 0.0


def test_a_vocabulary_that_is_not_published():
    assert ModelSizes(vocab_size=7).vocabulary == 7
    with pytest.raises(SizesError, match=r"^a model needs a vocab_size, which the sizes leave out$"):
        _ = ModelSizes(vocab_size=None).vocabulary
