"""The arguments of `workbench train`."""

from __future__ import annotations

import argparse

from workbench.cli.patterns import plain
from workbench.cli.values import natural, positive, positive_number, threads, tolerance


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything but the pattern."""
    model = parser.add_argument_group("the model")
    model.add_argument("--sizes", metavar="FILE.json", type=plain, help="sizes of the model (default: hidden size 128)")
    model.add_argument(
        "--backend", choices=("auto", "local", "te"), default="auto", help="layer modules (default: auto)"
    )
    model.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="arithmetic (default: fp32)")
    model.add_argument(
        "--twin", action="store_true", help="train PATTERN and PATTERN unfused in lockstep, and compare them"
    )
    model.add_argument("--against", metavar="PATTERN", type=plain, help="the other twin, with other brackets")
    data = parser.add_argument_group("the data")
    data.add_argument(
        "--data",
        metavar="DATA",
        type=plain,
        default="stdlib",
        help="stdlib (Python's own source), a task (mqar, selective-copying, induction, state-tracking; options as in "
        "mqar:pairs=16), a text file, a folder of them, or a Megatron .bin/.idx pair (default: stdlib)",
    )
    data.add_argument(
        "--sequence",
        metavar="N",
        type=positive,
        help="tokens of a sequence (default: 128 of text, a task's own length)",
    )
    run = parser.add_argument_group("the run")
    length = run.add_mutually_exclusive_group()
    length.add_argument("--steps", metavar="N", type=positive, help="optimizer steps (default: 500)")
    length.add_argument(
        "--minutes", metavar="M", type=positive_number, help="as many steps as fit: some are measured first"
    )
    run.add_argument("--rows", metavar="N", type=positive, help="sequences of a micro-batch (default: 4)")
    run.add_argument("--micro-batches", metavar="N", type=positive, help="micro-batches of a step (default: 1)")
    run.add_argument("--learning-rate", metavar="X", type=positive_number, help="the highest (default: 0.003)")
    run.add_argument("--warmup", metavar="N", dest="warmup_steps", type=natural, help="steps up to it (default: 20)")
    run.add_argument("--clip-grad", metavar="X", type=tolerance, help="largest gradient norm, 0: any (default: 1)")
    run.add_argument("--evaluate-every", metavar="N", type=positive, help="steps (default: about 8 evaluations)")
    run.add_argument("--seed", type=natural, default=1234, help="seed of weights and data (default: 1234)")
    run.add_argument(
        "--threads",
        metavar="N",
        type=threads,
        help="torch's threads (default: as many as cores; with --minutes one, where that is quicker; resumed: as it began)",
    )
    kept = parser.add_argument_group("what is kept")
    kept.add_argument("--directory", metavar="DIR", type=plain, help="keep the run there, so that it can be resumed")
    kept.add_argument("--resume", action="store_true", help="go on with the run in DIR, to the same bits")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print the run as JSON; progress goes to stderr")
    output.add_argument("--quiet", action="store_true", help="print the last line only")
    output.add_argument("--output", metavar="FILE.json", type=plain, help="write the run as JSON")
    output.add_argument("--chart", metavar="FILE.svg", type=plain, help="write the loss curve as SVG")
    output.add_argument("--force", action="store_true", help="replace files that exist")
