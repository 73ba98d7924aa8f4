"""`estimate` puts the parts together; each part has tests of its own."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from tests.contracts.architectures import random_cases
from workbench.arch.architecture import Architecture
from workbench.arch.presets import presets
from workbench.arch.sizes import ModelSizes
from workbench.cost.activations import activation_bytes
from workbench.cost.flops import flops
from workbench.cost.parameters import parameters
from workbench.cost.ranks import Parallel, rank_memory
from workbench.cost.state import inference_state
from workbench.cost.summary import estimate
from workbench.errors import WorkbenchError

MODEL = "M[*-]M[ME]|M-*-/[*-]"


def test_every_part_is_what_it_is_alone():
    architecture = Architecture(MODEL)
    found = estimate(architecture, sequence_length=256, micro_batch=2)
    assert found.parameters == parameters(architecture)
    assert found.flops == flops(architecture, sequence_length=256)
    assert found.activations == activation_bytes(architecture, sequence_length=256, micro_batch=2)
    assert found.state == inference_state(architecture, context_length=256)
    assert tuple(rank.memory for rank in found.ranks) == rank_memory(architecture, Parallel(pipeline=2))
    assert found.flops_per_token == found.flops.training_per_token
    assert sum(found.stages.stage_costs) == found.flops_per_token


def test_a_rank_holds_the_activations_of_the_micro_batches_in_flight():
    found = estimate(MODEL, sequence_length=256)
    first, last = found.activations.by_stage
    assert [rank.activation_bytes for rank in found.ranks] == [2 * first, last]
    assert [rank.in_flight for rank in found.ranks] == [(2,), (1,)]
    assert found.ranks[0].bytes == found.ranks[0].memory.bytes + 2 * first


def test_virtual_stages_on_one_rank():
    found = estimate("M|M|M|M", parallel=Parallel(pipeline=2), sequence_length=64)
    # Rank 0 runs (2 - 0 - 1)·2 + (2 - 1)·2 + 1 = 5 forwards before its first backward is done.
    assert [rank.in_flight for rank in found.ranks] == [(3, 2), (2, 1)]


def test_a_pattern_without_stages_on_several_ranks():
    found = estimate("M-M-", parallel=Parallel(pipeline=2), sequence_length=64)
    assert str(found.architecture.pattern) == "M-|M-"
    assert len(found.ranks) == len(found.stages.stage_costs) == 2


def test_full_recompute_costs_a_forward_and_saves_activations():
    plain, again = (estimate(MODEL, sequence_length=256, recompute=how) for how in ("none", "full"))
    assert again.flops_per_token > plain.flops_per_token
    assert again.ranks[0].activation_bytes < plain.ranks[0].activation_bytes
    assert again.flops.forward_per_token == plain.flops.forward_per_token


def test_tensor_parallelism_divides_activations_too():
    one, two = (estimate("[*-]", parallel=Parallel(tensor=size), sequence_length=256) for size in (1, 2))
    assert two.ranks[0].activation_bytes < one.ranks[0].activation_bytes


@pytest.mark.parametrize(
    "preset", [each for each in presets() if each.expressible and each.sizes.vocab_size], ids=lambda preset: preset.name
)
def test_every_preset(preset):
    found = estimate(preset.architecture())
    assert found.ranks[0].bytes > found.parameters.total * 18
    # Two FLOPs for each parameter that multiplies, three times: what attention and scans add is on top.
    assert found.flops_per_token > 5.5 * found.parameters.active_without_embedding
    json.dumps(found.to_json(), allow_nan=False)


@given(random_cases())
@settings(max_examples=50, deadline=None)
def test_any_small_model(case):
    pattern, fields = case
    found = estimate(Architecture(pattern, ModelSizes(**fields)), sequence_length=33)
    data = found.to_json()
    assert data["parameters"]["total"] == found.parameters.total
    assert data["memory"]["pipeline_ranks"][0]["total_bytes"] == found.ranks[0].bytes
    json.dumps(data, allow_nan=False)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: estimate(""), "an empty pattern has no layers: there is nothing to count"),
        (lambda: estimate("M", sequence_length=0), "sequence_length must be a whole number of at least 1, not 0"),
        (lambda: estimate("M", micro_batch=0), "micro_batch must be a whole number of at least 1, not 0"),
        (lambda: estimate("M", recompute="half"), "recompute must be none, full, or modules of"),
    ],
)
def test_bad_arguments(call, said):
    with pytest.raises(WorkbenchError) as caught:
        call()
    assert str(caught.value).startswith(said)
