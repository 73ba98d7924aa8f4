"""What megatron-core needs in place of CUDA while a model runs on a CPU. Installed by `runtime.start`, never on a CUDA host.

Every substitute stands in one table, `substitutes()`, with the upstream line that asks for it. `install()` puts them in
place once, `uninstall()` restores what was there. Nothing of megatron-core's files or classes is rewritten: each entry
rebinds one module attribute that names a CUDA facility.

Literal `device="cuda"` arguments in optimizers and checkpoint code cannot be rebound; `cuda_literals_on_cpu()`
redirects them for the length of a `with` block (a `TorchFunctionMode`, about a quarter slower, so only around those
calls).
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from megatron.core.dist_checkpointing.strategies import filesystem_async
from megatron.core.fusions import fused_softmax
from megatron.core.pipeline_parallel import schedules
from megatron.core.tensor_parallel import random as megatron_random
from torch.overrides import TorchFunctionMode

from workbench.fusion.cpu_rng import CpuRNGStatesTracker


@dataclass(frozen=True)
class Substitute:
    """One rebound name: `owner.name` becomes `value` because `upstream` (file:line of megatron-core 0.19.2) asks for CUDA."""

    owner: Any
    name: str
    value: Any
    upstream: str
    why: str

    def __str__(self) -> str:
        owner = self.owner.__name__ if isinstance(self.owner, ModuleType | type) else type(self.owner).__name__
        return f"{owner}.{self.name}: {self.why} ({self.upstream})"


# --------------------------------------------------------------------------------------- the values


class _Stream:
    """A CUDA stream or event with nothing to wait for: on a CPU every operation has finished when it returns."""

    cuda_stream = 0

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def record(self, *_: Any) -> None: ...

    def synchronize(self) -> None: ...

    def wait(self, *_: Any) -> None: ...

    def wait_event(self, *_: Any) -> None: ...

    def wait_stream(self, *_: Any) -> None: ...

    def record_event(self, *_: Any) -> _Stream:
        return self

    def query(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Stream)

    def __hash__(self) -> int:
        return 0


class _TorchWithoutCuda:
    """The `torch` that `schedules.py` sees: `torch.zeros(device="cuda")` allocates on the CPU, all else is torch."""

    @staticmethod
    def zeros(*size: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
        return torch.zeros(*size, device=_on_cpu(device), **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


class _SharedStorage:
    """`CheckpointWithoutOutput` re-fills a released output through a C++ extension; a copy does the same here."""

    @staticmethod
    def share_storage(destination: torch.Tensor, source: torch.Tensor) -> None:
        into, out_of = destination.untyped_storage(), source.untyped_storage()
        into.resize_(out_of.nbytes())
        into.copy_(out_of)


@lru_cache(maxsize=64)
def _causal_mask(sq: int) -> torch.Tensor:
    """Bool [sq, sq], True above the diagonal: what may not be attended to."""
    return torch.ones(sq, sq, dtype=torch.bool).triu(diagonal=1)


def _sliding_window_mask(sq: int, skv: int, window_size: Sequence[int]) -> torch.Tensor:
    """Bool [sq, skv], True outside the window of `window_size` = (left, right) keys around the query."""
    behind = torch.ones(sq, skv, dtype=torch.bool).triu(diagonal=skv - sq - window_size[0])
    return ~behind.tril(diagonal=skv - sq + window_size[1])


def _cpu_device() -> torch.device:
    return torch.device("cpu")


def _no_cuda_rng_state(device: Any = "cuda", clone: bool = False, graph_safe: bool = False) -> None:
    return None


def _set_no_cuda_rng_state(new_state: Any, device: Any = -1, graph_safe: bool = False) -> None:
    return None


def _nothing(*_: Any, **__: Any) -> None:
    return None


# ---------------------------------------------------------------------------------------- the table


def substitutes() -> tuple[Substitute, ...]:
    """Everything that `install` rebinds, most necessary first."""
    stream = _Stream()
    random, cuda = megatron_random, torch.cuda
    recompute_init = megatron_random.CheckpointWithoutOutput.__init__
    return (
        Substitute(cuda, "current_device", _cpu_device, "transformer/attention.py:530", "the device of new tensors"),
        Substitute(
            random,
            "_CUDA_RNG_STATE_TRACKER",
            CpuRNGStatesTracker(),
            "tensor_parallel/random.py:303",
            "random streams",
        ),
        Substitute(random, "_CUDA_RNG_STATE_TRACKER_INITIALIZED", True, "tensor_parallel/random.py:371", "the same"),
        Substitute(
            fused_softmax,
            "get_default_causal_mask",
            _causal_mask,
            "transformer/utils.py:39",
            "the causal mask",
        ),
        Substitute(
            fused_softmax,
            "get_sliding_window_causal_mask",
            _sliding_window_mask,
            "transformer/utils.py:44",
            "the sliding-window mask",
        ),
        Substitute(random, "_get_cuda_rng_state", _no_cuda_rng_state, "tensor_parallel/random.py:104", "recompute"),
        Substitute(
            random,
            "_set_cuda_rng_state",
            _set_no_cuda_rng_state,
            "tensor_parallel/random.py:135",
            "recompute",
        ),
        Substitute(
            recompute_init,
            "__defaults__",
            (None,),
            "tensor_parallel/random.py:693",
            "recompute: fp8 is off, not unknown",
        ),
        Substitute(
            random,
            "_share_storage_ext",
            _SharedStorage,
            "tensor_parallel/random.py:66",
            "recompute without a C++ build",
        ),
        Substitute(schedules, "torch", _TorchWithoutCuda(), "pipeline_parallel/schedules.py:749", "token counters"),
        Substitute(
            filesystem_async,
            "_results_queue",
            queue.Queue(),
            "dist_checkpointing/strategies/filesystem_async.py:65",
            "saving without a spawned manager process",
        ),
        Substitute(cuda, "Stream", _Stream, "distributed/param_and_grad_buffer.py:632", "streams"),
        Substitute(cuda, "Event", _Stream, "transformer/moe/moe_layer.py:434", "events"),
        Substitute(
            cuda,
            "current_stream",
            lambda device=None: stream,
            "distributed/param_and_grad_buffer.py:632",
            "streams",
        ),
        Substitute(
            cuda,
            "default_stream",
            lambda device=None: stream,
            "distributed/param_and_grad_buffer.py:632",
            "streams",
        ),
        Substitute(
            cuda,
            "stream",
            lambda stream: contextlib.nullcontext(),
            "distributed/param_and_grad_buffer.py:686",
            "streams",
        ),
        Substitute(
            cuda,
            "synchronize",
            _nothing,
            "dist_checkpointing/strategies/filesystem_async.py:248",
            "nothing to wait for",
        ),
        Substitute(cuda, "empty_cache", _nothing, "optimizer/optimizer.py:573", "no device cache"),
    )


_replaced: list[tuple[Any, str, Any]] = []


def installed() -> bool:
    """True while the substitutes are in place."""
    return bool(_replaced)


def install() -> tuple[Substitute, ...]:
    """Put every substitute in place; a second call changes nothing. Returns what is substituted."""
    table = substitutes()
    if not _replaced:
        for entry in table:
            _replaced.append((entry.owner, entry.name, getattr(entry.owner, entry.name)))
            setattr(entry.owner, entry.name, entry.value)
    return table


def uninstall() -> None:
    """Restore every name that `install` rebound."""
    while _replaced:
        owner, name, value = _replaced.pop()
        setattr(owner, name, value)


# ------------------------------------------------------------------------------- device="cuda" literals


def _on_cpu(device: Any) -> Any:
    is_cuda = (isinstance(device, str) and device.startswith("cuda")) or (
        isinstance(device, torch.device) and device.type == "cuda"
    )
    return "cpu" if is_cuda else device


class _CudaLiteralsOnCpu(TorchFunctionMode):
    """Redirects `device="cuda"`, `.cuda()` and the `'torch.cuda.FloatTensor'` type names that optimizers compare."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if "device" in kwargs:
            kwargs["device"] = _on_cpu(kwargs["device"])
        if func is torch.Tensor.cuda:
            return args[0]
        if func is torch.Tensor.type and len(args) == 1 and not kwargs:
            return func(*args).replace("torch.", "torch.cuda.")
        if func is torch.Tensor.to:
            args = (args[0], *map(_on_cpu, args[1:]))
        return func(*args, **kwargs)


@contextlib.contextmanager
def cuda_literals_on_cpu() -> Iterator[None]:
    """Inside, literal CUDA devices mean the CPU (`optimizer/optimizer.py:698, 1249`); on a CUDA host, nothing happens."""
    if not installed():
        yield
        return
    with _CudaLiteralsOnCpu():
        yield
