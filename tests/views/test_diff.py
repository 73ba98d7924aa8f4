"""A diff as text and as parts: the exact text of a small one, nothing that differs shown as nothing, hostile names as text."""

import json
from dataclasses import replace

import pytest

from workbench.checkpoint.differences import Diff, Metrics
from workbench.cli.output import json_text
from workbench.render import scene, text
from workbench.views import diff_words as words
from workbench.views.diff import banner, document, headline, mimebundle

from ..render.hostile import TEXTS
from ..render.pages import assert_self_contained
from .diffs import (
    DIFFERENT,
    DTYPE,
    EXTRA,
    IDENTICAL,
    LEFT,
    MANY,
    NAMES_ONLY,
    NAN,
    OTHER_NAMES,
    RENAMED,
    SHAPE,
    VALUE,
    ZERO,
    look,
)


def test_the_text_of_a_small_diff(golden):
    golden("diff/different.txt", text.render(document(DIFFERENT), 80))
    golden("diff/different-unfolded.txt", text.render(document(DIFFERENT), 120, unfold=True))
    golden("diff/identical.txt", text.render(document(IDENTICAL), 80))


def test_headlines():
    assert headline(IDENTICAL) == "✓ IDENTICAL: 46 tensors, 118,272 elements: identical bits"
    assert headline(DIFFERENT) == (
        "✗ DIFFERENT: 9 differences in 46 tensors: 1 missing, 1 extra, 1 shape, 1 dtype, 3 value, 1 object, 1 renamed; "
        "1 has another name on the right"
    )
    assert headline(OTHER_NAMES).endswith("identical bits; 120 have another name on the right")
    assert headline(NAMES_ONLY) == "– NOT COMPARED: 46 tensors: the same shapes and dtypes; no value was read"
    assert headline(replace(DIFFERENT, compared=False)).startswith("✗ DIFFERENT")
    assert headline(replace(DIFFERENT, compared=False)).endswith("no value was read")
    assert headline(replace(IDENTICAL, tolerance="atol 0.001")).endswith("equal within atol 0.001")


def test_only_identical_passes():
    """Neither a diff of names nor one that found nothing else is green."""
    assert banner(IDENTICAL).status.outcome == "pass"
    assert banner(NAMES_ONLY).status.outcome == "not-run"
    assert banner(replace(IDENTICAL, identical=False)).status.outcome == "fail"


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("diff", [DIFFERENT, OTHER_NAMES, MANY], ids=["different", "other names", "many"])
def test_no_line_is_wider_than_the_terminal(diff, width):
    lines = text.render(document(diff), width, unfold=True).splitlines()
    assert max(map(len, lines)) <= max(width, 80)


def test_five_thousand_differences_say_how_many_are_not_shown():
    shown = text.render(document(MANY), 80)
    assert "The 40 worst of 5,000 differences; 4,960 are not shown here." in shown
    assert "4,960 more groups are not shown" in " ".join(shown.split())
    assert shown.count("\n") < 400


def test_other_names_are_one_line_with_an_example():
    shown = text.render(document(OTHER_NAMES), 100)
    assert "120 tensors are equal under another name, such as decoder.layers.0.mlp.weight" in shown
    assert "decoder.layers.7.mlp.weight" not in shown
    assert "decoder.layers.7.mlp.weight" in text.render(document(OTHER_NAMES), 100, unfold=True)
    assert "By how much" not in shown


def test_what_has_no_figures_is_not_shown_as_zero():
    """−0 against 0, one unit in the last place, and a cosine that rounds to one."""
    assert words.phrase(ZERO) == "1 of 8 differ in bits only, not as numbers"
    assert {words.max_abs(ZERO.metrics), words.max_rel(ZERO.metrics), words.max_ulp(ZERO.metrics)} == {"bits only"}
    assert words.cosine(ZERO.metrics) == "≈ 1"
    assert words.cosine(VALUE.metrics) == "1 − 2e-09"
    assert words.cosine(Metrics(2, 2, cosine=-1 + 3e-5)) == "−1 + 3e-05"
    assert words.phrase(VALUE) == "3 of 4,096 differ, by up to 1.19e-07 (1 ULP)"
    assert words.max_abs(Metrics(1, 1, max_abs=5e-324)) == "4.94e-324"
    assert words.max_abs(DTYPE.metrics) == "0", "nothing differs but the type"


def test_two_values_are_told_apart():
    nearly = Metrics(1, 1, left=1.0, right=1.0000001192092896)
    assert words.values(nearly) == ("1", "1.00000012")
    assert words.values(replace(nearly, right=1.0000000000000002)) == ("1.0", "1.0000000000000002")
    assert words.values(NAN.metrics) == ("nan", "0.25")
    assert words.values(Metrics(1, 1, left=True, right=False)) == ("True", "False")
    assert words.values(Metrics(1, 1, left=2**53, right=2**53 + 1)) == ("9007199254740992", "9007199254740993")
    assert words.values(None) == ("–", "–")


