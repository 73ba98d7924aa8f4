"""What one step does, counted: calls of modules and Python functions, torch operators, kernels, and its arithmetic."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import CodeType
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from workbench.compare.throughput.garbage import no_collection
from workbench.compare.throughput.profiling import Event, profiled
from workbench.errors import WorkbenchError

# Everything whose operations torch itself counts: matrix products, convolutions, attention.
ARITHMETIC = frozenset(str(operator).replace(".", "::", 1) for operator in flop_registry) | {
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
}
_COPIES = ("Memcpy", "Memset")  # what the profiler calls them, among kernels

_MODULE_CALL = nn.Module._wrapped_call_impl.__code__


@dataclass(frozen=True)
class Calls:
    """Python functions that were entered, in every thread, and how many of them were the call of a module."""

    python: int
    modules: int


def count_calls(step: Callable[[], object]) -> Calls:
    """Run the step once and count the Python functions it enters; those that torch calls back (backward) are among them.

    `sys.monitoring` counts, not `sys.setprofile`: it sees the threads too in which a GPU's backward runs, and changes
    nothing that modules do. Threads of Python that run already (a progress bar's, a notebook's, a server's) are none of the
    step's, and are not counted. Raises `WorkbenchError` while another profiler holds its place.
    """
    monitoring = sys.monitoring
    entered = {"python": 0, "modules": 0}
    # torch's own threads are no threads of Python, or known to it as dummies.
    others = {thread.ident for thread in threading.enumerate() if not isinstance(thread, threading._DummyThread)}
    others.discard(threading.get_ident())

    def enter(code: CodeType, _: int) -> None:
        if threading.get_ident() in others:
            return
        entered["python"] += 1
        if code is _MODULE_CALL:
            entered["modules"] += 1

    try:
        monitoring.use_tool_id(monitoring.PROFILER_ID, "workbench")
    except ValueError as error:
        raise WorkbenchError(
            "Python calls cannot be counted while another profiler runs in this process: stop it first"
        ) from error
    try:
        with no_collection():  # a collection calls finalizers
            monitoring.register_callback(monitoring.PROFILER_ID, monitoring.events.PY_START, enter)
            monitoring.set_events(monitoring.PROFILER_ID, monitoring.events.PY_START)
            step()
            monitoring.set_events(monitoring.PROFILER_ID, 0)
    finally:
        monitoring.set_events(monitoring.PROFILER_ID, 0)
        monitoring.register_callback(monitoring.PROFILER_ID, monitoring.events.PY_START, None)
        monitoring.free_tool_id(monitoring.PROFILER_ID)
    return Calls(**entered)


def count_operators(step: Callable[[], object]) -> int:
    """Run the step once and count torch's operator calls below autograd, forward and backward."""
    mode = _Operators()
    with mode:
        step()
    return mode.count


class _Operators(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Arithmetic:
    """The share of a step in `ARITHMETIC` operators (on a GPU: in any kernel), and kernel launches (None on a CPU)."""

    share: float
    kernels: int | None


def arithmetic(step: Callable[[], object]) -> Arithmetic:
    """Run the step twice under torch's profiler; what it says of the second.

    Both times are the profiler's: a share of a step timed at another moment would be off by whatever load there was.
    """
    found = profiled(step)
    if torch.cuda.is_available():
        kernels = [event for event in found.events if event.on_device and not event.name.startswith(_COPIES)]
        return Arithmetic(sum(event.duration_ns for event in kernels) / 1e9 / found.seconds, len(kernels))
    return Arithmetic(_outermost_seconds(found.events) / found.seconds, None)


def _outermost_seconds(events: Iterable[Event]) -> float:
    """The time in `ARITHMETIC` operators; one that runs inside of another is not counted twice."""
    total_ns = end_ns = 0
    for event in events:
        if event.name in ARITHMETIC and event.start_ns >= end_ns:
            total_ns += event.duration_ns
            end_ns = event.start_ns + event.duration_ns
    return total_ns / 1e9
