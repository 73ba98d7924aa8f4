"""`Pattern`: blocks, sub-layers, stages, MTP, counts, pipeline segments, and its behaviour as a value."""

import copy
import pickle

import pytest

from workbench.errors import WorkbenchError
from workbench.pattern.diagnostics import PatternError
from workbench.pattern.model import Pattern

DESIGN = "M[*-]M[ME]|M-*-/[*-]"


def test_blocks_and_sublayers_are_numbered_over_the_whole_main_pattern():
    pattern = Pattern(DESIGN)
    assert [(block.index, block.symbols, block.fused, block.sublayers, block.stage) for block in pattern.blocks] == [
        (0, "M", False, (0,), 0),
        (1, "*-", True, (1, 2), 0),
        (2, "M", False, (3,), 0),
        (3, "ME", True, (4, 5), 0),
        (4, "M", False, (6,), 1),
        (5, "-", False, (7,), 1),
        (6, "*", False, (8,), 1),
        (7, "-", False, (9,), 1),
    ]
    assert [(layer.index, layer.symbol, layer.block) for layer in pattern.sublayers] == [
        (0, "M", 0), (1, "*", 1), (2, "-", 1), (3, "M", 2), (4, "M", 3), (5, "E", 3),
        (6, "M", 4), (7, "-", 5), (8, "*", 6), (9, "-", 7),
    ]  # fmt: skip


def test_blocks_and_sublayers_know_their_place_in_the_text():
    pattern = Pattern(DESIGN)
    for block in pattern.blocks:
        assert DESIGN[block.start : block.end] == str(block)
    for layer in pattern.sublayers:
        assert DESIGN[layer.start] == layer.symbol


def test_a_sublayer_names_its_kind_and_role():
    first, *_, last = Pattern("G[DE]").sublayers
    assert (first.kind, first.name, first.role) == ("gdn", "gated delta net", "sequence mixer")
    assert (last.kind, last.name, last.role) == ("moe", "mixture of experts", "channel mixer")


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("", [""]),
        ("M", ["M"]),
        ("|", ["", ""]),
        ("M||[*-]", ["M", "", "[*-]"]),
        ("M|/E", ["M", ""]),
    ],
)
def test_stages_are_what_lies_between_the_separators(text, stages):
    assert ["".join(map(str, stage)) for stage in Pattern(text).stages] == stages


def test_mtp_numbers_its_own_blocks_and_holds_them_once_for_all_depths():
    mtp = Pattern("MMM/M[*-]/M[*-]").mtp
    assert (mtp.depths, str(mtp)) == (2, "M[*-]")
    assert [(block.index, block.symbols, block.sublayers, block.stage, block.start) for block in mtp.blocks] == [
        (0, "M", (0,), None, 4),
        (1, "*-", (1, 2), None, 5),
    ]
    assert [(layer.index, layer.symbol, layer.block) for layer in mtp.sublayers] == [
        (0, "M", 0),
        (1, "*", 1),
        (2, "-", 1),
    ]


@pytest.mark.parametrize("text", ["M", "M/", "M//", "/"])
def test_without_layers_after_the_slash_there_is_no_mtp(text):
    assert Pattern(text).mtp is None


def test_counts_are_of_the_main_pattern_and_symbol_counts_include_every_mtp_depth():
    pattern = Pattern("M[*-]|ME/[*-]/[*-]")
    assert pattern.counts == {"blocks": 4, "sublayers": 5, "fused": 1, "stages": 2}
    assert pattern.symbol_counts == {"M": 2, "G": 0, "*": 3, "D": 0, "+": 0, "-": 3, "E": 1}
    assert pattern.main == "M[*-]|ME"


@pytest.mark.parametrize("text", ["", "M", DESIGN, "M||M//", "|/[*-]/[*-]"])
def test_a_pattern_round_trips_and_is_a_value(text):
    pattern = Pattern(text)
    assert str(pattern) == pattern.text == text
    assert repr(pattern) == f"Pattern({text!r})"
    for again in (Pattern(str(pattern)), Pattern(pattern), pickle.loads(pickle.dumps(pattern)), copy.deepcopy(pattern)):
        assert again == pattern
        assert hash(again) == hash(pattern)
        assert again.blocks == pattern.blocks
    assert pattern != text
    assert pattern != Pattern(text + "M" if "/" not in text else "M" + text)


