"""The gated delta rule on the CPU, forward and backward, beside megatron-core's own torch function: a Markdown table.

    python benchmarks/delta.py [--quick] [--threads 2] [--rounds 9] [--clock wall|process]

Contestants take turns in one process on the same float32 inputs; megatron's `torch_chunk_gated_delta_rule` runs at several
chunk sizes and its fastest (by median) is the one compared with. Time is that of forward and backward together, median and
fastest – slowest of the rounds. Peak memory is how far one forward and backward raises the process's resident memory (`VmHWM`,
Linux) above what it was before, with free heap handed back first. The share is the floating point operations of the products,
counted by torch, over time, against a 1024 × 1024 product measured between the same rounds. Results must agree.
`--clock process` takes the process's own time, which other work on the machine changes less; with one thread it is the time
of the work.
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import workbench.fusion.upstream  # noqa: F401  (before megatron-core: it finds kernels and compiles nothing)
from workbench.kernels.delta import CHUNK_SIZE, gated_delta_chunked

# isort: split
from megatron.core.ssm.gated_delta_net import torch_chunk_gated_delta_rule

UPSTREAM_CHUNKS = (16, 32, 64)
AGREE = 1e-3  # largest difference over largest value, of the output and of every gradient, both in float32
OURS = "workbench"


@dataclass(frozen=True)
class Shape:
    batch: int
    length: int
    heads: int
    key: int
    value: int

    def __str__(self) -> str:
        return f"{self.batch} × {self.length}, {self.heads} heads, {self.key}/{self.value}"


SHAPES = (
    Shape(1, 16, 4, 16, 16),
    Shape(1, 512, 4, 64, 64),
    Shape(1, 512, 16, 128, 128),
    Shape(4, 512, 4, 64, 128),
    Shape(1, 2048, 4, 128, 128),
    Shape(1, 2048, 16, 64, 64),
    Shape(1, 2048, 16, 128, 128),
    Shape(1, 4096, 4, 64, 64),
    Shape(4, 2048, 4, 128, 128),
    Shape(1, 4096, 16, 64, 128),
)
QUICK = (Shape(1, 16, 4, 16, 16), Shape(1, 512, 4, 64, 64), Shape(1, 512, 16, 64, 64))

Step = Callable[[], tuple[Tensor, ...]]
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "process": time.process_time}


@dataclass(frozen=True)
class Times:
    """Seconds of one forward and backward, over the rounds."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        return f"{1000 * self.median:.1f} ({1000 * min(self.seconds):.1f} – {1000 * max(self.seconds):.1f})"


@dataclass(frozen=True)
class Result:
    shape: Shape
    ours: Times
    upstream: dict[int, Times]  # by chunk size
    our_bytes: int
    upstream_bytes: int  # at its fastest chunk
    rate: float  # FLOP/s of our products
    matmul_rate: float
    apart: float  # largest relative difference

    @property
    def best(self) -> int:
        return min(self.upstream, key=lambda chunk: self.upstream[chunk].median)

    @property
    def ratio(self) -> float:
        return self.upstream[self.best].median / self.ours.median


def step(kernel: Callable[..., Any], shape: Shape) -> Step:
    """Output and gradients of q, k, v, g and beta, on inputs that depend on the shape alone."""
    random = torch.Generator().manual_seed(7)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=random)

    lead = (shape.batch, shape.length, shape.heads)
    inputs = [
        F.normalize(normal(*lead, shape.key), dim=-1),
        F.normalize(normal(*lead, shape.key), dim=-1),
        normal(*lead, shape.value),
        -normal(*lead).exp() * 0.3,
        normal(*lead).sigmoid(),
    ]
    weights = normal(*lead, shape.value)
    for tensor in inputs:
        tensor.requires_grad_()

    def run() -> tuple[Tensor, ...]:
        o = kernel(*inputs)[0]
        return o.detach(), *torch.autograd.grad(o, inputs, weights)

    return run