def test_nan_and_infinities_are_counted_by_side():
    assert words.special(NAN.metrics) == "NaN: 1 left, 2 both; Inf: 1 right"
    assert words.phrase(NAN).endswith("NaN: 1 left, 2 both; Inf: 1 right")
    only = replace(NAN, metrics=Metrics(1, 8, None, nan=(1, 0, 0)))
    assert words.phrase(only) == "1 of 8 differ, NaN: 1 left"


def test_shapes_of_both_sides_are_said():
    assert words.phrase(SHAPE) == "[4, 64] against [64, 4]; the right is the left transposed"
    assert words.sizes(VALUE) == "[64, 64] bfloat16"


def test_a_renaming_by_the_layout_passes_and_one_by_content_does_not():
    (moved,) = (entry for entry in DIFFERENT.differences if entry.by == "content")
    assert words.status(moved.kind, moved.content) == scene.Status("fail", "renamed")
    assert words.status(RENAMED.kind, RENAMED.content) == scene.Status("pass", "renamed")


def test_the_worst_stand_first_whatever_the_order_of_the_files():
    mixed = replace(DIFFERENT, differences=DIFFERENT.differences[::-1])
    assert [mixed.differences[place] for place in words.ranked(mixed)] == list(DIFFERENT.differences)


def test_a_note_of_both_sides_is_said_once():
    shown = text.render(document(replace(IDENTICAL, right=replace(LEFT, notes=(*LEFT.notes, "odd")))), 80)
    assert "- Both: 2 writers, step 100\n  - Right: odd" in shown


def test_sides_with_another_pattern_are_drawn_each_and_the_same_pattern_once():
    assert text.render(document(DIFFERENT), 80).count("stage 0") == 2
    assert text.render(document(IDENTICAL), 80).count("stage 0") == 1
    unknown = replace(IDENTICAL, left=replace(LEFT, pattern=None), right=replace(LEFT, pattern="no pattern"))
    assert "none that is known here" in text.render(document(unknown), 80)


def test_what_was_left_out_is_listed():
    shown = text.render(document(replace(DIFFERENT, ignored=tuple(f"name{number}" for number in range(20)))), 100)
    assert "name7, and 12 more names" in shown


def test_json_has_the_fields_of_the_design():
    data = json.loads(json_text(DIFFERENT.to_json()))
    assert data["schema"] == "workbench.diff/1"
    assert (data["identical"], data["counts"]["value"]) == (False, 3)
    assert {"kind", "name", "other_name", "sublayer", "metrics", "left", "right"} <= set(data["differences"][0])
    assert data["differences"][4]["metrics"]["left"] == "nan"
    assert "look" not in data
    endless = replace(VALUE, metrics=Metrics(1, 1, max_abs=float("inf"), cosine=float("nan")))
    data = json.loads(json_text(replace(DIFFERENT, differences=(endless,)).to_json()))
    assert (data["differences"][0]["metrics"]["max_abs"], data["differences"][0]["metrics"]["cosine"]) == ("inf", "nan")


def hostile(said):
    """A diff with a text wherever a file could bring one."""
    side = replace(LEFT, where=said, notes=(said,), format=said, pattern=said)
    found = tuple(
        replace(entry, name=said, other_name=said, place=said, detail=said, left=said)
        for entry in DIFFERENT.differences
    )
    groups = tuple(replace(group, name=said, place=said, symbol=said) for group in DIFFERENT.groups)
    return replace(
        DIFFERENT, left=side, right=side, differences=found, groups=groups, sentences=(said,), ignored=(said,),
        environment={said: said}, look=lambda name: replace(look(VALUE.name), name=name, sample=(((0,), said, said),)),
    )  # fmt: skip


@pytest.mark.parametrize("said", TEXTS, ids=range(len(TEXTS)))
def test_hostile_texts_are_texts(said):
    shown = mimebundle(hostile(said))
    assert_self_contained(shown["text/html"])
    assert not {"\x1b", "\0", "\u202e", "\u2066"} & set(shown["text/html"] + shown["text/plain"])
    assert "\x1b" not in text.render(document(hostile(said)), 80, unfold=True)


def test_a_notebook_shows_it():
    assert Diff.view is mimebundle
    shown = DIFFERENT._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/html"}
    assert "decoder.<wbr>layers.<wbr>0.<wbr>mixer.<wbr>A_log" in shown["text/html"]


def test_tensors_of_one_side_do_not_push_out_what_differs_on_both():
    """Forty optimizer states come first, as what is worse; the figures of the weights are shown all the same."""
    states = tuple(replace(EXTRA, name=f"optimizer.state.exp_avg.{index}") for index in range(50))
    shown = " ".join(text.render(document(replace(DIFFERENT, differences=(*states, VALUE))), 200, unfold=True).split())
    assert "3 of 4,096" in shown
    assert "The 41 worst of 51 differences; 10 are not shown here." in shown
