"""The arguments of `workbench sweep`."""

from __future__ import annotations

import argparse

from workbench.cli.patterns import plain
from workbench.cli.values import natural, positive, positive_number, threads


def add_sweep_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything but the patterns."""
    models = parser.add_argument_group("the models")
    models.add_argument(
        "--equal",
        choices=("parameters", "flops", "sizes"),
        default="parameters",
        help="what all have alike: widths and heads are solved for (default: parameters)",
    )
    models.add_argument("--sizes", metavar="FILE.json", type=plain, help="sizes of the first pattern's model")
    models.add_argument(
        "--tolerance", metavar="X", type=positive_number, default=0.03, help="of the cost (default: 0.03)"
    )
    data = parser.add_argument_group("the data")
    data.add_argument(
        "--data",
        metavar="DATA",
        type=plain,
        default="mqar",
        help="a task (mqar, selective-copying, induction, state-tracking), stdlib, or a file (default: mqar)",
    )
    data.add_argument("--sequence", metavar="N", type=positive, help="tokens of a sequence (default: the data's own)")
    run = parser.add_argument_group("the runs")
    run.add_argument(
        "--seeds", metavar="N", type=natural, nargs="+", default=[1, 2, 3], help="a run each (default: 1 2 3)"
    )
    run.add_argument("--steps", metavar="N", type=positive, default=400, help="optimizer steps of a run (default: 400)")
    run.add_argument("--rows", metavar="N", type=positive, default=16, help="sequences of a step (default: 16)")
    run.add_argument(
        "--learning-rate", metavar="X", type=positive_number, default=3e-3, help="the highest (default: 0.003)"
    )
    run.add_argument("--threads", metavar="N", type=threads, default=1, help="torch's threads (default: 1)")
    output = parser.add_argument_group("output")
    output.add_argument(
        "--quality", choices=("accuracy", "loss"), default="accuracy", help="what is shown (default: accuracy)"
    )
    output.add_argument("--json", action="store_true", help="print every run as JSON; progress goes to stderr")
    output.add_argument("--quiet", action="store_true", help="print the table only")
    output.add_argument("--html", metavar="FILE", type=plain, help="write one self-contained HTML page")
    output.add_argument("--output", metavar="FILE.json", type=plain, help="write every run as JSON")
    output.add_argument("--chart", metavar="FILE.svg", type=plain, help="write quality against cost as SVG")
    output.add_argument("--force", action="store_true", help="replace files that exist")
