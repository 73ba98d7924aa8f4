"""Micro-batches in flight are what Megatron's own schedules run before their first backward, and one more."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from megatron.core.pipeline_parallel.schedules import get_pp_rank_microbatches

from workbench.cost.ranks import Parallel
from workbench.cost.summary import in_flight


@pytest.mark.parametrize("virtual", [1, 2, 3])
@pytest.mark.parametrize("pipeline", [2, 3, 8])
def test_as_many_as_the_schedule_holds(pipeline: int, virtual: int) -> None:
    for rank in range(pipeline):
        group = SimpleNamespace(size=lambda: pipeline, rank=lambda rank=rank: rank)
        talk = SimpleNamespace(pp_group=group, virtual_pipeline_model_parallel_size=virtual if virtual > 1 else None)
        _, _, warmup, _ = get_pp_rank_microbatches(1000, virtual, pipeline, p2p_communicator=talk)
        assert sum(in_flight(Parallel(pipeline=pipeline), rank, virtual)) == warmup + 1


def test_one_rank_holds_each_stage_once() -> None:
    assert in_flight(Parallel(), 0, 1) == (1,)
    assert in_flight(Parallel(), 0, 3) == (1, 1, 1)
