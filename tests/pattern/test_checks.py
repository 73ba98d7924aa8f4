"""Mistakes of a pattern as a whole, and warnings: the whole text of each, and its fix."""

import pytest

from tests.pattern.diagnosing import assert_one_diagnostic
from workbench.pattern.checks import check
from workbench.pattern.diagnostics import render

# (pattern, what its fix makes of it or None, the whole text)
# fmt: off
CASES = [
    ("M/*-/*", "M/*-/*-", """\
  M/*-/*
       ^
error mtp-mismatch at 5: MTP depth 2 is '*', depth 1 is '*-': all depths are one pattern, brackets included
  hint: write '*-' in every depth"""),
    ("M/[*-]/*-", "M/[*-]/[*-]", """\
  M/[*-]/*-
         ^^
error mtp-mismatch at 7–8: MTP depth 2 is '*-', depth 1 is '[*-]': all depths are one pattern, brackets included
  hint: write '[*-]' in every depth"""),
    ("M//*-", "M/*-", """\
  M//*-
   ^
error mtp-mismatch at 1: MTP depth 1 is empty, depth 2 is '*-': all depths are one pattern, brackets included
  hint: remove this '/', or write '*-' in every depth"""),
    ("M/*-/", "M/*-", """\
  M/*-/
      ^
error mtp-mismatch at 4: MTP depth 2 is empty, depth 1 is '*-': all depths are one pattern, brackets included
  hint: remove this '/', or write '*-' in every depth"""),
    ("M/M/MM/M", "M/M/M/M", """\
  M/M/MM/M
      ^^
error mtp-mismatch at 4–5: MTP depth 2 is 'MM', depth 1 is 'M': all depths are one pattern, brackets included
  hint: write 'M' in every depth"""),
    ("*+", None, """\
  *+
   ^
error mixed-attention at 1: '+' (multi-latent attention) cannot meet '*' (self-attention) at 0 in one model
  hint: the main pattern has 1 × '*', 1 × '+': use '*' throughout, or only '+' and 'D'"""),
    ("*|M|DD+", None, """\
  *|M|DD+
      ^
error mixed-attention at 4: 'D' (DeepSeek sparse attention) cannot meet '*' (self-attention) at 0 in one model
  hint: the main pattern has 1 × '*', 1 × '+', 2 × 'D': use '*' throughout, or only '+' and 'D'"""),
    ("+[D-]*", None, """\
  +[D-]*
       ^
error mixed-attention at 5: '*' (self-attention) cannot meet '+' (multi-latent attention) at 0 in one model
  hint: the main pattern has 1 × '*', 1 × '+', 1 × 'D': use '*' throughout, or only '+' and 'D'"""),
    ("M/+*", None, """\
  M/+*
     ^
error mixed-attention at 3: '*' (self-attention) cannot meet '+' (multi-latent attention) at 2 in one model
  hint: the MTP pattern has 1 × '*', 1 × '+': use '*' throughout, or only '+' and 'D'"""),
    ("", None, "  \n" """\
  ^
warning empty-pattern at 0: the main pattern has no layers
  hint: write a layer, such as M"""),
    ("||", None, """\
  ||
  ^^
warning empty-pattern at 0–1: the main pattern has no layers
  hint: write a layer, such as M"""),
    ("/M", None, """\
  /M
  ^
warning empty-pattern at 0: the main pattern has no layers
  hint: write a layer, such as M"""),
    ("M||M", "M|M", """\
  M||M
   ^
warning empty-stage at 1: stage 1 is empty: a pipeline stage without layers
  hint: remove one '|' unless the empty stage is meant"""),
    ("M/", "M", """\
  M/
   ^
warning empty-mtp at 1: nothing after '/': the model has no MTP layers
  hint: remove '/', or write the MTP pattern after it"""),
    ("M//", "M", """\
  M//
   ^^
warning empty-mtp at 1–2: nothing after '/': the model has no MTP layers
  hint: remove '/', or write the MTP pattern after it"""),
    ("MM-", "M[M-]", """\
  MM-
   ^^
warning unfused-pair at 1–2: M- could be one block, [M-]: same model, same checkpoint
  hint: write [M-]"""),
    ("M[*-]-GE", "M[*-]-[GE]", """\
  M[*-]-GE
        ^^
warning unfused-pair at 6–7: GE could be one block, [GE]: same model, same checkpoint
  hint: write [GE]"""),
    ("M/*-", "M/[*-]", """\
  M/*-
    ^^
warning unfused-pair at 2–3: *- could be one block, [*-]: same model, same checkpoint
  hint: write [*-]"""),
    ("M/*-/*-", "M/[*-]/[*-]", """\
  M/*-/*-
    ^^
warning unfused-pair at 2–3: *- could be one block, [*-]: same model, same checkpoint
  hint: write [*-], in every depth"""),
    ("M/[M-]*-/[M-]*-", "M/[M-][*-]/[M-][*-]", """\
  M/[M-]*-/[M-]*-
        ^^
warning unfused-pair at 6–7: *- could be one block, [*-]: same model, same checkpoint
  hint: write [*-], in every depth"""),
]
# fmt: on


