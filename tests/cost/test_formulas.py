"""Formulas are evaluated from the text that is shown, and from nothing that is not arithmetic."""

from __future__ import annotations

import pytest

from workbench.cost.formulas import Formula


def formula(text):
    return Formula("a name", text, "a source")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 * a * (b + 1)", 36),
        ("a / 2", 1.5),
        ("a / 3", 1),
        ("-a + b // 2", -1),
        ("2 * min(a, b) + max(a, b)", 11),
        ("10", 10),
    ],
)
def test_value(text, value):
    assert formula(text).value({"a": 3, "b": 5}) == value


def test_a_whole_result_is_an_integer():
    assert isinstance(formula("a / 3").value({"a": 3}), int)
    assert isinstance(formula("a / 2").value({"a": 3}), float)


def test_counts_stay_exact():
    assert formula("a * a + 1").value({"a": 10**12}) == 10**24 + 1


def test_letters_and_text():
    found = formula("2 * h * max(a, sf)")
    assert found.letters == {"h", "a", "sf"}
    assert found.shown == "2·h·max(a, sf)"


def test_only_the_letters_of_the_text_are_given():
    assert formula("2 * h * max(a, sf)").given({"h": 1, "a": 2, "sf": 3, "b": 4}) == {"h": 1, "a": 2, "sf": 3}


def test_a_missing_letter_is_named():
    with pytest.raises(KeyError, match="b"):
        formula("a + b").value({"a": 1})


@pytest.mark.parametrize("text", ["__import__('os')", "a.real", "[a]", "a if a else 1", "a ** 2", "lambda: a", "'a'.x"])
def test_nothing_but_arithmetic(text):
    with pytest.raises((AssertionError, KeyError)):
        formula(text).value({"a": 1})
