"""Characters outside the language: the whole message, the likeliest meaning, the fix."""

import pytest

from workbench.pattern.checks import check
from workbench.pattern.diagnostics import render
from workbench.pattern.symbols import SYMBOLS, UNRELEASED

# (pattern, what its fix makes of it or None, the whole text)
# fmt: off
CASES = [
    ("MQ-", None, """\
  MQ-
   ^
error unknown-symbol at 1: 'Q' is not a layer symbol
  hint: the symbols are M G * D + - E"""),
    ("mm*", "MM*", """\
  mm*
  ^^
error unknown-symbol at 0–1: 'mm' is not a layer symbol
  hint: did you mean 'M' (Mamba-2)?"""),
    ("MA", "M*", """\
  MA
   ^
error unknown-symbol at 1: 'A' is not a layer symbol
  hint: did you mean '*' (self-attention)?"""),
    ("Mx*", "M**", """\
  Mx*
   ^
error unknown-symbol at 1: 'x' is not a layer symbol
  hint: did you mean '*' (self-attention)?"""),
    ("*_", "*-", """\
  *_
   ^
error unknown-symbol at 1: '_' is not a layer symbol
  hint: did you mean '-' (MLP)?"""),
    ("M *-", "M*-", """\
  M *-
   ^
error unknown-symbol at 1: ' ' is not a layer symbol
  hint: remove it: a pattern has no spaces and no line breaks"""),
    ("M\n-", "M-", """\
  M␊-
   ^
error unknown-symbol at 1: '␊' (U+000A) is not a layer symbol
  hint: remove it: a pattern has no spaces and no line breaks"""),
    ("M\xa0-", "M-", """\
  M�-
   ^
error unknown-symbol at 1: '�' (U+00A0 no-break space) is not a layer symbol
  hint: remove it: a pattern has no spaces and no line breaks"""),
    ("M\u200b-", "M-", """\
  M�-
   ^
error unknown-symbol at 1: '�' (U+200B zero width space) is not a layer symbol
  hint: remove it: it came along unseen, most likely from a copied text"""),
    ("M\x7f", "M", """\
  M␡
   ^
error unknown-symbol at 1: '␡' (U+007F) is not a layer symbol
  hint: remove it: it came along unseen, most likely from a copied text"""),
    ("M\ud800", "M", """\
  M�
   ^
error unknown-symbol at 1: '�' (U+D800) is not a layer symbol
  hint: remove it: it came along unseen, most likely from a copied text"""),
    ("MK", None, """\
  MK
   ^
error unknown-symbol at 1: 'K' is not a layer symbol
  hint: Kimi delta attention is not in a released megatron-core; the symbols are M G * D + - E"""),
    ("Mc", None, """\
  Mc
   ^
error unknown-symbol at 1: 'c' is not a layer symbol
  hint: compressed attention of DeepSeek-V4 is not in a released megatron-core; the symbols are M G * D + - E"""),
    ("M4", None, """\
  M4
   ^
error unknown-symbol at 1: '4' is not a layer symbol
  hint: a pattern has no repeat counts: write every layer out, as in 'M-M-M-'"""),
    ("M×", None, """\
  M×
   ^
error unknown-symbol at 1: '×' is not a layer symbol
  hint: a pattern has no repeat counts: write every layer out, as in 'M-M-M-'"""),
    ("🙂M", None, """\
  🙂M
  ^^
error unknown-symbol at 0: '🙂' is not a layer symbol
  hint: the symbols are M G * D + - E"""),
    ("中M", None, """\
  中M
  ^^
error unknown-symbol at 0: '中' is not a layer symbol
  hint: the symbols are M G * D + - E"""),
    ("\ufe0fM", "M", """\
  �M
  ^
error unknown-symbol at 0: '�' (U+FE0F variation selector-16) is not a layer symbol
  hint: remove it: it came along unseen, most likely from a copied text"""),
    ("QQQQQQQQQ", None, """\
  QQQQQQQQQ
  ^^^^^^^^^
error unknown-symbol at 0–8: 'Q' (9 times) is not a layer symbol
  hint: the symbols are M G * D + - E"""),
    ("QQQQQQQQ", None, """\
  QQQQQQQQ
  ^^^^^^^^
error unknown-symbol at 0–7: 'QQQQQQQQ' is not a layer symbol
  hint: the symbols are M G * D + - E"""),
]
# fmt: on


@pytest.mark.parametrize(("text", "fixed", "expected"), CASES, ids=[ascii(text) for text, _, _ in CASES])
def test_one_mistake_gives_one_diagnostic_with_this_text_and_its_fix_mends_it(text, fixed, expected):
    diagnostics = check(text)
    assert render(text, diagnostics) == expected
    (only,) = diagnostics
    assert (only.fix and only.fix.apply(text)) == fixed
    if fixed is not None:
        assert only.code not in [entry.code for entry in check(fixed)]


@pytest.mark.parametrize(("symbol", "typed"), [(row.symbol, char) for row in SYMBOLS.values() for char in row.meant])
def test_what_people_type_is_mended_to_what_they_meant(symbol, typed):
    (only,) = (entry for entry in check(f"{typed}") if entry.severity == "error")
    assert only.fix.apply(typed) == symbol
    assert f"did you mean {SYMBOLS[symbol]}?" == only.hint


@pytest.mark.parametrize("symbol", [*UNRELEASED, *(symbol.lower() for symbol in UNRELEASED)])
def test_a_symbol_of_an_unreleased_branch_is_named_and_not_replaced(symbol):
    (only,) = check(symbol)
    assert only.hint.startswith(f"{UNRELEASED[symbol.upper()]} is not in a released megatron-core")
    assert only.fix is None


def test_round_brackets_are_two_wrong_characters_each_with_its_square_one():
    first, second = check("(M-)")
    assert (first.hint, second.hint) == (
        "groups are written with square brackets: '['",
        "groups are written with square brackets: ']'",
    )
    assert str(first.fix.apply(second.fix.apply("(M-)"))) == "[M-]"


def test_a_folded_display_form_is_answered_with_how_to_write_it():
    assert {entry.hint for entry in check("M-×4")} == {
        "a pattern has no repeat counts: write every layer out, as in 'M-M-M-'"
    }


def test_a_run_of_one_character_is_one_problem_and_different_ones_are_several():
    assert [(entry.start, entry.end) for entry in check("MQQQxQM")] == [(1, 4), (4, 5), (5, 6)]
