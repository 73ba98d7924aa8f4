"""How long Mamba-2's scan and a whole mixer take beside Hugging Face's torch code, and in how much memory: a Markdown table.

    python benchmarks/ssd.py [--quick] [--clock cpu]

Every line is forward and backward in float32 at hidden 512: 16 heads of 64, state 128. The scan stands alone, after the
convolution and before the norm; the mixer is `transformers`' own `Mamba2Mixer` as it is, and the same object with its
convolution, its scan and its gated norm replaced by ours. transformers' scan runs with three sizes of its chunks: 256 is
the one that `Mamba2Config` has and that is compared with, and the fastest of the three is marked. Contestants take turns in
one process, and a product of two 2048² matrices between them; memory is the peak of what torch holds beyond what it held before, counted by
`torch.profiler`. The share of the matmul rate is the time that the products of forward and backward would need at the rate of
that product (inside chunks of 64, without what a backward pass computes again), over the time that was taken. Where other
work shares the machine, `--clock cpu` gives seconds of one processor instead.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from workbench.kernels.conv import causal_conv
from workbench.kernels.mamba_facades import mamba_chunk_scan_combined
from workbench.kernels.norm import RMSNormGated

HIDDEN, HEADS, WIDTH, STATE, CHUNK = 512, 16, 64, 128, 64
INNER = HEADS * WIDTH
OURS = "ours"
THEIRS = {f"transformers, chunks of {chunk}": chunk for chunk in (64, 128, 256)}
THEIR_DEFAULT = "transformers, chunks of 256"
GRADIENT_TOLERANCE = 1e-4  # of the largest element: both sum in float32, in another order


@dataclass(frozen=True)
class Row:
    """One line: `what` by `who`, seconds of every trial, and what they are compared with."""

    what: str
    tokens: int
    groups: int
    who: str
    seconds: tuple[float, ...]
    peak_bytes: int
    floor_seconds: float
    difference: float  # largest between ours and their default over all results, relative to the largest element

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


# ---------------------------------------------------------------------------------------- contestants

Work = Callable[[], list[Tensor]]
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


def scan(who: str, tokens: int, groups: int) -> Work:
    """Forward and backward of the scan: the output and the gradient of every input."""
    from transformers.models.mamba2 import modeling_mamba2

    torch.manual_seed(0)
    given = {
        "x": torch.randn(1, tokens, HEADS, WIDTH),
        "dt": torch.randn(1, tokens, HEADS) - 2,
        "A": -torch.arange(1.0, HEADS + 1),
        "B": torch.randn(1, tokens, groups, STATE),
        "C": torch.randn(1, tokens, groups, STATE),
        "D": torch.ones(HEADS),
        "dt_bias": torch.randn(HEADS) * 0.1,
    }
    weights = torch.randn(1, tokens, HEADS, WIDTH)
    leaves = {name: tensor.requires_grad_() for name, tensor in given.items()}
    function = mamba_chunk_scan_combined if who == OURS else modeling_mamba2.mamba2_chunk_scan

    def work() -> list[Tensor]:
        y = function(*(leaves[n] for n in ("x", "dt", "A", "B", "C")), THEIRS.get(who, CHUNK), D=leaves["D"], dt_bias=leaves["dt_bias"],
                     dt_softplus=True)  # fmt: skip
        return [y, *torch.autograd.grad(y, list(leaves.values()), weights)]

    return work


def mixer(who: str, tokens: int, groups: int) -> Work:
    """Forward and backward of `Mamba2Mixer`: the output and the gradient of the input and of every parameter."""
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    torch.manual_seed(0)
    config = Mamba2Config(hidden_size=HIDDEN, num_heads=HEADS, head_dim=WIDTH, state_size=STATE, n_groups=groups, expand=2,
                          num_hidden_layers=1, chunk_size=THEIRS.get(who, CHUNK))  # fmt: skip
    theirs = Mamba2Mixer(config, 0)
    module: nn.Module = theirs if who in THEIRS else OurMixer(theirs, groups)
    x, weights = torch.randn(1, tokens, HIDDEN).requires_grad_(), torch.randn(1, tokens, HIDDEN)
    leaves = [x, *(theirs.get_parameter(name) for name in sorted(dict(theirs.named_parameters())))]

    def work() -> list[Tensor]:
        y = module(x)
        return [y, *torch.autograd.grad(y, leaves, weights)]

    return work


class OurMixer(nn.Module):
    """The same parameters, and our kernels between the two projections."""

    def __init__(self, theirs: Any, groups: int) -> None:
        super().__init__()
        self.theirs, self.groups = theirs, groups
        self.norm = RMSNormGated(INNER, theirs.norm.variance_epsilon, INNER // groups, norm_before_gate=False)
        self.norm.weight = theirs.norm.weight

    def forward(self, hidden: Tensor) -> Tensor:
        own, shared = self.theirs, self.groups * STATE
        z, mixed, dt = own.in_proj(hidden).split([INNER, INNER + 2 * shared, HEADS], dim=-1)
        weight = own.conv1d.weight[:, 0]
        mixed = causal_conv(mixed.transpose(1, 2), weight, own.conv1d.bias, activation="silu").transpose(1, 2)
        x, B, C = mixed.split([INNER, shared, shared], dim=-1)
        B, C = (part.unflatten(-1, (self.groups, STATE)) for part in (B, C))
        y = mamba_chunk_scan_combined(x.unflatten(-1, (HEADS, WIDTH)), dt, -own.A_log.exp(), B, C, CHUNK, D=own.D,
                                      dt_bias=own.dt_bias, dt_softplus=True)  # fmt: skip
        return own.out_proj(self.norm(y.flatten(2), z))


WORKS = {"scan": scan, "mixer": mixer}

# ------------------------------------------------------------------------------------------- measures


def products(what: str, tokens: int, groups: int) -> int:
    """FLOPs of the products in forward and backward: three times forward."""
    forward = 2 * CHUNK * (groups * STATE + INNER) + 4 * INNER * STATE
    if what == "mixer":
        forward += 2 * HIDDEN * (2 * INNER + 2 * groups * STATE + HEADS) + 2 * INNER * HIDDEN
    return 3 * forward * tokens


def matmul_rate(clock: Clock, trials: int = 7) -> float:
    """FLOP/s of the median of some 2048³ products."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    return 2 * 2048**3 / statistics.median(timed(lambda: [a @ b], clock) for _ in range(trials))


