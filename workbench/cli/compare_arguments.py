"""The arguments of `workbench compare`."""

from __future__ import annotations

import argparse

from workbench.cli.patterns import plain
from workbench.cli.values import natural, positive, positive_number, threads
from workbench.compare.throughput.regimes import CLOCKS
from workbench.compare.throughput.result import FEWEST_PAIRS


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything but the pattern."""
    twin = parser.add_argument_group("the twins")
    twin.add_argument("--against", metavar="PATTERN", type=plain, help="the other twin (default: PATTERN unfused)")
    twin.add_argument("--repeat", metavar="N", type=positive, default=1, help="so many times the pattern (default: 1)")
    twin.add_argument("--sizes", metavar="FILE.json", type=plain, help="sizes of the model (default: the regime's)")
    twin.add_argument(
        "--backend", choices=("auto", "local", "te"), default="auto", help="layer modules (default: auto)"
    )
    twin.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="arithmetic (default: fp32)")
    run = parser.add_argument_group("the trials")
    run.add_argument(
        "--regime",
        choices=("host", "compute", "both"),
        default="both",
        help="tiny sizes, where the host is the limit, or larger ones, where the arithmetic is (default: both)",
    )
    run.add_argument(
        "--trials", metavar="N", type=_pairs, help=f"pairs of timed steps a regime, at least {FEWEST_PAIRS}"
    )
    run.add_argument(
        "--seconds", metavar="S", type=positive_number, help="time for them a regime (default: 20, without --trials)"
    )
    run.add_argument(
        "--plain", action="store_true", help="measure too what fusing gives where fused blocks do not run lean"
    )
    run.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="time as a user waits for it, or the process's CPU time, for a machine that others use too (default: wall)",
    )
    run.add_argument("--threads", metavar="N", type=threads, help="torch's (default: 1 in host, all in compute)")
    run.add_argument("--seed", type=natural, default=1234, help="seed of weights and data (default: 1234)")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print the result as JSON")
    output.add_argument("--quiet", action="store_true", help="print one line a regime, and no progress")
    output.add_argument("--html", metavar="FILE", type=plain, help="write the result as one self-contained HTML page")
    output.add_argument("--output", metavar="FILE.json", type=plain, help="write the result as JSON")
    output.add_argument("--force", action="store_true", help="replace files that exist")


def _pairs(text: str) -> int:
    return natural(text, least=FEWEST_PAIRS)
