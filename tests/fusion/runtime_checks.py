"""Checks that start and stop the process-wide runtime, for a process of their own: `python -m tests.fusion.runtime_checks`.

Each is a function; the process runs all in order, stops the runtime after each, and prints name → "" or what went wrong.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from typing import Any

import torch

_compile = torch.compile

import workbench.fusion  # noqa: E402, F401

# isort: split
import torch.distributed as dist  # noqa: E402
from megatron.core import parallel_state  # noqa: E402

from workbench.errors import WorkbenchError  # noqa: E402
from workbench.fusion import cpu_platform, runtime  # noqa: E402
from workbench.fusion.model import build_model  # noqa: E402

CHECKS: dict[str, Callable[[], None]] = {}


def check(function: Callable[[], None]) -> Callable[[], None]:
    CHECKS[function.__name__] = function
    return function


def rebound() -> dict[str, Any]:
    return {f"{entry.owner}.{entry.name}": getattr(entry.owner, entry.name) for entry in cpu_platform.substitutes()}


def refused(function: Callable[[], Any]) -> str:
    try:
        function()
    except WorkbenchError as error:
        return str(error)
    raise AssertionError("not refused")


def weights(pattern: str = "[M-][*E]", **options: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in build_model(pattern, **options).parameters()])


@check
def importing_changes_nothing_of_torch() -> None:
    assert torch.compile is _compile
    assert not cpu_platform.installed()
    assert not dist.is_initialized()
    assert runtime.current() is None
    doubled = torch.compile(lambda x: x * 2, backend="eager")
    assert hasattr(doubled, "_torchdynamo_orig_callable")
    assert doubled(torch.ones(2)).tolist() == [2.0, 2.0]


@check
def before_a_start_what_needs_one_says_so() -> None:
    text = "the runtime is not started: call workbench.fusion.runtime.start() first"
    assert refused(runtime.require) == text
    assert refused(lambda: runtime.seed(1)) == text


@check
def starting_again_returns_the_same_runtime() -> None:
    first = runtime.start()
    assert runtime.start() is runtime.current() is runtime.require() is runtime.require_single_process() is first
    assert (first.world_size, first.rank, first.tensor_parallel, first.virtual_pipeline_parallel) == (1, 0, 1, None)
    assert parallel_state.model_parallel_is_initialized()
    assert first.groups.tp.size() == 1


@check
def sizes_that_the_world_cannot_have_are_refused_and_leave_the_runtime_as_it_is() -> None:
    first = runtime.start()
    text = refused(lambda: runtime.start(tensor_parallel=2))
    assert text == (
        "1 process(es) cannot be divided into tensor 2 × pipeline 1 × context 1, expert 1: start as many with torchrun "
        "--nproc-per-node"
    ), text
    assert "expert 4" in refused(lambda: runtime.start(expert_parallel=4))
    assert "pipeline 2" in refused(lambda: runtime.start(pipeline_parallel=2))
    assert runtime.current() is first
    assert parallel_state.model_parallel_is_initialized()
    weights()


@check
def stopping_restores_every_name_and_ends_what_was_started() -> None:
    before = rebound()
    runtime.start()
    if not torch.cuda.is_available():
        assert cpu_platform.installed()
        changed = [name for name, value in rebound().items() if value is not before[name]]
        assert len(changed) >= len(before) - 1, set(before) - set(changed)
    runtime.stop()
    after = rebound()
    assert [name for name in before if after[name] is not before[name]] == []
    assert not cpu_platform.installed()
    assert not dist.is_initialized()
    assert not parallel_state.model_parallel_is_initialized()
    assert runtime.current() is None
    runtime.stop()


@check
def a_runtime_can_be_started_again_after_a_stop() -> None:
    runtime.start()
    first = weights(seed=3)
    runtime.stop()
    assert torch.equal(weights(seed=3), first)


@check
def a_process_group_of_somebody_elses_is_joined_and_left_alone() -> None:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    runtime.start()
    weights()
    runtime.stop()
    assert dist.is_initialized()
    assert not parallel_state.model_parallel_is_initialized()


@check
def parallel_state_of_somebody_elses_is_joined_and_left_alone() -> None:
    parallel_state.initialize_model_parallel()
    group = parallel_state.get_tensor_model_parallel_group()
    running = runtime.start()
    assert runtime.start() is running
    weights()
    runtime.stop()
    assert parallel_state.model_parallel_is_initialized()
    assert parallel_state.get_tensor_model_parallel_group() is group


@check
def parallel_state_of_somebody_elses_with_other_sizes_is_refused() -> None:
    # Of the check before; a world of one process can have no other sizes, so they are claimed.
    claimed = parallel_state._MPU_TENSOR_MODEL_PARALLEL_WORLD_SIZE
    parallel_state._MPU_TENSOR_MODEL_PARALLEL_WORLD_SIZE = 2
    text = refused(runtime.start)
    parallel_state._MPU_TENSOR_MODEL_PARALLEL_WORLD_SIZE = claimed
    assert text == (
        "megatron's parallel state is already initialised with sizes {'tensor': 2, 'pipeline': 1, 'expert': 1, 'context': 1}, not "
        "{'tensor': 1, 'pipeline': 1, 'expert': 1, 'context': 1}: ask for those, or call "
        "megatron.core.parallel_state.destroy_model_parallel() first"
    ), text
    assert parallel_state.model_parallel_is_initialized()
    parallel_state.destroy_model_parallel()
    dist.destroy_process_group()


@check
def a_model_needs_no_seed_and_torchs_decides() -> None:
    found = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        found.append(weights())
        runtime.stop()
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@check
def seeding_makes_models_and_draws_repeat() -> None:
    runtime.start()
    found = []
    for seed in (5, 5, 6):
        runtime.seed(seed)
        found.append((weights(), torch.rand(4)))
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(found[0], found[2], strict=True))


@check
def building_without_a_seed_goes_on_drawing() -> None:
    runtime.start()
    runtime.seed(5)
    assert not torch.equal(weights(), weights())


def main() -> None:
    results = {}
    for name, function in CHECKS.items():
        try:
            function()
            results[name] = ""
        except Exception:
            results[name] = traceback.format_exc()
        runtime.stop()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
