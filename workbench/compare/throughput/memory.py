"""The most memory that a step takes on top of what was there before it, to the byte."""

from __future__ import annotations

from collections.abc import Callable

import torch

from workbench.compare.throughput.garbage import no_collection
from workbench.compare.throughput.profiling import profiled

_RUNS = 3
_MEMORY = "[memory]"  # the profiler's name for an allocation or a release


def peak_bytes(step: Callable[[], object]) -> int:
    """Bytes of the step's tensors at their highest, above the bytes that were live when it began.

    On a CPU every allocation and release of torch's allocator is followed, temporaries inside of operators included. The
    profiler loses one of some thousands now and then, more so under load, and a peak is then off by that tensor: three
    steps are measured, each after another one, six in all, and the one with the most events, which lacks none, is taken.
    On a GPU the step runs once and torch's caching allocator, which rounds up to its blocks, is asked.
    """
    if torch.cuda.is_available():
        with no_collection():
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            step()
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated() - before
    live = peak = 0
    for moved in max((_moves(step) for _ in range(_RUNS)), key=len):
        live += moved
        peak = max(peak, live)
    return peak


def _moves(step: Callable[[], object]) -> list[int]:
    """Bytes that each allocation takes and (negative) each release gives back, in the order of time."""
    return [event.moved_bytes for event in profiled(step, memory=True).events if event.name == _MEMORY]
