"""Groups and separators as the parser reads them: the whole message of every mistake, its fix, the tree."""

import pytest

from tests.pattern.diagnosing import assert_one_diagnostic
from workbench.pattern.checks import check
from workbench.pattern.parser import parse

# (pattern, what its fix makes of it or None, the whole text)
# fmt: off
CASES = [
    ("[*-", "[*-]", """\
  [*-
  ^
error unclosed-group at 0: '[' is never closed
  hint: write [*-], or remove '['"""),
    ("M[*", "M*", """\
  M[*
   ^
error unclosed-group at 1: '[' is never closed
  hint: write [*-] or [*E], or remove '['"""),
    ("M[", "M", """\
  M[
   ^
error unclosed-group at 1: '[' is never closed
  hint: close it with ']' after a sequence mixer and a channel mixer, or remove '['"""),
    ("[-M", "-M", """\
  [-M
  ^
error unclosed-group at 0: '[' is never closed
  hint: close it with ']' after a sequence mixer and a channel mixer, or remove '['"""),
    ("[M-|[M-]", "[M-]|[M-]", """\
  [M-|[M-]
  ^
error unclosed-group at 0: '[' is never closed
  hint: write [M-], or remove '['"""),
    ("[M-/[M-]", "[M-]/[M-]", """\
  [M-/[M-]
  ^
error unclosed-group at 0: '[' is never closed
  hint: write [M-], or remove '['"""),
    ("[M[*-]", "M[*-]", """\
  [M[*-]
  ^
error unclosed-group at 0: '[' is never closed
  hint: write [M-] or [ME], or remove '['"""),
    ("[[M-]", "[M-]", """\
  [[M-]
  ^
error unclosed-group at 0: '[' is never closed
  hint: write [M-] or [ME], or remove '['"""),
    ("M-]", "M-", """\
  M-]
    ^
error unopened-group at 2: ']' closes a group that was never opened
  hint: remove it, or put '[' where the group starts"""),
    ("[M-]]", "[M-]", """\
  [M-]]
      ^
error unopened-group at 4: ']' closes a group that was never opened
  hint: remove it, or put '[' where the group starts"""),
    ("M/-]", "M/-", """\
  M/-]
     ^
error unopened-group at 3: ']' closes a group that was never opened
  hint: remove it, or put '[' where the group starts"""),
    ("[M[*-]]", "M[*-]", """\
  [M[*-]]
    ^
error nested-group at 2: a group inside a group
  hint: a group holds two symbols: write M[*-]"""),
    ("[[M-]]", "[M-]", """\
  [[M-]]
   ^
error nested-group at 1: a group inside a group
  hint: a group holds two symbols: write [M-]"""),
    ("[[[M-]]]", "[M-]", """\
  [[[M-]]]
   ^
error nested-group at 1: a group inside a group
  hint: a group holds two symbols: write [M-]"""),
    ("[[M-][*-]]", "[M-][*-]", """\
  [[M-][*-]]
   ^
error nested-group at 1: a group inside a group
  hint: a group holds two symbols: write [M-][*-]"""),
    ("[[]]", "", """\
  [[]]
   ^
error nested-group at 1: a group inside a group
  hint: a group holds two symbols: remove the brackets"""),
    ("M[]", "M", """\
  M[]
   ^^
error empty-group at 1–2: a group with nothing in it
  hint: remove it; a group holds a sequence mixer and a channel mixer, such as [*-]"""),
    ("[M]", "M", """\
  [M]
  ^^^
error group-size at 0–2: a group holds two symbols, a sequence mixer and a channel mixer, not 1
  hint: one layer needs no brackets: write M"""),
    ("[M-*-]", "[M-][*-]", """\
  [M-*-]
  ^^^^^^
error group-size at 0–5: a group holds two symbols, a sequence mixer and a channel mixer, not 4
  hint: write [M-][*-]"""),
    ("[MM*]", "MM*", """\
  [MM*]
  ^^^^^
error group-size at 0–4: a group holds two symbols, a sequence mixer and a channel mixer, not 3
  hint: remove the brackets"""),
    ("[-*]", "-*", """\
  [-*]
   ^^
error group-order at 1–2: a group starts with a sequence mixer (M G * D +), not with '-' (MLP)
  hint: remove the brackets, or swap the two, [*-], which is another model"""),
    ("[EG]", "EG", """\
  [EG]
   ^^
error group-order at 1–2: a group starts with a sequence mixer (M G * D +), not with 'E' (mixture of experts)
  hint: remove the brackets, or swap the two, [GE], which is another model"""),
    ("[--]", "--", """\
  [--]
   ^
error group-order at 1: a group starts with a sequence mixer (M G * D +), not with '-' (MLP)
  hint: remove the brackets: the two layers cannot share a block"""),
    ("[MM]", "MM", """\
  [MM]
    ^
error group-order at 2: a group ends with a channel mixer (- E), not with 'M' (Mamba-2)
  hint: remove the brackets: the two layers cannot share a block"""),
    ("M[*|-]", "M*|-", """\
  M[*|-]
     ^
error group-crosses-stage at 3: a group cannot hold '|': one block lives on one pipeline stage
  hint: close the group before '|', or move '|' outside the brackets"""),
    ("[M||-]", "M||-", """\
  [M||-]
    ^
error group-crosses-stage at 2: a group cannot hold '|': one block lives on one pipeline stage
  hint: close the group before '|', or move '|' outside the brackets"""),
    ("[|]", "|", """\
  [|]
   ^
error group-crosses-stage at 1: a group cannot hold '|': one block lives on one pipeline stage
  hint: close the group before '|', or move '|' outside the brackets"""),
    ("M[*/-]", "M*/-", """\
  M[*/-]
     ^
error group-crosses-mtp at 3: a group cannot hold '/': no block is shared with MTP, or by two MTP depths
  hint: close the group before '/', or move '/' outside the brackets"""),
    ("[M/-/-]", "M/-/-", """\
  [M/-/-]
    ^
error group-crosses-mtp at 2: a group cannot hold '/': no block is shared with MTP, or by two MTP depths
  hint: close the group before '/', or move '/' outside the brackets"""),
    ("M/*|-", "M/*-", """\
  M/*|-
     ^
error stage-in-mtp at 3: '|' cannot stand in an MTP pattern: MTP layers live on the last stage
  hint: remove it"""),
    ("M/[*|-]", "M/[*-]", """\
  M/[*|-]
      ^
error stage-in-mtp at 4: '|' cannot stand in an MTP pattern: MTP layers live on the last stage
  hint: remove it"""),
]
# fmt: on


