"""The symbol table: every row complete, every lookup, and the pairing rule."""

import re

import pytest

from workbench.errors import WorkbenchError
from workbench.pattern.symbols import (
    CHANNEL_MIXERS,
    SEQUENCE_MIXERS,
    SYMBOLS,
    UNRELEASED,
    can_fuse,
    meant_by,
    pair_up,
    symbol_of,
)


def test_the_kinds_and_their_roles_are_these():
    assert {symbol: row.kind for symbol, row in SYMBOLS.items()} == {
        "M": "mamba",
        "G": "gdn",
        "*": "attention",
        "D": "dsa",
        "+": "mla",
        "-": "mlp",
        "E": "moe",
    }
    assert (SEQUENCE_MIXERS, CHANNEL_MIXERS) == ("MG*D+", "-E")


@pytest.mark.parametrize("row", SYMBOLS.values(), ids=lambda row: row.kind)
def test_a_row_is_keyed_by_its_symbol_and_is_complete(row):
    assert SYMBOLS[row.symbol] is row
    assert row.role in ("sequence mixer", "channel mixer")
    assert row.family in ("recurrent", "attention", "latent", "channel")
    assert (row.family == "channel") == (row.role == "channel mixer")
    assert row.norm.endswith(".")
    assert row.module.endswith(".")
    assert row.spec_slot.endswith("_layer")
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in (row.light, row.dark))
    assert str(row) == f"'{row.symbol}' ({row.name})"


@pytest.mark.parametrize("column", ["kind", "name", "short", "spec_slot", "light", "dark"])
def test_no_two_rows_share_a(column):
    values = [getattr(row, column) for row in SYMBOLS.values()]
    assert len(set(values)) == len(values)


def test_a_typed_character_means_one_symbol_and_is_none_itself():
    typed = "".join(row.meant for row in SYMBOLS.values())
    assert len(set(typed)) == len(typed)
    assert not set(typed) & {*SYMBOLS, *UNRELEASED, *"[]|/"}


@pytest.mark.parametrize(
    ("typed", "symbol"),
    [("m", "M"), ("A", "*"), ("x", "*"), ("e", "E"), ("_", "-"), ("—", "-"), ("g", "G"), ("L", "+")],
)
def test_meant_by_guesses(typed, symbol):
    assert meant_by(typed) is SYMBOLS[symbol]


@pytest.mark.parametrize("typed", ["Q", "K", "[", "1", "🙂"])
def test_meant_by_does_not_guess(typed):
    assert meant_by(typed) is None


def test_symbol_of_an_unknown_one_lists_those_there_are():
    assert symbol_of("E").name == "mixture of experts"
    with pytest.raises(WorkbenchError, match=re.escape("unknown layer symbol 'Q'; the symbols are M G * D + - E")):
        symbol_of("Q")


def test_exactly_a_sequence_mixer_before_a_channel_mixer_fuses():
    assert {first + second for first in SYMBOLS for second in SYMBOLS if can_fuse(first, second)} == {
        "M-", "ME", "G-", "GE", "*-", "*E", "D-", "DE", "+-", "+E",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("symbols", "paired"),
    [
        ("", ""),
        ("M", "M"),
        ("-M", "-M"),
        ("M-", "[M-]"),
        ("M--", "[M-]-"),
        ("MM-E*", "M[M-]E*"),
        ("G*E+-", "G[*E][+-]"),
    ],
)
def test_pair_up_brackets_left_to_right(symbols, paired):
    assert pair_up(symbols) == paired
