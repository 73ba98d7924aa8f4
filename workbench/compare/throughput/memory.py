"""The most memory that a step takes on top of what was there before it, to the byte."""

from __future__ import annotations

from collections.abc import Callable

import torch

from workbench.compare.throughput.garbage import no_collection
from workbench.compare.throughput.profiling import profiled

_MEMORY = "[memory]"  # the profiler's name for an allocation or a release


def peak_bytes(step: Callable[[], object]) -> int:
    """Bytes of the step's tensors at their highest, above the bytes that were live when it began.

    On a CPU every allocation and release of torch's allocator is followed, temporaries inside of operators included, while
    the step runs twice; it is the second that is measured. On a GPU the step runs once and torch's caching allocator, which
    rounds up to its blocks, is asked.
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
    for event in profiled(step, memory=True).events:
        if event.name == _MEMORY:
            live += event.moved_bytes
            peak = max(peak, live)
    return peak
