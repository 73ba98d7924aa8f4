"""What a checkpoint can become: the reasons in full, and the way back to GPT, which upstream has no rule for."""

from __future__ import annotations

import pytest

from workbench.checkpoint.interop import (
    from_gpt_refusals,
    fusions,
    gpt_layers,
    grouped_refusals,
    options,
    to_gpt_refusals,
)
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern


def test_every_reason_is_said():
    assert from_gpt_refusals(Pattern("G*-*E/*-")) == (
        "it has MTP layers (/*-), which have no source weights in a GPT checkpoint",
        "it has gated delta net (G) sub-layers, whose weights cannot be translated from a GPT checkpoint",
        "it mixes dense (-) and MoE (E) sub-layers: a GPT checkpoint has one kind of MLP on every layer",
    )


def test_the_error_has_every_reason():
    with pytest.raises(WorkbenchError, match=r"MTP layers .*; .* 2 self-attention \(\*\) and 1 MLP"):
        gpt_layers(Pattern("**-/*"))


def test_layers_go_by_their_own_count():
    found = gpt_layers(Pattern("M*[*-]|M-"))
    assert (found.attention, found.channel, found.fresh, found.layers) == ({1: 0, 2: 1}, {3: 0, 5: 1}, {0, 4}, 2)


@pytest.mark.parametrize("text", ["*-", "[*-][*-]", "*E*E", "*-|[*-]"])
def test_what_computes_the_same_can_become_gpt(text):
    assert to_gpt_refusals(Pattern(text)) == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("M*-M", "its Mamba-2 sub-layers have no place in a GPT model"),
        ("-*", "sub-layer 0 is MLP"),
        ("**--", "sub-layer 1 is self-attention"),
        ("+-", "multi-latent attention (+)"),
    ],
)
def test_what_would_lose_or_change_something_cannot(text, reason):
    assert reason in "; ".join(to_gpt_refusals(Pattern(text)))


def test_groups_in_mtp_are_refused_by_the_newer_dialect():
    assert grouped_refusals(Pattern("M[*-]/*-")) == ()
    assert "/[*-]" in grouped_refusals(Pattern("M*-/[*-]"))[0]


def test_fusions_are_counted_by_pairs():
    assert [fusions(Pattern(text)) for text in ("", "M", "M-", "[M-]M*-", "M-|*-/[*-]", "M|-")] == [1, 1, 2, 4, 8, 1]


def test_options_of_a_hybrid():
    fused, gpt, grouped = options(Pattern("M-M*-/*-"))
    assert (fused.to, fused.possible, fused.pattern) == ("fused", True, "[M-]M[*-]/[*-]")
    assert fused.text.startswith("8 fusions")
    assert (gpt.to, gpt.possible, len(gpt.reasons)) == ("gpt", False, 3)
    assert (grouped.to, grouped.possible, grouped.pattern) == ("grouped", True, "[M-]M[*-]/*-")


def test_options_of_a_gpt_model():
    _, hybrid, _ = options(Pattern("[*-][*-]"), gpt=True)
    assert hybrid.to == "hybrid"
    assert hybrid.text.startswith("any pattern of 2 *, 2 -, and as many M as you like")


def test_nothing_to_fuse():
    assert not options(Pattern("MM"))[0].possible


@pytest.mark.parametrize(
    ("text", "reason"), [("[G-][*-]", "gated delta net (G)"), ("[+E]", "(+)"), ("[*-][*E]", "mixes")]
)
def test_a_gpt_model_that_megatron_does_not_translate(text, reason):
    _, hybrid, _ = options(Pattern(text), gpt=True)
    assert (hybrid.to, hybrid.possible, hybrid.pattern) == ("hybrid", False, "")
    assert reason in hybrid.text
    assert "--to canonical" in hybrid.reasons[-1]


def test_the_mtp_of_a_gpt_model_is_left_behind():
    _, hybrid, _ = options(Pattern("[*-]/*-"), gpt=True)
    assert hybrid.possible
    assert "without MTP" in hybrid.text
