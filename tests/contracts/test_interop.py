"""The GPT rules that `workbench.checkpoint.interop` restates are upstream's own, over generated patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from megatron.core.dist_checkpointing.gpt_checkpoint_interop import gpt_compatible_layer_maps

from workbench.checkpoint.interop import from_gpt_refusals, gpt_layers
from workbench.errors import WorkbenchError
from workbench.pattern.checks import check
from workbench.pattern.model import Pattern

# What upstream's reason has in it, and what ours has in its place.
SAME_REASON = {
    "contains MTP layers": "it has MTP layers",
    "pattern is empty": "its main pattern is empty",
    "contains layer types": "cannot be translated",
    "mixes dense": "mixes dense",
    "positions. Each GPT layer provides exactly one": "each GPT layer gives one of both",
}


@st.composite
def patterns(draw):
    """Mostly of the symbols that upstream takes, so that every rule has its turn."""
    symbols = draw(st.sampled_from(["*-", "*-M", "*E", "*E-", "*-G", "M-", "*+-D"]))
    text = "".join(draw(st.lists(st.sampled_from(symbols + "|"), max_size=8)))
    if draw(st.booleans()):
        text = draw(st.sampled_from(["*-", "*E", "M*-", "*M|-"])) * draw(st.integers(1, 3))
    if draw(st.integers(0, 4)) == 0:
        text += draw(st.sampled_from(["/", "/*-", "/M/M"]))
    if any(entry.severity == "error" for entry in check(text)):
        text = "*-"
    return text


def upstreams(text: str):
    try:
        return gpt_compatible_layer_maps(text), None
    except ValueError as error:
        return None, next(ours for theirs, ours in SAME_REASON.items() if theirs in str(error))


def agree(text: str, refusals) -> bool:
    """One and the same judgement, and upstream's reason is the first of ours."""
    _, reason = upstreams(text)
    return (reason is None) == (not refusals) and (reason is None or reason in refusals[0])


@given(patterns())
def test_refusals_are_upstreams(text):
    assert agree(text, from_gpt_refusals(Pattern(text)))


@given(patterns())
def test_maps_are_upstreams(text):
    maps, _ = upstreams(text)
    if maps is None:
        with pytest.raises(WorkbenchError):
            gpt_layers(Pattern(text))
        return
    ours = gpt_layers(Pattern(text))
    assert ours.attention == maps.attention_to_gpt
    assert ours.channel == maps.mlp_to_gpt
    assert ours.fresh == maps.fresh_init
    assert ours.layers == maps.num_gpt_layers


@pytest.mark.parametrize("text", ["*-/*-", "", "*G-", "*-*E", "*--", "M"])
def test_every_rule_is_met(text):
    assert agree(text, from_gpt_refusals(Pattern(text)))
    assert not agree(text, ()), "the comparison can fail"


def test_comparison_sees_another_reason():
    assert not agree("*--", ("it mixes dense (-) and MoE (E) sub-layers",))
    assert not agree("*-", ("it mixes dense (-) and MoE (E) sub-layers",))
