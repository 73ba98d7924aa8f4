"""torch's profiler over one step: raw events, without what the library behind it writes to standard error."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from workbench.compare.throughput.garbage import no_collection

_MEASURED = "workbench::measured"

# What torch's allocator writes when something from before the profile is released in it; `profiled` runs its step twice
# for that reason.
_KNOWN = b"Memory block of unknown size was allocated before the profiling started"


@dataclass(frozen=True)
class Event:
    """`start_ns` on the profiler's clock; `moved_bytes` is what a "[memory]" event allocates (negative: frees)."""

    name: str
    start_ns: int
    duration_ns: int
    moved_bytes: int
    on_device: bool


@dataclass(frozen=True)
class Profiled:
    """How long the measured step took under the profiler, and its events in the order of time."""

    seconds: float
    events: tuple[Event, ...]


def profiled(step: Callable[[], object], *, memory: bool = False) -> Profiled:
    """Run the step twice under the profiler; the second is the measured one.

    The first is there since the profiler cannot see that something goes which came before it: what a step leaves behind
    for the next one to replace is then known too.
    """
    # Read once, when the profiler first runs: without it, it reports its own start and a missing GPU as errors.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with (
        no_collection() as collect,
        _without_known_lines(),
        profile(activities=activities, profile_memory=memory) as run,
    ):
        step()
        collect()  # what only a collection releases is not live when the measured step begins
        with record_function(_MEASURED):
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
    events = sorted(_events(run), key=lambda event: event.start_ns)
    marker = next(event for event in events if event.name == _MEASURED and not event.on_device)
    end = marker.start_ns + marker.duration_ns
    inside = (event for event in events if marker.start_ns <= event.start_ns <= end and event.name != _MEASURED)
    return Profiled(marker.duration_ns / 1e9, tuple(inside))


def _events(run: Any) -> Iterator[Event]:
    for event in run.profiler.kineto_results.events():
        on_device = event.device_type() == torch.autograd.DeviceType.CUDA
        yield Event(event.name(), event.start_ns(), event.duration_ns(), event.nbytes(), on_device)


@contextmanager
def _without_known_lines() -> Iterator[None]:
    """Standard error of the whole process goes to a file meanwhile, and from there to where it was, less the known lines."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as lines:
        os.dup2(lines.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            lines.seek(0)
            for line in lines:
                if _KNOWN not in line:
                    os.write(2, line)
