"""Diagnostics as values and as text: codes, carets, long and strange texts, `PatternError`."""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import WorkbenchError
from workbench.pattern.checks import check
from workbench.pattern.diagnostics import CODES, Diagnostic, Fix, PatternError, columns, render, shortened, visible
from workbench.pattern.model import Pattern

# The shortest pattern with this and no other problem, on that many ranks.
EXAMPLES = {
    "unknown-symbol": ("Q", 1),
    "unclosed-group": ("[M", 1),
    "unopened-group": ("M]", 1),
    "nested-group": ("[[M-]]", 1),
    "empty-group": ("[]", 1),
    "group-size": ("[M]", 1),
    "group-order": ("[-M]", 1),
    "group-crosses-stage": ("[M|-]", 1),
    "group-crosses-mtp": ("[M/-]", 1),
    "stage-in-mtp": ("M/|", 1),
    "mtp-mismatch": ("M/M/-", 1),
    "mixed-attention": ("*+", 1),
    "empty-pattern": ("", 1),
    "empty-stage": ("M|", 1),
    "empty-mtp": ("M/", 1),
    "unfused-pair": ("M-", 1),
    "auto-split": ("MM", 2),
}
STRANGE = [
    "\x00", "\x1b[31mM", "M\r\nM", "M\tM", "\x7f\x85", "\u202eM-", "\u200d\ufeffM", "e\u0301", "\ud800M\udfff", "٣²½",
    "🙂👍🏽", "👨\u200d👩\u200d👧", "中文字", "ｍ", "<script>alert(1)</script>",
    "M" * 10_000, "Q" * 10_000, "🙂" * 10_000, "[" * 10_000, "\x00\ud800" * 5_000, "M/" * 5_000,
]  # fmt: skip


def test_every_code_has_an_example():
    assert list(EXAMPLES) == list(CODES)


@pytest.mark.parametrize(("code", "example"), EXAMPLES.items())
def test_one_mistake_gives_its_code_once_and_nothing_else(code, example):
    text, ranks = example
    (only,) = check(text, ranks)
    assert (only.code, only.severity) == (code, CODES[code])
    assert 0 <= only.start <= only.end <= len(text)


@pytest.mark.parametrize(("code", "example"), EXAMPLES.items())
def test_errors_refuse_the_pattern_and_warnings_stay_with_it(code, example):
    text, _ = example
    if CODES[code] == "error":
        with pytest.raises(PatternError) as caught:
            Pattern(text)
        assert caught.value.diagnostics == check(text)
        assert str(caught.value) == render(text, check(text))
    else:
        assert Pattern(text).warnings == check(text)


def test_several_problems_are_counted_and_drawn_each():
    assert render("Q]", check("Q]")) == (
        "2 problems\n"
        "  Q]\n"
        "  ^\n"
        "error unknown-symbol at 0: 'Q' is not a layer symbol\n"
        "  hint: the symbols are M G * D + - E\n"
        "  Q]\n"
        "   ^\n"
        "error unopened-group at 1: ']' closes a group that was never opened\n"
        "  hint: remove it, or put '[' where the group starts"
    )


def test_of_very_many_problems_the_first_are_drawn_and_all_are_kept():
    with pytest.raises(PatternError) as caught:
        Pattern("]" * 500)
    lines = str(caught.value).splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("500 problems", "and 480 more", 1 + 4 * 20 + 1)
    assert len(caught.value.diagnostics) == 500


def test_no_problem_renders_as_that():
    assert render("M", ()) == "no problems"


def test_a_long_pattern_is_cut_around_the_span():
    text = "M-" * 60 + "Q" + "M-" * 60
    (only,) = check(text)
    first, second, *_ = only.render(text).split("\n")
    assert first == "  …" + "M-" * 12 + "Q" + "M-" * 23 + "M…"
    assert second == "  " + " " * 25 + "^"


@pytest.mark.parametrize("place", [0, 1, 40, 118, 119])
def test_the_carets_stand_under_the_span_wherever_it_is(place):
    text = "M" * place + "Q" + "M" * (119 - place)
    (only,) = check(text)
    first, second, *_ = only.render(text).split("\n")
    assert first[second.index("^")] == "Q"
    assert second.count("^") == 1


def test_wide_characters_take_two_columns_above_two_carets():
    first, second, *_ = check("中Q")[1].render("中Q").split("\n")
    assert (first, second) == ("  中Q", "    ^")
    assert (columns("M中"), columns("�…")) == (3, 2)


def test_a_span_is_told_from_zero_with_its_last_place():
    spans = [Diagnostic("group-size", start, end, "", "").span for start, end in ((3, 3), (3, 4), (3, 6))]
    assert spans == ["3", "3", "3–5"]


def test_a_diagnostic_as_json():
    assert check("M]")[0].to_json() == {
        "code": "unopened-group",
        "severity": "error",
        "start": 1,
        "end": 2,
        "message": "']' closes a group that was never opened",
        "hint": "remove it, or put '[' where the group starts",
    }


def test_a_fix_replaces_its_span():
    assert Fix("", 1, 3, "xyz").apply("abcd") == "axyzd"
    assert Fix("", 4, 4, "]").apply("abcd") == "abcd]"


def test_long_quotes_lose_their_middle():
    assert shortened("M" * 40) == "M" * 40
    assert shortened("M" * 30 + "-" * 30) == "M" * 19 + "…" + "-" * 19


def test_a_pattern_error_is_a_value_error_and_pickles():
    with pytest.raises(ValueError, match="unclosed-group") as caught:
        Pattern("M[*-\ud800")
    error = caught.value
    assert isinstance(error, PatternError)
    assert isinstance(error, WorkbenchError)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is PatternError
    assert (again.text, again.diagnostics, str(again)) == (error.text, error.diagnostics, str(error))


def test_a_notebook_shows_the_carets_in_place_of_a_traceback():
    error = PatternError("]", check("]"))
    assert error._render_traceback_() == [f"PatternError: {error}"]


@pytest.mark.parametrize("text", STRANGE, ids=lambda text: ascii(text[:8]))
def test_strange_text_is_told_about_and_never_shown_raw(text):
    diagnostics = check(text)
    shown = render(text, diagnostics)
    assert visible(shown.replace("\n", "")) == shown.replace("\n", "")
    assert len(shown) < 30_000
    shown.encode()
    json.dumps([entry.to_json() for entry in diagnostics])
    assert all(0 <= entry.start <= entry.end <= len(text) for entry in diagnostics)


@given(st.text(st.characters(), max_size=50))
def test_visible_keeps_every_place_and_is_printable(text):
    shown = visible(text)
    assert len(shown) == len(text)
    assert visible(shown) == shown
    shown.encode()