@pytest.mark.parametrize(("text", "fixed", "expected"), CASES, ids=[ascii(text) for text, _, _ in CASES])
def test_one_mistake_gives_one_diagnostic_with_this_text_and_its_fix_mends_it(text, fixed, expected):
    assert_one_diagnostic(text, fixed, expected)


# fmt: off
AUTO_SPLIT = [
    ("MMMM", "MM|MM", """\
  MMMM
  ^^^^
warning auto-split at 0–3: no '|' on 2 pipeline ranks: megatron splits 4 sub-layers evenly (deprecated)
  hint: write MM|MM"""),
    ("[M-][*E]/M", "[M-]|[*E]/M", """\
  [M-][*E]/M
  ^^^^^^^^
warning auto-split at 0–7: no '|' on 2 pipeline ranks: megatron splits 4 sub-layers evenly (deprecated)
  hint: write [M-]|[*E]"""),
    ("MMM", None, """\
  MMM
  ^^^
warning auto-split at 0–2: no '|' on 2 pipeline ranks: megatron cannot split 3 sub-layers evenly
  hint: place '|' where each stage ends"""),
    ("M[*-]M", None, """\
  M[*-]M
  ^^^^^^
warning auto-split at 0–5: no '|' on 2 pipeline ranks: an even split of 4 sub-layers would cut a fused block
  hint: place '|' where each stage ends"""),
]
# fmt: on


@pytest.mark.parametrize(("text", "fixed", "expected"), AUTO_SPLIT)
def test_a_pattern_without_stages_on_several_ranks_is_told_how_it_will_be_split(text, fixed, expected):
    (only,) = check(text, pipeline_size=2)
    assert render(text, [only]) == expected
    assert (only.fix and only.fix.apply(text)) == fixed


def test_one_rank_or_written_stages_are_no_auto_split():
    assert check("MMMM", pipeline_size=1) == ()
    assert check("MM|MM", pipeline_size=2) == ()


@pytest.mark.parametrize(
    ("text", "places"), [("||M", [0, 1]), ("M|||", [1, 2, 3]), ("|M|", [0, 2]), ("||M||M||", [0, 1, 3, 6, 7])]
)
def test_each_empty_stage_points_at_a_separator_of_its_own(text, places):
    diagnostics = check(text)
    assert [(entry.code, entry.start) for entry in diagnostics] == [("empty-stage", place) for place in places]
    for entry in diagnostics:
        assert len(check(entry.fix.apply(text))) == len(places) - 1


def test_an_error_silences_the_warnings():
    assert [entry.code for entry in check("M-||Q")] == ["unknown-symbol"]


def test_a_faulty_depth_is_told_about_its_own_mistake_only():
    assert [entry.code for entry in check("M/Q/*-")] == ["unknown-symbol"]


def test_mixed_attention_is_told_for_the_main_pattern_and_for_mtp_each():
    assert [(entry.code, entry.start) for entry in check("*+/+*/+*")] == [
        ("mixed-attention", 1),
        ("mixed-attention", 4),
    ]


@pytest.mark.parametrize("text", ["+D", "*/+", "+/*", "*|*/D+/D+"])
def test_families_that_megatron_builds_together_pass(text):
    assert not [entry for entry in check(text) if entry.severity == "error"]
