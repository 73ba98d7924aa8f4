"""Rewrites: fuse and unfuse at one place, and the folded form for display."""

import re

import pytest

from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern
from workbench.pattern.rewrites import compressed, fuse_all, fuse_at, unfuse_at


@pytest.mark.parametrize(
    ("text", "sublayer", "fused"),
    [
        ("M-M-", 0, "[M-]M-"),
        ("M-M-", 2, "M-[M-]"),
        ("[M-]*E|M-/*-", 2, "[M-][*E]|M-/*-"),
        ("M|*-|/", 1, "M|[*-]|/"),
    ],
)
def test_one_place_is_fused_and_taken_apart_again(text, sublayer, fused):
    pattern = Pattern(text)
    assert str(fuse_at(pattern, sublayer)) == fused
    assert unfuse_at(Pattern(fused), sublayer) == pattern
    assert unfuse_at(Pattern(fused), sublayer + 1) == pattern


@pytest.mark.parametrize(
    ("text", "sublayer", "message"),
    [
        ("M-", 2, "the main pattern has no sub-layer 2: it has 2, numbered 0 to 1"),
        ("M-", 1, "the main pattern has no sub-layer 2: it has 2, numbered 0 to 1"),
        ("M-", -1, "the main pattern has no sub-layer -1: it has 2, numbered 0 to 1"),
        ("/M-", 0, "the main pattern has no sub-layer 0: it has none"),
        ("[M-]-", 0, "sub-layers 0 and 1 are one block already: [M-]"),
        ("[M-]-", 1, "sub-layer 1 is in the fused block [M-] already; unfuse that one first"),
        ("M[M-]", 0, "sub-layer 1 is in the fused block [M-] already; unfuse that one first"),
        ("M|-", 0, "sub-layers 0 and 1 are on different pipeline stages"),
        ("-M", 0, "sub-layers 0 and 1 are -M: a block is a sequence mixer, then a channel mixer"),
    ],
)
def test_what_cannot_be_fused_is_refused_with_the_reason(text, sublayer, message):
    with pytest.raises(WorkbenchError) as caught:
        fuse_at(Pattern(text), sublayer)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "sublayer", "message"),
    [
        ("M[M-]", 0, "sub-layer 0 (M) stands alone: there is nothing to take apart"),
        ("M[M-]", 3, "the main pattern has no sub-layer 3: it has 3, numbered 0 to 2"),
    ],
)
def test_what_is_not_fused_cannot_be_taken_apart(text, sublayer, message):
    with pytest.raises(WorkbenchError) as caught:
        unfuse_at(Pattern(text), sublayer)
    assert str(caught.value) == message


def test_fuse_all_completes_a_partly_fused_pattern():
    assert str(fuse_all(Pattern("M[*-]M-|E/[M-]*-/[M-]*-"))) == "M[*-][M-]|E/[M-][*-]/[M-][*-]"


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("", ""),
        ("MM", "MM"),
        ("MMM", "M×3"),
        ("M-M-", "M-M-"),
        ("M-M-M-", "(M-)×3"),
        ("[M-][M-]", "[M-][M-]"),
        ("[M-][M-][M-]", "[M-]×3"),
        ("M-M-M-M-*-", "(M-)×4*-"),
        ("M[*-]M[*-]|MMMM||E/M-M-/M-M-", "(M[*-])×2|M×4||E/M-M-/M-M-"),
        ("MMM*-MMM*-", "(MMM*-)×2"),
        ("M/", "M"),
    ],
)
def test_repeats_are_folded_inside_a_stage(text, short):
    assert compressed(Pattern(text)) == short


def test_unfolding_a_folded_pattern_gives_the_pattern():
    text = "MMM*-MEMMM*-ME-E-E-EG|M-M-M-" * 3
    short = compressed(Pattern(text))
    assert len(short) < len(text)
    unfolded = re.sub(r"\(([^()]+)\)×(\d+)|(.)×(\d+)", lambda m: (m[1] or m[3]) * int(m[2] or m[4]), short)
    assert unfolded == text


@pytest.mark.parametrize("text", ["M" * 10_000, "M-" * 5_000, "".join("M" * n + "-" for n in range(140))])
def test_a_very_long_pattern_is_folded_without_searching_every_period(text):
    assert len(compressed(Pattern(text))) < len(text)
