"""`throughput`: build the twins, prove that they are one function, count what a step does, and time them in turn."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch

from workbench.arch.sizes import ModelSizes
from workbench.compare.environment import machine, torch_threads
from workbench.compare.throughput.bootstrap import FEWEST, LEVEL, RESAMPLES, median_interval, speedup
from workbench.compare.throughput.counting import arithmetic, count_calls, count_operators
from workbench.compare.throughput.memory import peak_bytes
from workbench.compare.throughput.regimes import Problem, problem
from workbench.compare.throughput.result import PHASES, Phase, Regime, Throughput, Work
from workbench.compare.throughput.timing import Clock, Pairs, alternate
from workbench.compare.throughput.twin import Twin, check_same
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
    progress: Progress | None = None,
) -> Throughput:
    """How much faster a training step of `pattern` is than one of `against` (default: the same pattern, nothing fused).

    Both are built from one seed in this process and train on the same tokens, in turn. In each regime (`regimes.REGIMES`;
    `sizes` and `threads` replace what it says) they run until `trials` pairs or `seconds` are over, 20 s where neither is
    given. `progress` is called with the regime's name and the share of it that is done.

    Raises `NotTheSame` unless loss and gradient norm of every step, timed or not, are the same bits in both;
    `PatternError` and `WorkbenchError` as `twin_patterns` and `build_model` do.
    """
    left, right = twin_patterns(pattern, against)
    problems = {name: problem(name, sizes, threads) for name in regimes}
    if not problems:
        raise WorkbenchError("no regime is given: there is nothing to measure")
    if trials is not None:
        check_whole("trials", trials, least=FEWEST, unit="pair")
    if seconds is not None and not 0 < seconds < float("inf"):
        raise WorkbenchError(f"seconds must be a number above 0, not {seconds!r}")
    if trials is None and seconds is None:
        seconds = SECONDS
    backend = choose_backend(backend)
    runtime.require_single_process()
    load = os.getloadavg()[0]
    found = []
    for name, posed in problems.items():
        with torch_threads(posed.threads):
            twins = [Twin(each, posed, seed=seed, dtype=dtype, backend=backend) for each in (left, right)]
            share = None if progress is None else (lambda done, name=name: progress(name, done))
            found.append(_regime(name, posed, *twins, trials=trials, seconds=seconds, seed=seed, progress=share))
    environment = {
        **machine(),
        "load average": round(load, 2),
        "backend": backend,
        "dtype": dtype,
        "seed": seed,
        "speedup": "median over pairs of unfused / fused",
        "interval": f"{LEVEL:.0%} block bootstrap, {RESAMPLES:,} resamples",
        "garbage collector": "off during a trial, run between trials",
    }
    return Throughput(str(left), str(right), tuple(found), environment)


def _regime(
    name: str,
    posed: Problem,
    fused: Twin,
    unfused: Twin,
    *,
    trials: int | None,
    seconds: float | None,
    seed: int,
    progress: Callable[[float], None] | None,
) -> Regime:
    for twin in (fused, unfused):
        twin.prepared_step()
    check_same(fused, unfused)  # before anything is measured, and again after all of it
    works, shares = zip(*(_work(twin) for twin in (fused, unfused)), strict=True)
    check_same(fused, unfused)
    pairs = time_twins(fused, unfused, trials=trials, seconds=seconds, progress=progress)
    check_same(fused, unfused)
    phases = tuple(_phase(phase, pairs, seed) for phase in PHASES)
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
        phases=phases,
        fused=works[0],
        unfused=works[1],
    )


def time_twins(
    fused: Twin,
    unfused: Twin,
    *,
    trials: int | None,
    seconds: float | None,
    progress: Callable[[float], None] | None = None,
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
        clock=_clock(),
    )


def _work(twin: Twin) -> tuple[Work, float]:
    """What a step of this twin does, and the share of arithmetic in it."""
    blocks = len(twin.pattern.blocks)
    calls = count_calls(_ready(twin))
    operators = count_operators(_ready(twin))
    peak = peak_bytes(twin.prepared_step)
    found = arithmetic(twin.prepared_step)
    work = Work(str(twin.pattern), blocks, calls.modules, calls.python, operators, found.kernels, peak)
    return work, found.share


def _ready(twin: Twin) -> Callable[[], None]:
    twin.prepare()
    return twin.step


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


def _clock() -> Clock | None:
    return DeviceClock() if torch.cuda.is_available() else None


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
