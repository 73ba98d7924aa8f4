"""Exercises: right answers pass, wrong ones are told why without being told the solution, none is not answered yet."""

import pytest

from workbench.errors import WorkbenchError
from workbench.views.exercises import kept_inputs, pattern_with, stored_layer

PATTERN = "M[M-][*-]ME"


def test_no_answer_is_no_mistake():
    for missing in (None, ..., "", "  "):
        for marked in (
            pattern_with(missing, sublayers=6),
            stored_layer(missing, PATTERN, block=2, half="channel mixer"),
            kept_inputs(missing, PATTERN),
        ):
            assert marked.right is None
            assert str(marked).startswith("– not answered yet: Put a ")


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        ("[M-]M[*-]M", {"sublayers": 6, "blocks": 4}),
        ("[*-]|[*-]MM", {"sublayers": 6, "blocks": 4}),
        ("MM[*-]ME", {"like": "MM*-ME", "fused": [(2, 3)]}),
        ("M|[*-]ME", {"like": "M*|-ME", "fused": [(1, 2)], "stages": 2}),
        ("M[*-]|ME", {"like": "M*|-ME", "fused": [(1, 2)], "stages": 2}),
        ("M-M*E", {"like": "[M-]M[*E]", "released": True}),
        ("M*-/*-", {"like": "M[*-]/[*-]"}),
    ],
)
def test_right_patterns(answer, asked):
    marked = pattern_with(answer, **asked)
    assert (marked.right, marked.picture != ()) == (True, True)
    assert str(marked).startswith("✓ right: ")


@pytest.mark.parametrize(
    ("answer", "asked", "why"),
    [
        ("M-M-M-M", {"sublayers": 6, "blocks": 4}, "This has 7 sub-layers, and 6 are asked for"),
        ("M-M-[M-]", {"sublayers": 6, "blocks": 4}, "This has 5 blocks, and 4 are asked for."),
        ("M[M*]-ME", {"sublayers": 6}, "This is not a pattern"),
        ("[MM*-ME", {"sublayers": 6}, "This is not a pattern"),
        (7, {"sublayers": 6}, "A pattern is a text in quotes, such as 'M', and this is 7."),
        ("[M-]*-ME", {"like": "MM*-ME", "fused": [(2, 3)]}, "Sub-layer 1 is '-' here and 'M' in MM*-ME"),
        ("M*-M", {"like": "MM*-ME"}, "This has 4 sub-layers and MM*-ME has 6"),
        ("MM*-ME", {"like": "MM*-ME", "fused": [(2, 3)]}, "Sub-layers 2 and 3 are not in one block yet."),
        ("MM[*-][ME]", {"like": "MM*-ME", "fused": [(2, 3)]}, "Sub-layers 4 and 5 are fused here"),
        ("M[*-]ME", {"like": "M*|-ME", "fused": [(1, 2)], "stages": 2}, "This has 1 stage, and 2 are asked for"),
        ("[M-]M*E", {"like": "[M-]M[*E]", "released": True}, "A released Megatron Core stops at"),
        ("M*-/*-/*-", {"like": "M[*-]/[*-]"}, "The part behind '/' is not that of"),
    ],
)
def test_wrong_patterns_are_told_why(answer, asked, why):
    marked = pattern_with(answer, **asked)
    assert marked.right is False
    assert marked.why.startswith(why)
    assert str(marked).startswith("✗ not right: ")


def test_what_is_no_pattern_is_shown_with_carets_under_it():
    pattern, carets = str(pattern_with("M[-*]", blocks=2)).splitlines()[2:4]
    assert (pattern.strip(), carets.strip()) == ("M[-*]", "^^")
    assert carets.index("^") == pattern.index("-")


def test_the_stored_layer():
    for answer, right, why in (
        (4, True, "It is layers.4, the MLP of [*-]"),
        (2, False, "2 is the number of the block"),
        (3, False, "There, layers.3, is the self-attention of block 2"),
        (5, False, "There, layers.5, is the Mamba-2 of block 3"),
        (7, False, "There are only 7 sub-layers"),
        (-1, False, "There are only 7 sub-layers"),
        ("4", False, "The answer is a whole number, without quotes, and this is '4'."),
        (True, False, "The answer is a whole number"),
    ):
        marked = stored_layer(answer, PATTERN, block=2, half="channel mixer")
        assert (marked.right, marked.why[: len(why)]) == (right, why)
        assert right or "layers.4" not in str(marked)
    assert stored_layer(3, PATTERN, block=2, half="sequence mixer").right


def test_a_question_that_has_no_answer_is_refused():
    with pytest.raises(WorkbenchError, match=r"block 0 of .* has no channel mixer"):
        stored_layer(None, PATTERN, block=0, half="channel mixer")
    with pytest.raises(WorkbenchError, match="there is no block 5"):
        stored_layer(None, PATTERN, block=5, half="channel mixer")


def test_kept_inputs_are_those_that_the_costs_count():
    from workbench import Architecture, ModelSizes
    from workbench.cost.activations import activation_bytes

    text = "M[*-]M[ME]|[M-]*-"
    kept = activation_bytes(Architecture(text, ModelSizes()), sequence_length=64, recompute="full")
    assert kept_inputs(len(kept.blocks), text).right
    for answer, why in (
        (10, "one for each sub-layer"),
        (3, "fused pairs alone"),
        (2, "one for each stage"),
        (5, "symbol on its own"),
    ):
        marked = kept_inputs(answer, text)
        assert marked.right is False
        assert why in marked.why


def test_an_answer_that_is_hostile_is_shown_as_text():
    bundle = pattern_with("<script>alert(1)</script>", blocks=1)._repr_mimebundle_()
    assert "<script>" not in bundle["text/html"]
    assert "&lt;script&gt;" in bundle["text/html"]
    assert (
        "<img onerror"
        not in stored_layer("<img onerror=1>", "M-", block=1, half="channel mixer")._repr_mimebundle_()["text/html"]
    )