def timed(work: Work, clock: Clock) -> float:
    began = clock()
    work()
    return clock() - began


def peak_bytes(work: Work) -> int:
    """Most bytes that torch held at once during `work`, beyond what it held before; exact, whatever else runs."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        work()
    recorded = profile.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in recorded if event.name() == "[memory]")
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def compared(what: str, tokens: int, groups: int, trials: int, clock: Clock) -> list[Row]:
    """All contestants in turns; raises `AssertionError` where their results are not the same."""
    works = {who: WORKS[what](who, tokens, groups) for who in (OURS, *THEIRS)}
    results = {who: work() for who, work in works.items()}
    difference = max(
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(results[OURS], results[THEIR_DEFAULT], strict=True)
    )
    assert difference < GRADIENT_TOLERANCE, f"{what}, {tokens} tokens, {groups} groups: {difference:.1e} apart"
    del results
    seconds: dict[str, list[float]] = {who: [] for who in works}
    rates = []
    for _ in range(trials):
        rates.append(matmul_rate(clock, trials=1))
        for who, work in works.items():
            seconds[who].append(timed(work, clock))
    floor = products(what, tokens, groups) / statistics.median(rates)
    return [
        Row(what, tokens, groups, who, tuple(taken), peak_bytes(works[who]), floor, difference)
        for who, taken in seconds.items()
    ]


def rows(quick: bool = False, clock: Clock = time.perf_counter) -> list[Row]:
    """Every line of the table; `quick` leaves the long sequences out and takes few trials."""
    lengths = (512, 2048) if quick else (512, 1024, 2048, 4096)
    trials = 3 if quick else 9
    cases = [("scan", tokens, groups) for groups in (8, 1) for tokens in lengths] + [("mixer", 2048, 8)]
    return [row for what, tokens, groups in cases for row in compared(what, tokens, groups, trials, clock)]


def table(found: list[Row]) -> str:
    """The lines as Markdown; the ratio is against transformers' default in the same case, whose best is marked."""
    lines = [
        "| forward + backward, fp32 | tokens | groups | by | median ms | fastest – slowest | times as fast | peak MiB "
        "| share of matmul rate | apart |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found:
        case = [each for each in found if (each.what, each.tokens, each.groups) == (row.what, row.tokens, row.groups)]
        other = next(each for each in case if each.who == THEIR_DEFAULT)
        best = min((each for each in case if each.who in THEIRS), key=lambda each: each.median)
        marks = " (default)" * (row is other) + " **best**" * (row is best)
        lines.append(
            f"| {row.what} | {row.tokens} | {row.groups} | {row.who}{marks} | {row.median * 1e3:.1f} "
            f"| {min(row.seconds) * 1e3:.1f} – {max(row.seconds) * 1e3:.1f} | {other.median / row.median:.2f} "
            f"| {row.peak_bytes / 2**20:.0f} | {row.floor_seconds / row.median:.0%} | {row.difference:.0e} |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two lengths, three trials")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: one thread, and seconds of the processor")
    arguments = parser.parse_args(argv)
    if arguments.clock == "cpu":
        torch.set_num_threads(1)
    clock = CLOCKS[arguments.clock]
    print(table(rows(arguments.quick, clock)))
    print(
        f"\n{torch.get_num_threads()} thread(s), {arguments.clock} clock, matmul {matmul_rate(clock) / 1e9:.0f} GFLOP/s,",
        end=" ",
    )
    print(
        f"{platform.processor() or platform.machine()}, {platform.system()}, Python {platform.python_version()},",
        end=" ",
    )
    print(", ".join(f"{name} {version(name)}" for name in ("torch", "transformers")))


if __name__ == "__main__":
    main()
