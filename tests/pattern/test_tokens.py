"""Tokens: kinds, places, runs, and nothing of the text lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.pattern.symbols import SYMBOLS
from workbench.pattern.tokens import Kind, tokenize


def test_each_part_of_the_language_has_its_kind():
    assert [(token.text, token.kind) for token in tokenize("M[|/]Q")] == [
        ("M", Kind.SYMBOL),
        ("[", Kind.OPEN),
        ("|", Kind.STAGE),
        ("/", Kind.MTP),
        ("]", Kind.CLOSE),
        ("Q", Kind.UNKNOWN),
    ]


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_symbol_is_a_token_of_its_own(symbol):
    assert [(token.text, token.start, token.end) for token in tokenize(symbol * 3)] == [
        (symbol, 0, 1),
        (symbol, 1, 2),
        (symbol, 2, 3),
    ]


def test_only_a_run_of_one_unknown_character_is_one_token():
    assert [(token.text, token.start, token.end) for token in tokenize("QQxQM\n\n||")] == [
        ("QQ", 0, 2),
        ("x", 2, 3),
        ("Q", 3, 4),
        ("M", 4, 5),
        ("\n\n", 5, 7),
        ("|", 7, 8),
        ("|", 8, 9),
    ]


def test_no_text_has_no_tokens():
    assert tokenize("") == ()


@given(st.text(st.characters(), max_size=60) | st.text("MG*D+-E[]|/ Qx", max_size=60))
def test_tokens_joined_are_the_text_and_each_stands_where_it_says(text):
    tokens = tokenize(text)
    assert "".join(token.text for token in tokens) == text
    assert all(text[token.start : token.end] == token.text != "" for token in tokens)
