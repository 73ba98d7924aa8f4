"""How much faster a training step is with every pair fused: a Markdown table, a row a pattern and a regime.

    python benchmarks/fusion.py [--seconds 20] [--clock cpu] [--only '[*-]' '[M-]'] [--regime host compute]

Each row is one run of `workbench.compare.throughput`: 24 pairs where the host is the limit (hidden 64, 16 tokens), 4 where the
arithmetic is (hidden 512, 256 tokens). "Fusing alone" is a fused twin whose blocks run upstream's own forward. One thread.
"""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import version

from workbench.compare.throughput.measure import throughput
from workbench.compare.throughput.result import Interval, Phase

PATTERNS = ("[*-]", "[M-]", "[*E]", "[G-]")
TIMES = {"host": 24, "compute": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of trials a row, and as many for fusing alone")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--only", nargs="+", default=PATTERNS, metavar="PATTERN")
    parser.add_argument("--regime", nargs="+", choices=tuple(TIMES), default=tuple(TIMES))
    options = parser.parse_args()
    load = os.getloadavg()[0]
    print(
        "| pattern | regime | pairs | fused ms | unfused ms | a step | forward+backward | forward+backward, fusing alone | "
        "peak memory | Python calls |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name in options.regime:
        for pattern in options.only:
            print(row(pattern, name, options.seconds, options.clock), flush=True)
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "megatron-core", "numpy"))
    print(
        f"\n{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}, load {load:.0f} at the start, {options.clock} clock, "
        f"Python {platform.python_version()}, {versions}"
    )


def row(pattern: str, name: str, seconds: float, clock: str) -> str:
    times = TIMES[name]
    found = throughput(pattern * times, regimes=(name,), seconds=seconds, threads=1, clock=clock, plain=True)
    (regime,) = found.regimes
    plain: dict[str, Phase] = {phase.name: phase for phase in regime.plain}
    step = regime.phase("step")
    cells = (
        f"`{pattern}` × {times}",
        name,
        str(regime.trials),
        f"{step.fused_ms.median:.1f}",
        f"{step.unfused_ms.median:.1f}",
        said(step.speedup),
        said(regime.phase("forward_backward").speedup),
        said(plain["forward_backward"].speedup),
        share(regime.fused.peak_memory_bytes, regime.unfused.peak_memory_bytes),
        share(regime.fused.python_calls, regime.unfused.python_calls),
    )
    return f"| {' | '.join(cells)} |"


def said(speedup: Interval) -> str:
    shown = f"{speedup.median:.3f} [{speedup.low:.3f}, {speedup.high:.3f}]"
    return f"{shown}, none shown" if speedup.holds_one else shown


def share(fused: int, unfused: int) -> str:
    return f"{fused / unfused - 1:+.1%}" if fused != unfused else "0"


if __name__ == "__main__":
    main()