def test_the_parts_of_a_pattern_cannot_be_changed():
    pattern = Pattern("M-")
    for change in (
        lambda: setattr(pattern, "text", "E"),
        lambda: setattr(pattern.blocks[0], "fused", True),
        lambda: setattr(pattern.sublayers[0], "symbol", "E"),
    ):
        with pytest.raises(AttributeError):
            change()


@pytest.mark.parametrize("value", [None, 3, b"M", ["M"]])
def test_what_is_no_text_is_a_type_error(value):
    with pytest.raises(TypeError, match="a pattern is a text such as 'M\\[\\*-\\]', not "):
        Pattern(value)


def test_all_errors_are_raised_at_once_and_warnings_are_not_among_them_in_the_text():
    with pytest.raises(PatternError) as caught:
        Pattern("Q[M]")
    assert [entry.code for entry in caught.value.diagnostics] == ["unknown-symbol", "group-size"]


@pytest.mark.parametrize(
    ("text", "unfused", "fused"),
    [
        ("M-M*-ME|-/*-/*-", "M-M*-ME|-/*-/*-", "[M-]M[*-][ME]|-/[*-]/[*-]"),
        ("[M-]-|[*E]", "M--|*E", "[M-]-|[*E]"),
        ("M|-/", "M|-/", "M|-/"),
        ("M-||//", "M-||//", "[M-]||//"),
        ("", "", ""),
    ],
)
def test_fused_and_unfused(text, unfused, fused):
    assert str(Pattern(text).unfused()) == unfused
    assert str(Pattern(text).fused()) == fused


@pytest.mark.parametrize(
    ("text", "arguments", "symbols", "offset"),
    [
        ("M[*-]|ME", (0, 1, 0), "M*-", 0),
        ("M[*-]|ME", (0, 2), "M*-", 0),
        ("M[*-]|ME", (1, 2), "ME", 3),
        ("M|*-||E", (1, 2, 0), "*-", 1),
        ("M|*-||E", (0, 2, 1), "", 3),
        ("M|*-||E", (1, 2, 1), "E", 3),
        ("M|*-", (0, 1, 1), "*-", 1),
        ("[M-][*E]", (1, 2), "*E", 2),
        ("", (3, 4), "", 0),
        ("M-", (0, 1, None), "M-", 0),
    ],
)
def test_a_segment_is_what_one_rank_builds_and_how_many_sublayers_come_before(text, arguments, symbols, offset):
    segment = Pattern(text).segment(*arguments)
    assert (segment.symbols, segment.offset) == (symbols, offset)


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("M|M", (2, 2), "rank 2 is not one of 2 pipeline rank(s)"),
        ("M|M", (-1, 2), "rank -1 is not one of 2 pipeline rank(s)"),
        ("M|M|M", (0, 2), "3 stages cannot be divided over 2 pipeline ranks"),
        ("M|M", (1, 2, 1), "virtual stage 1 of rank 1 is stage 3; the pattern has 2"),
        ("M|M", (0, 2, -1), "virtual stage -1 of rank 0 is stage -2; the pattern has 2"),
        ("MM", (0, 2, 0), "virtual stages need '|' in the pattern to say where each one ends"),
        ("MMM", (0, 2), "3 sub-layers cannot be split evenly over 2 ranks; place '|'"),
        ("M[*-]M", (0, 2), "an even split over 2 ranks would cut [*-] at sub-layers 1 and 2; place '|' between blocks"),
        ("M[*-]M", (1, 2), "an even split over 2 ranks would cut [*-] at sub-layers 1 and 2; place '|' between blocks"),
    ],
)
def test_what_cannot_be_divided_is_refused_with_the_reason(text, arguments, message):
    with pytest.raises(WorkbenchError) as caught:
        Pattern(text).segment(*arguments)
    assert str(caught.value) == message


def test_a_notebook_view_is_taken_when_one_is_set(monkeypatch):
    monkeypatch.setattr(Pattern, "view", None)
    assert Pattern("M")._repr_mimebundle_() == {"text/plain": "Pattern('M')"}
    monkeypatch.setattr(Pattern, "view", lambda pattern: {"text/html": str(pattern)})
    assert Pattern("M")._repr_mimebundle_() == {"text/html": "M"}
