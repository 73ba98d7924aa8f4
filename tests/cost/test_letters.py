"""Every letter of every formula is in the one legend, and the legend holds nothing else."""

from __future__ import annotations

import ast
import inspect

import pytest

from workbench.arch.sizes import ModelSizes
from workbench.cost import activation_outside, letters
from workbench.cost.activation_letters import activation_letters
from workbench.cost.activations import IMPLEMENTATIONS, activation_terms
from workbench.cost.flop_letters import decode_letters, flop_letters
from workbench.cost.flop_terms import FORMS, MTP_PROJECTION, OUTPUT_LAYER
from workbench.cost.flops import flop_terms
from workbench.cost.legend import Letter, letters_used
from workbench.cost.letters import LEGEND, chunk_letters, letters_of
from workbench.cost.state import state_formulas
from workbench.pattern.symbols import SYMBOLS


def flop_formulas():
    for symbol in SYMBOLS:
        for form in FORMS:
            yield from flop_terms(symbol, form)
    yield from (*OUTPUT_LAYER, *MTP_PROJECTION)


def activation_rows():
    for implementation in IMPLEMENTATIONS:
        for symbol in SYMBOLS:
            yield from activation_terms(symbol, implementation)
        yield from activation_outside.embedding_rows(implementation)
        yield from activation_outside.final_norm_rows(implementation)
        for full in (True, False):
            yield from activation_outside.mtp_rows(implementation, full=full)
    yield from activation_outside.output_rows(depths=1)
    yield from (*activation_outside.BLOCK_INPUT, *activation_outside.MASK, *activation_outside.ANGLES)


USED = {
    "FLOPs": {letter for term in flop_formulas() for letter in term.forward.letters | term.backward.letters},
    "activations": {letter for row in activation_rows() for letter in row.formula.letters},
    "state": {
        letter
        for symbol in SYMBOLS
        for latent in (True, False)
        for formula in state_formulas(symbol, latent_cache=latent)
        for letter in formula.letters
    },
}


@pytest.mark.parametrize("what", USED)
def test_every_letter_of_a_formula_is_explained(what):
    assert USED[what]
    assert USED[what] <= LEGEND.keys()


def test_no_letter_is_idle():
    assert LEGEND.keys() == set().union(*USED.values())


def test_no_letter_is_explained_twice():
    (table,) = (
        node.value
        for node in ast.walk(ast.parse(inspect.getsource(letters)))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "LEGEND"
    )
    assert isinstance(table, ast.Dict)
    assert len(table.keys) == len(LEGEND)


def test_explanations_are_phrases():
    assert all(text and not text.endswith(".") for text in LEGEND.values())


def test_whatever_has_a_value_is_explained():
    sizes = ModelSizes()
    assert flop_letters(sizes, sequence_length=8, causal=True, chunk=4).keys() <= LEGEND.keys()
    assert decode_letters(sizes, context_length=8).keys() <= LEGEND.keys()
    for symbol in ("", *SYMBOLS):
        values = activation_letters(sizes, symbol=symbol, sequence_length=8, micro_batch=1, width=2)
        assert values.keys() <= LEGEND.keys()
        assert USED["activations"] <= values.keys()


def test_a_size_that_is_not_there_has_no_letter():
    assert "f" not in letters_of(ModelSizes(ffn_hidden_size=None))
    assert letters_of(ModelSizes(q_lora_rank=None))["qr"] == 0
    assert letters_of(ModelSizes(num_query_groups=None))["g"] == 4
    assert "v" not in letters_of(ModelSizes(vocab_size=None))
    assert letters_of(ModelSizes(vocab_multiple=100))["v"] == 200


@pytest.mark.parametrize(
    ("length", "chunk", "expected"), [(8, 4, (4, 2, 1)), (9, 4, (4, 3, 1)), (3, 4, (3, 1, 0)), (4, 4, (4, 1, 0))]
)
def test_chunks(length, chunk, expected):
    found = chunk_letters(length, chunk)
    assert (found["s"], found["c"], found["t"], found["later"]) == (length, *expected)


# ---------------------------------------------------------------------------------- the letters of a model


def test_letters_stand_in_the_order_of_the_legend_with_every_value():
    terms = [("gdn", {"c": 64, "h": 8}), ("mamba", {"c": 128, "h": 8}), ("mamba", {"c": 128})]
    assert letters_used(terms) == (
        Letter("h", LEGEND["h"], ((8, ("gdn", "mamba")),)),
        Letter("c", LEGEND["c"], ((64, ("gdn",)), (128, ("mamba",)))),
    )


def test_json():
    (letter,) = letters_used([("mamba", {"h": 8})])
    assert letter.to_json() == {
        "letter": "h", "meaning": "hidden size", "values": [{"value": 8, "where": ["mamba"]}],
    }  # fmt: skip
