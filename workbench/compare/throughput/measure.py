"""`throughput`: build the twins, prove that they are one function, count what a step does, and time them in turn."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from workbench.arch.sizes import ModelSizes
from workbench.compare.environment import machine, torch_threads
from workbench.compare.throughput.bootstrap import LEVEL, RESAMPLES, median_interval, speedup
from workbench.compare.throughput.counting import arithmetic, count_calls, count_operators
from workbench.compare.throughput.memory import peak_bytes
from workbench.compare.throughput.regimes import Problem, problems
from workbench.compare.throughput.result import FEWEST_PAIRS, PHASES, Phase, Regime, Throughput, Work
from workbench.compare.throughput.timing import Clock, HostClock, Pairs, alternate
from workbench.compare.throughput.twin import Twin, check_same, check_same_weights
from workbench.compare.throughput.twins import twin_patterns
from workbench.errors import WorkbenchError, check_whole
from workbench.fusion import runtime
from workbench.fusion.stack_spec import choose_backend
from workbench.pattern.model import Pattern

SECONDS = 20.0  # of timed trials a regime, where nothing else is said
_MARKED = ("forward", "backward", "optimizer")

Progress = Callable[[str, float], None]


def throughput(
    pattern: Pattern | str,
    against: Pattern | str | None = None,
    *,
    sizes: ModelSizes | None = None,
    regimes: Sequence[str] = ("host", "compute"),
    trials: int | None = None,
    seconds: float | None = None,
    seed: int = 1234,
    dtype: str = "fp32",
    backend: str = "auto",
    threads: int | None = None,
    clock: str = "wall",
    plain: bool = False,
    progress: Progress | None = None,
) -> Throughput:
    """How much faster a training step of `pattern` is than one of `against` (default: the same pattern, nothing fused).

    Both are built from one seed in this process and train on the same tokens, in turn. In each regime (`regimes.REGIMES`;
    `sizes` and `threads` replace what it says) they run until `trials` pairs or `seconds` are over, 20 s where neither is
    given. `clock` is "wall" or, with one thread on a CPU, "cpu": the process's CPU time, which what else the machine does
    adds little to. `plain` measures, in as many pairs again, what fusing gives where fused blocks do not run lean. `progress` is
    called with what is measured and the share of it that is done.

    Raises `NotTheSame` unless loss and gradient norm of every step, timed or not, and the weights in the end are the same
    bits in both;
    `PatternError` and `WorkbenchError` as `twin_patterns` and `build_model` do.
    """
    left, right = twin_patterns(pattern, against)
    posed_by_name = problems(regimes, sizes, threads, clock)
    if trials is not None:
        check_whole("trials", trials, least=FEWEST_PAIRS, unit="pair")
    if seconds is not None and not 0 < seconds < float("inf"):
        raise WorkbenchError(f"seconds must be a number above 0, not {seconds!r}")
    if trials is None and seconds is None:
        seconds = SECONDS
    backend = choose_backend(backend)
    runtime.require_single_process()
    load = os.getloadavg()[0]
    found = []
    for name, posed in posed_by_name.items():
        with torch_threads(posed.threads):
            build = partial(Twin, problem=posed, seed=seed, dtype=dtype, backend=backend)
            timed = partial(_timed, trials=trials, seconds=seconds, clock=_clock(clock))
            regime = _regime(
                name, posed, build(left), build(right), partial(timed, progress=_named(progress, name)), seed
            )
            if plain:
                # Both anew: twins are compared step by step, and the unfused one is many steps ahead by now.
                pairs = timed(build(left, lean=False), build(right), progress=_named(progress, f"{name}, plain"))
                regime = replace(regime, plain=_phases(pairs, seed))
            found.append(regime)
    environment = {
        **machine(),
        "load average": round(load, 2),
        "backend": backend,
        "dtype": dtype,
        "seed": seed,
        "clock": "CUDA events" if torch.cuda.is_available() else clock,
        "speedup": "median over pairs of unfused / fused",
        "interval": f"{LEVEL:.0%} block bootstrap, {RESAMPLES:,} resamples",
        "garbage collector": "off during a trial, run between trials",
    }
    return Throughput(str(left), str(right), tuple(found), environment)


def _regime(
    name: str, posed: Problem, fused: Twin, unfused: Twin, timed: Callable[[Twin, Twin], Pairs], seed: int
) -> Regime:
    for twin in (fused, unfused):
        twin.prepared_step()
    check_same(fused, unfused)  # before anything is measured, and again after all of it
    works, shares = zip(*(_work(twin) for twin in (fused, unfused)), strict=True)
    pairs = timed(fused, unfused)
    return Regime(
        name=name,
        sizes=posed.sizes.to_json(),
        rows=posed.rows,
        sequence=posed.sequence,
        threads=torch.get_num_threads(),
        trials=pairs.count,
        equal_steps=len(fused.results),
        loss=fused.results[0][0],
        host_share=1.0 - shares[1],
        phases=_phases(pairs, seed),
        fused=works[0],
        unfused=works[1],
    )


def _timed(fused: Twin, unfused: Twin, **options: Any) -> Pairs:
    """Times of twins that are one function, which is checked once they are taken."""
    pairs = time_twins(fused, unfused, **options)
    check_same(fused, unfused)
    check_same_weights(fused, unfused)
    return pairs


def _named(progress: Progress | None, name: str) -> Callable[[float], None] | None:
    return None if progress is None else partial(progress, name)


def time_twins(
    fused: Twin,
    unfused: Twin,
    *,
    trials: int | None,
    seconds: float | None,
    progress: Callable[[float], None] | None = None,
    clock: Clock | None = None,
) -> Pairs:
    """Steps of both twins in turn, split into forward, backward and optimizer."""
    return alternate(
        fused.step,
        unfused.step,
        phases=_MARKED,
        trials=trials,
        seconds=seconds,
        before=lambda side: (fused, unfused)[side].prepare(),
        progress=progress,
        clock=clock,
    )


def _work(twin: Twin) -> tuple[Work, float]:
    """What a step of this twin does, and the share of arithmetic in it."""
    blocks = len(twin.pattern.blocks)
    calls = count_calls(_ready(twin))
    operators = count_operators(_ready(twin))
    peak = peak_bytes(twin.prepared_step)
    found = arithmetic(twin.prepared_step)
    lean = twin.lean_blocks()
    work = Work(str(twin.pattern), blocks, calls.modules, calls.python, operators, found.kernels, peak, lean)
    return work, found.share


def _ready(twin: Twin) -> Callable[[], None]:
    twin.prepare()
    return twin.step


def _phases(pairs: Pairs, seed: int) -> tuple[Phase, ...]:
    return tuple(_phase(name, pairs, seed) for name in PHASES)


def _phase(name: str, pairs: Pairs, seed: int) -> Phase:
    parts = ("forward", "backward") if name == "forward_backward" else (name,)
    fused, unfused = (
        [sum(times) for times in zip(*(side[part] for part in parts), strict=True)]
        for side in (pairs.left, pairs.right)
    )
    return Phase(
        name,
        median_interval([1000 * time for time in fused], seed=seed),
        median_interval([1000 * time for time in unfused], seed=seed),
        speedup(fused, unfused, seed=seed),
    )


def _clock(name: str) -> Clock:
    if not torch.cuda.is_available():
        return HostClock(time.process_time if name == "cpu" else time.perf_counter)
    if name == "cpu":
        raise WorkbenchError("CPU time says nothing of a GPU: leave it to the wall clock")
    return DeviceClock()


class DeviceClock:
    """Moments on a GPU's own time line: phases are told apart without waiting for the device between them."""

    def mark(self) -> Any:
        """An event in the current stream."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, marks: Sequence[Any]) -> list[float]:
        """The time from each event to the next, once the last has come."""
        marks[-1].synchronize()
        return [before.elapsed_time(after) / 1000 for before, after in itertools.pairwise(marks)]