@pytest.mark.parametrize(("text", "fixed", "expected"), CASES, ids=[ascii(text) for text, _, _ in CASES])
def test_one_mistake_gives_one_diagnostic_with_this_text_and_its_fix_mends_it(text, fixed, expected):
    assert_one_diagnostic(text, fixed, expected)


def test_the_tree_holds_stages_depths_and_spans():
    tree = parse("M[*-]||E/[M-]/[M-]")
    assert [(stage.start, stage.end) for stage in tree.stages] == [(0, 5), (6, 6), (7, 8)]
    assert [(depth.start, depth.end) for depth in tree.depths] == [(9, 13), (14, 18)]
    single, group = tree.stages[0].items
    assert (single.fused, single.start, single.end) == (False, 0, 1)
    assert (group.fused, group.start, group.end) == (True, 1, 5)
    assert [token.text for token in tree.stages[0].symbols] == ["M", "*", "-"]
    assert tree.problems == ()


def test_every_problem_is_told_at_once_in_order_of_place():
    text = "mQ[][M][-*][M|-]]|[*-"
    assert [entry.code for entry in check(text)] == [
        "unknown-symbol",
        "unknown-symbol",
        "empty-group",
        "group-size",
        "group-order",
        "group-crosses-stage",
        "unopened-group",
        "unclosed-group",
    ]


def test_reading_goes_on_after_a_mistake_as_if_the_least_had_been_meant():
    assert [[token.text for token in stage.symbols] for stage in parse("[M|*Q-]]|[E").stages] == [
        ["M", "*", "-"],
        ["E"],
    ]


def test_a_wrong_character_in_a_group_is_told_without_a_second_word_on_its_size():
    assert [entry.code for entry in check("M[*Q]")] == ["unknown-symbol"]


def test_a_forgotten_bracket_does_not_swallow_the_groups_behind_it():
    assert [entry.code for entry in check("[M-|[*-]|[ME]")] == ["unclosed-group"]
    assert [entry.code for entry in check("[M-[*-][ME]")] == ["unclosed-group"]


# A parser that looks ahead from every bracket takes minutes for these.
@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("[" * 20_000, 20_000),
        ("]" * 20_000, 20_000),
        ("[[]" * 7_000, 14_000),
        ("[|" * 10_000, 10_000),
        ("[" * 10_000 + "]" * 10_000, 1),
        ("[" + "M-" * 10_000 + "]", 1),
        ("[" + "|" * 20_000 + "]", 1),
        ("Q" * 20_000, 1),
        ("M" + "/Q" * 10_000, 10_000),
        ("M" + "/M/-" * 5_000, 5_000),
        ("M/" + "M" * 10_000 + "/-" * 5_000, 5_000),
        ("M/" + "M-" * 5_000 + "/" + "M-" * 5_000, 5_000),
        ("*+" * 10_000, 1),
    ],
    ids=lambda value: f"{value[:6]}" if isinstance(value, str) else str(value),
)
def test_very_long_patterns_are_read_in_linear_time(text, problems):
    diagnostics = check(text)
    assert len(diagnostics) == problems
    assert all(len(entry.message) < 300 and len(entry.hint) < 200 for entry in diagnostics)
