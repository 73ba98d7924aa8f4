"""Arguments and help of the commands that take checkpoints. Each command's module is imported when that command runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from workbench.cli import examples
from workbench.cli.lazy import lazy
from workbench.cli.patterns import plain
from workbench.cli.values import natural, tolerance

Command = Callable[[str, str, str], argparse.ArgumentParser]


def add_checkpoint_commands(command: Command) -> None:
    """Add every command of this module; `command(name, help, examples)` makes the parser of one."""
    _inspect(command("inspect", "say what a checkpoint is, and whether a model would load it", examples.INSPECT))
    _diff(command("diff", "show every difference between two checkpoints, or that there is none", examples.DIFF))
    _convert(
        command("convert", "write a checkpoint with another layout's names, or in another format", examples.CONVERT)
    )


# ------------------------------------------------------------------------------------------- commands


def _inspect(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} CHECKPOINT [options]"
    # Any number is accepted, so that two are answered with the command for two.
    parser.add_argument("checkpoints", metavar="CHECKPOINT", nargs="*", type=plain, help="a file or a folder")
    model = parser.add_argument_group("the model that would load it")
    model.add_argument(
        "--against",
        metavar="MODEL",
        type=plain,
        help="a pattern in quotes, a preset's name, a config.json, a script.sh, or another checkpoint",
    )
    model.add_argument(
        "--sizes", metavar="FILE.json", type=plain, help="sizes of that pattern (default: layer kinds are compared)"
    )
    output = parser.add_argument_group("output")
    form = output.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--html", action="store_true", help="one self-contained HTML page")
    output.add_argument("-o", "--output", metavar="FILE", type=plain, help="write to FILE, not to standard output")
    output.add_argument("--details", action="store_true", help="print every tensor, layers that are alike in one row")
    output.add_argument("--force", action="store_true", help="replace FILE when it exists")
    parser.set_defaults(run=lazy("workbench.cli.inspect", "run_inspect"))


def _diff(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} A B [options]"
    # Any number is accepted, so that one too few is answered in our words.
    parser.add_argument("checkpoints", metavar="A B", nargs="*", type=plain, help="two checkpoints: files or folders")
    nearness = parser.add_argument_group("tolerance (default: bitwise)")
    nearness.add_argument("--rtol", metavar="X", type=tolerance, default=0.0, help="relative")
    nearness.add_argument("--atol", metavar="X", type=tolerance, default=0.0, help="absolute")
    nearness.add_argument("--ulp", metavar="N", type=natural, default=0, help="representable numbers in between")
    what = parser.add_argument_group("what is compared")
    what.add_argument("--only", metavar="GLOB", nargs="+", action="extend", type=plain, default=[], help="these names")
    what.add_argument("--ignore", metavar="GLOB", nargs="+", action="extend", type=plain, default=[], help="not these")
    what.add_argument("--names-only", action="store_true", help="names, shapes and dtypes; no value is read")
    what.add_argument("--as-written", action="store_true", help="names as they are written; no layout is looked for")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print the differences as JSON")
    output.add_argument("--quiet", action="store_true", help="print the answer's one line only")
    output.add_argument("--details", action="store_true", help="print what is folded too")
    output.add_argument("--html", metavar="FILE", type=plain, help="write one self-contained HTML page to look through")
    output.add_argument("--output", metavar="FILE.json", type=plain, help="write the differences as JSON")
    output.add_argument("--force", action="store_true", help="replace files that exist")
    output.add_argument("--no-progress", action="store_true", help="no progress bar")
    parser.set_defaults(run=lazy("workbench.cli.diff", "run_diff"))


def _convert(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} SOURCE TARGET --to LAYOUT [options]"
    parser.add_argument(
        "checkpoints",
        metavar="SOURCE TARGET",
        nargs="*",
        type=plain,
        help="a checkpoint, and a FILE.safetensors or folder",
    )
    what = parser.add_argument_group("what is written")
    what.add_argument(
        "--to",
        choices=("canonical", "fused", "gpt", "grouped"),
        required=True,
        help="canonical; fused: the state dict of a built fused model; gpt: a GPTModel's; grouped: the newer group dialect's",
    )
    what.add_argument(
        "--format",
        choices=("safetensors", "torch_dist"),
        help="default: the source's own, safetensors where that is another, or the target ends in .safetensors",
    )
    what.add_argument(
        "--pattern", metavar="PATTERN", type=plain, help="the brackets of fused and grouped (default: every pair)"
    )
    what.add_argument("--names", choices=("te", "local"), help="Transformer Engine's names, or local modules'")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--link",
        action="store_true",
        help="share torch_dist data files with the source; refused where they would change",
    )
    how.add_argument("--force", action="store_true", help="replace a target that exists, once the new one is whole")
    how.add_argument("--dry-run", action="store_true", help="say what every tensor would be called; write nothing")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print what was done as JSON")
    output.add_argument("--quiet", action="store_true", help="print the answer's one line only")
    output.add_argument("--details", action="store_true", help="print every name, too")
    output.add_argument("--no-progress", action="store_true", help="no progress bar")
    parser.set_defaults(run=lazy("workbench.cli.convert", "run_convert"))
