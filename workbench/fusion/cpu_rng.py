"""Megatron's named random streams on the CPU generator. Used by `cpu_platform`, on hosts without CUDA only.

megatron-core keeps one random stream a parallelism domain (`megatron/core/tensor_parallel/random.py:229`) and swaps
it into the CUDA generator for the length of a `fork()`. Here the same streams are swapped into torch's default CPU
generator, so initialisation and dropout differ between tensor-parallel ranks, and agree between data-parallel ones,
exactly as on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from megatron.core.tensor_parallel.random import _MODEL_PARALLEL_RNG_TRACKER_NAME, CudaRNGStatesTracker

from workbench.errors import WorkbenchError


class CpuRNGStatesTracker(CudaRNGStatesTracker):
    """`CudaRNGStatesTracker` whose states are those of CPU generators; `add`, `fork` and nesting behave as upstream's."""

    _current_state_name: str

    def add(self, name: str, seed: int) -> None:
        """Start the stream `name` at `seed`; a name or a seed that is taken is an error, as upstream."""
        if seed in self.seeds_:
            raise WorkbenchError(f"random stream {name!r}: seed {seed} belongs to another stream already")
        if name in self.states_:
            raise WorkbenchError(f"random stream {name!r} exists already")
        self._is_initialized = True
        self.seeds_.add(seed)
        self.states_[name] = torch.Generator().manual_seed(seed).get_state()

    @contextmanager
    def fork(self, name: str = _MODEL_PARALLEL_RNG_TRACKER_NAME) -> Iterator[None]:
        """Draw from the stream `name` inside; the stream that was current before goes on where it was."""
        if name not in self.states_:
            raise WorkbenchError(f"random stream {name!r} was never added: seed the runtime before building a model")
        outer = torch.get_rng_state()
        outer_name: str = self._current_state_name
        if outer_name != "default-rng":
            self.states_[outer_name] = outer
        torch.set_rng_state(self.states_[name])
        self._current_state_name = name
        try:
            yield
        finally:
            self.states_[name] = torch.get_rng_state()
            torch.set_rng_state(self.states_[outer_name] if outer_name != "default-rng" else outer)
            self._current_state_name = outer_name
