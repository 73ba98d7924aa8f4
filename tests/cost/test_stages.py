"""The cost of the stages of an architecture, and where their boundaries would be best."""

from __future__ import annotations

import pytest

from workbench.arch.architecture import Architecture
from workbench.arch.presets import preset
from workbench.arch.sizes import ModelSizes
from workbench.cost.flops import flops
from workbench.cost.parameters import parameters
from workbench.cost.stages import best_stages, counted_stages, present_stages, staged
from workbench.errors import WorkbenchError


@pytest.mark.parametrize("pattern", ["M|[*-]|E", "M|[*-]|E/[*E]/[*E]", "M*-"])
def test_stages_cost_what_the_model_costs(pattern):
    architecture = Architecture(pattern)
    counted = flops(architecture, sequence_length=512)
    found = present_stages(architecture, sequence_length=512)
    assert sum(found.stage_costs) == counted.forward_per_token + counted.backward_per_token
    assert counted_stages(counted) == found
    assert present_stages(architecture, by="parameters").stage_costs == parameters(architecture).by_stage


def test_mtp_and_the_output_layer_weigh_on_the_last_stage():
    plain, mtp = (present_stages(Architecture(text)).stage_costs for text in ("M|M", "M|M/[*-]"))
    assert plain[0] == mtp[0] < plain[1] < mtp[1]


def test_the_best_stages_are_no_slower_than_an_even_split():
    architecture = preset("nemotron-h-56b").architecture()
    even = present_stages(staged(architecture, 2))
    best = best_stages(architecture, 2)
    assert max(best.stage_costs) <= max(even.stage_costs)
    assert sum(best.stage_costs) == sum(even.stage_costs)


def test_a_published_model_into_16_stages():
    architecture = preset("nemotron-h-56b").architecture()
    best = best_stages(Architecture(architecture.pattern.fused(), architecture.sizes), 16)
    assert len(best.pattern.stages) == 16
    assert best.pattern.counts["fused"] == 54
    # Pairs are heavy pieces: 64 of them cannot be dealt out as evenly as 118 sub-layers.
    assert 0.8 < best.efficiency < best_stages(architecture, 16).efficiency


def test_bracketed_pairs_stay_together():
    best = best_stages(Architecture("[M-]" * 3), 2, by="parameters")
    assert [len(stage) for stage in best.pattern.stages] in ([1, 2], [2, 1])


def test_staged_splits_as_megatron_does():
    assert str(staged(Architecture("M-M-/*"), 2).pattern) == "M-|M-/*"
    assert staged(Architecture("M|M"), 2).pattern == Architecture("M|M").pattern
    with pytest.raises(WorkbenchError, match="3 sub-layers cannot be split evenly over 2 ranks"):
        staged(Architecture("MMM"), 2)


def test_bad_arguments():
    with pytest.raises(WorkbenchError, match=r"^by must be one of flops, parameters, not 'bytes'$"):
        present_stages(Architecture("M"), by="bytes")
    with pytest.raises(WorkbenchError, match="sequence_length"):
        best_stages(Architecture("M", ModelSizes()), 2, sequence_length=0)