def upstream(chunk: int) -> Callable[..., Any]:
    return lambda *inputs: torch_chunk_gated_delta_rule(*inputs, chunk_size=chunk)


def seconds(work: Callable[[], object], clock: Clock = time.perf_counter, repeats: int = 1) -> float:
    start = clock()
    for _ in range(repeats):
        work()
    return (clock() - start) / repeats


def peak_bytes(work: Callable[[], object]) -> int:
    """How far `work` raises resident memory, in bytes."""
    work()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


def flops(work: Callable[[], object]) -> int:
    def in_place(_: Any, left: Any, right: Any, *__: Any, **___: Any) -> int:
        return 2 * left[0] * left[1] * left[2] * right[2]

    # The counter has no formula for a product that is added in place.
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.baddbmm_: in_place}) as counter:
        work()
    return counter.get_total_flops()


def apart(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    pairs = zip(left, right, strict=True)
    return max(float((ours - theirs).abs().max() / theirs.abs().max()) for ours, theirs in pairs)


def measure(shape: Shape, rounds: int, clock: Clock) -> Result:
    contestants: dict[Any, Step] = {OURS: step(gated_delta_chunked, shape)}
    contestants |= {chunk: step(upstream(chunk), shape) for chunk in UPSTREAM_CHUNKS}
    expected = contestants[OURS]()
    far = max(apart(expected, contestants[chunk]()) for chunk in UPSTREAM_CHUNKS)
    if far > AGREE:
        raise SystemExit(f"{shape}: the results differ by {far:.1e} of the largest value, more than {AGREE:.0e}")
    repeats = {name: max(1, round(0.02 / seconds(run))) for name, run in contestants.items()}
    square = torch.randn(1024, 1024)
    times: dict[Any, list[float]] = {name: [] for name in contestants}
    products = []
    for _ in range(rounds):
        for name, run in contestants.items():
            times[name].append(seconds(run, clock, repeats[name]))
        products.append(seconds(lambda: square @ square, clock, 4))
    found = {name: Times(tuple(spent)) for name, spent in times.items()}
    ours = found.pop(OURS)
    best = min(found, key=lambda chunk: found[chunk].median)
    return Result(
        shape,
        ours,
        found,
        peak_bytes(contestants[OURS]),
        peak_bytes(contestants[best]),
        flops(contestants[OURS]) / ours.median,
        2 * 1024**3 / statistics.median(products),
        far,
    )


def table(results: Sequence[Result]) -> str:
    head = [
        "batch × tokens, heads, key/value width",
        f"workbench, chunk {CHUNK_SIZE}, ms",
        *(f"megatron, chunk {chunk}, ms" for chunk in UPSTREAM_CHUNKS),
        "times as fast",
        "peak MiB, workbench",
        "peak MiB, megatron",
        "share of matmul rate",
        "results apart",
    ]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    for result in results:
        theirs = [f"**{times}**" if chunk == result.best else str(times) for chunk, times in result.upstream.items()]
        cells = [
            str(result.shape),
            str(result.ours),
            *theirs,
            f"{result.ratio:.1f}",
            f"{result.our_bytes / 2**20:.1f}",
            f"{result.upstream_bytes / 2**20:.1f}",
            f"{result.rate / result.matmul_rate:.0%} of {result.matmul_rate / 1e9:.0f} GFLOP/s",
            f"{result.apart:.0e}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="three small shapes, three rounds")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=None, help="9, or 3 with --quick")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    rounds = options.rounds or (3 if options.quick else 9)
    shapes, clock = QUICK if options.quick else SHAPES, CLOCKS[options.clock]
    print(table([measure(shape, rounds, clock) for shape in shapes]))
    print(
        f"\nMedian (fastest – slowest) of {rounds} rounds, megatron's fastest chunk in bold; {options.threads} threads, "
        f"{options.clock} time, {platform.processor() or platform.machine()}, {platform.system()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, megatron-core {version('megatron-core')}"
    )


if __name__ == "__main__":
    main()
