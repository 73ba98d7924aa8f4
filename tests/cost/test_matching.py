"""Patterns at equal cost: what is solved for, what is left alone, and what cannot be reached."""

import pytest

from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.cost.flops import flops
from workbench.cost.matching import match
from workbench.cost.parameters import parameters
from workbench.errors import WorkbenchError

PATTERNS = ["M[*-]M[ME]", "MMMM", "M*MM", "[M-][*-]", "GG", "[G-][*-]", "****", "[+-][+E]"]
# What a layer can remember: nothing of it may be solved for.
KEPT = (
    "hidden_size",
    "mamba_state_dim",
    "mamba_head_dim",
    "attention_head_dim",
    "gdn_key_head_dim",
    "gdn_value_head_dim",
)


# A group of heads of `GG` and of `****` is 8 % of their FLOPs here: no number of heads comes closer than half of that.
@pytest.mark.parametrize(("equal", "tolerance"), [("parameters", 0.03), ("flops", 0.045)])
def test_every_pattern_reaches_the_cost_of_the_first(equal, tolerance):
    given = ModelSizes(hidden_size=128, ffn_hidden_size=256)
    found = match(PATTERNS, given, equal=equal, sequence_length=64, tolerance=tolerance)
    for entry in found:
        architecture = Architecture(entry.pattern, entry.sizes)
        assert entry.parameters == parameters(architecture).total
        assert entry.flops_per_token == flops(architecture, sequence_length=64).training_per_token
        assert abs(entry.off) <= tolerance
        assert {name: getattr(entry.sizes, name) for name in KEPT} == {name: getattr(given, name) for name in KEPT}
    reached = [entry.parameters if equal == "parameters" else entry.flops_per_token for entry in found]
    assert max(reached) / min(reached) < 1.09
    assert found[0].off == 0 or found[0].sizes != given


def test_sequence_mixers_stay_as_they_are_where_channel_mixers_suffice():
    first, second = match(["MMMM", "[M-][*-]"], ModelSizes(hidden_size=64))
    assert first.sizes == ModelSizes(hidden_size=64)
    assert second.sizes.mamba_heads == first.sizes.mamba_heads
    assert second.sizes.num_attention_heads == 4
    assert second.sizes.ffn_hidden_size % 8 == 0


def test_a_target_of_its_own():
    (entry,) = match(["[*-][*-]"], ModelSizes(hidden_size=64), target=200_000)
    assert abs(entry.parameters / 200_000 - 1) <= 0.03


def test_equal_sizes_solves_nothing():
    given = ModelSizes(hidden_size=64)
    assert [entry.sizes for entry in match(["M", "[*-]"], given, equal="sizes")] == [given, given]


def test_a_cost_that_cannot_be_reached_is_an_error_that_says_how_far_it_came():
    with pytest.raises(WorkbenchError, match=r"'\[\*-\]' comes within .*% of the cost 1,000, not 3.0%"):
        match(["[*-]"], target=1_000)


@pytest.mark.parametrize(("patterns", "equal"), [([], "parameters"), (["M"], "size")])
def test_what_cannot_be_asked(patterns, equal):
    with pytest.raises(WorkbenchError):
        match(patterns, equal=equal)
