"""Every command's arguments and help. Each command's module is imported when that command runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from workbench.cli import examples
from workbench.cli.checkpoint_arguments import add_checkpoint_commands
from workbench.cli.compare_arguments import add_compare_arguments
from workbench.cli.lazy import lazy
from workbench.cli.patterns import plain, protect
from workbench.cli.sweep_arguments import add_sweep_arguments
from workbench.cli.training_arguments import add_training_arguments
from workbench.cli.values import natural, positive, probability, tolerance

_RAW = argparse.RawDescriptionHelpFormatter

_MAIN_HELP = """\
Design, review and prove hybrid Mamba / attention / MoE architectures on released Megatron Core.

A pattern is one symbol a layer: M Mamba-2, G gated delta net, * self-attention, + multi-latent
attention, D DeepSeek sparse attention, - MLP, E mixture of experts. [XY] is one fused block,
| ends a pipeline stage, / starts multi-token prediction. Patterns hold * and [, which shells
expand: always quote them.
"""

_MAIN_EXAMPLES = """\
examples:
  workbench explain 'M[*-]M[ME]|M-*-/[*-]'
  workbench fuse 'M-M*-ME'
  workbench draw 'M[*-]M[ME]' -o pattern.svg
  workbench verify 'M[*-]M[ME]' --html verdict.html
  workbench lab

exit status: 0 fine, equivalent or identical, 1 not equivalent or different, 2 bad input
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command line; `run` is the function to call. Exits with status 2 as argparse does."""
    parser, commands = _parsers()
    argv = list(argv)
    if not argv:
        argv = ["--help"]
    command = commands.get(argv[0])
    if command is not None and argv[0] != "lab":
        argv = [argv[0], *protect(argv[1:], set(command._option_string_actions))]
    args = parser.parse_args(argv)
    args.argv = tuple(map(plain, argv))  # as typed: what a command shows for doing the same again
    return args


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        "workbench", description=_MAIN_HELP, epilog=_MAIN_EXAMPLES, formatter_class=_RAW, allow_abbrev=False
    )
    parser.add_argument("--version", action=_Version)
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    commands: dict[str, argparse.ArgumentParser] = {}

    def command(name: str, help: str, shown: str) -> argparse.ArgumentParser:
        made = group.add_parser(
            name,
            help=help,
            description=help[0].upper() + help[1:] + ".",
            epilog=f"examples:\n{shown}",
            formatter_class=_RAW,
            allow_abbrev=False,
        )
        commands[name] = made
        return made

    _explain(command("explain", "show stages, blocks, sub-layers, counts and warnings of a pattern", examples.EXPLAIN))
    for name, what, example in (
        ("fuse", "every adjacent pair fused", "M-M*-ME"),
        ("unfuse", "no brackets", "[M-]M[*-]"),
    ):
        rewrite = command(name, f"print the pattern with {what}", f"  workbench {name} '{example}'\n")
        _pattern(rewrite)
        rewrite.add_argument("--json", action="store_true", help="print JSON")
        rewrite.set_defaults(run=lazy("workbench.cli.explain", f"run_{name}"))
    _draw(command("draw", "draw the layers, or what runs inside of each block, as a picture or a page", examples.DRAW))
    _verify(command("verify", "build the twins, run every check, and say whether they are one model", examples.VERIFY))
    _train(command("train", "train a small model on real text or a synthetic task, against baselines", examples.TRAIN))
    _sweep(
        command(
            "sweep", "train patterns at equal cost, several seeds each, and compare what they learn", examples.SWEEP
        )
    )
    _compare(command("compare", "time the twins in turn, and say whether a fused step is faster", examples.COMPARE))
    _presets(command("presets", "list published architectures with their sources, or show one", examples.PRESETS))
    _cost(
        command("cost", "count parameters, FLOPs and memory, stage by stage, without building anything", examples.COST)
    )
    _balance(
        command("balance", "place | so that the slowest pipeline stage is as quick as it can be", examples.BALANCE)
    )
    add_checkpoint_commands(command)
    _report(command("report", "write everything about a model as one HTML page for a design review", examples.REPORT))
    _lab(
        command(
            "lab", "open JupyterLab on the notebooks", "  workbench lab\n  workbench lab -- --no-browser --port 8889\n"
        )
    )
    return parser, commands


# ------------------------------------------------------------------------------------------- commands


def _pattern(parser: argparse.ArgumentParser) -> None:
    # Many are accepted, so that an expanded glob is answered with the hint to quote, not with argparse's complaint.
    parser.usage = f"{parser.prog} PATTERN [options]"
    parser.add_argument("patterns", metavar="PATTERN", nargs="*", type=plain, help="a layer pattern, in quotes")


def _explain(parser: argparse.ArgumentParser) -> None:
    _pattern(parser)
    _page(parser)
    parser.set_defaults(run=lazy("workbench.cli.explain", "run_explain"))


def _draw(parser: argparse.ArgumentParser) -> None:
    _model(parser)
    look = parser.add_argument_group("the picture")
    look.add_argument(
        "--view",
        choices=("strip", "graph"),
        help="a cell a layer, or what runs inside (default: strip; a page has both)",
    )
    look.add_argument("--theme", choices=("light", "dark"), help="the paper of a picture (default: light)")
    look.add_argument("--fold", action="store_true", help="show blocks that repeat once, with how many times")
    output = parser.add_argument_group("output")
    output.add_argument(
        "-o", "--output", metavar="FILE", type=plain, help="FILE.svg, .png, .pdf, .html, .dot or .txt; - with --format"
    )
    output.add_argument("--format", choices=("svg", "png", "pdf", "html", "dot", "txt"), help="whatever FILE is called")
    output.add_argument("--force", action="store_true", help="replace FILE when it exists")
    parser.set_defaults(run=lazy("workbench.cli.draw", "run_draw"))


def _verify(parser: argparse.ArgumentParser) -> None:
    _pattern(parser)
    twin = parser.add_argument_group("the twins")
    twin.add_argument("--against", metavar="PATTERN", type=plain, help="the other twin (default: PATTERN unfused)")
    twin.add_argument("--sizes", metavar="FILE.json", type=plain, help="sizes of the model (default: tiny)")
    twin.add_argument(
        "--backend", choices=("auto", "local", "te"), default="auto", help="layer modules (default: auto)"
    )
    run = parser.add_argument_group("the run")
    run.add_argument("--steps", type=positive, default=5, help="optimizer steps (default: 5)")
    run.add_argument("--seed", type=natural, default=1234, help="seed of weights and data (default: 1234)")
    run.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="arithmetic (default: fp32)")
    run.add_argument("--dropout", metavar="P", type=probability, help="dropout probability (default: the sizes')")
    nearness = parser.add_argument_group("tolerance (default: bitwise)")
    nearness.add_argument("--atol", metavar="X", type=tolerance, default=0.0, help="absolute")
    nearness.add_argument("--rtol", metavar="X", type=tolerance, default=0.0, help="relative")
    output = parser.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="print the verdict as JSON; progress goes to stderr")
    output.add_argument("--quiet", action="store_true", help="print the verdict's headline only")
    output.add_argument("--html", metavar="FILE", type=plain, help="write the verdict as one self-contained HTML page")
    output.add_argument("--output", metavar="FILE.json", type=plain, help="write the verdict as JSON")
    output.add_argument("--force", action="store_true", help="replace files that exist")
    parser.set_defaults(run=lazy("workbench.cli.verify", "run_verify"))


def _train(parser: argparse.ArgumentParser) -> None:
    _pattern(parser)
    add_training_arguments(parser)
    parser.set_defaults(run=lazy("workbench.cli.train", "run_train"))


def _sweep(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} PATTERN PATTERN … [options]"
    parser.add_argument("patterns", metavar="PATTERN", nargs="*", type=plain, help="layer patterns, each in quotes")
    add_sweep_arguments(parser)
    parser.set_defaults(run=lazy("workbench.cli.sweep", "run_sweep"))


def _compare(parser: argparse.ArgumentParser) -> None:
    _pattern(parser)
    add_compare_arguments(parser)
    parser.set_defaults(run=lazy("workbench.cli.compare", "run_compare"))


def _presets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="one preset; case and punctuation do not matter")
    parser.add_argument("--json", action="store_true", help="print JSON; `sizes` in it is what --sizes takes")
    parser.set_defaults(run=lazy("workbench.cli.presets", "run_presets"))


def _model(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{parser.prog} MODEL [options]"
    parser.add_argument(
        "patterns",
        metavar="MODEL",
        nargs="*",
        type=plain,
        help="a layer pattern in quotes, a preset's name, a Hugging Face config.json, or a script.sh of Megatron-LM's flags",
    )


def _architecture(parser: argparse.ArgumentParser) -> None:
    _model(parser)
    model = parser.add_argument_group("the model")
    model.add_argument("--sizes", metavar="FILE.json", type=plain, help="sizes of a pattern's model (default: tiny)")
    model.add_argument("--vocab-size", metavar="N", type=positive, help="instead of the vocabulary of the sizes")
    model.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16", help="of the weights (default: bf16)")
    model.add_argument(
        "--sequence-length", metavar="N", type=positive, default=8192, help="tokens of a sequence (default: 8192)"
    )


def _run(parser: argparse.ArgumentParser) -> None:
    """What an architecture's costs depend on besides itself."""
    parallel = parser.add_argument_group("ranks")
    for short, name, what in (
        ("tp", "tensor", "ranks that divide each layer"),
        ("pp", "pipeline", "ranks that divide the stages (default: one a stage)"),
        ("ep", "expert", "ranks that divide the experts"),
        ("dp", "data", "replicas"),
    ):
        default = None if name == "pipeline" else 1
        parallel.add_argument(
            f"--{name}-parallel", f"--{short}", metavar="N", type=positive, default=default, help=what
        )
    run = parser.add_argument_group("the run")
    run.add_argument("--micro-batch", metavar="N", type=positive, default=1, help="sequences (default: 1)")
    run.add_argument(
        "--recompute",
        metavar="WHAT",
        default="none",
        help="none, full, or modules such as core_attn,mlp (default: none)",
    )
    run.add_argument(
        "--no-distributed-optimizer", action="store_true", help="every replica holds the whole optimizer state"
    )


def _cost(parser: argparse.ArgumentParser) -> None:
    _architecture(parser)
    _run(parser)
    _page(parser).add_argument("--details", action="store_true", help="print every weight and every formula too")
    parser.set_defaults(run=lazy("workbench.cli.cost", "run_cost"))


def _balance(parser: argparse.ArgumentParser) -> None:
    _architecture(parser)
    parser.add_argument("--stages", metavar="N", type=positive, required=True, help="pipeline stages to place")
    parser.add_argument(
        "--by", choices=("flops", "parameters"), default="flops", help="what a stage costs (default: training FLOPs)"
    )
    _page(parser)
    parser.set_defaults(run=lazy("workbench.cli.balance", "run_balance"))


def _report(parser: argparse.ArgumentParser) -> None:
    _architecture(parser)
    _run(parser)
    beside = parser.add_argument_group("what stands beside it")
    beside.add_argument("--against", metavar="PATTERN", type=plain, help="another pattern, with the same sizes")
    beside.add_argument("--verdict", metavar="FILE.json", type=plain, help="as workbench verify --output writes it")
    beside.add_argument("--date", metavar="TEXT", type=plain, help="a date to print; without it the page has none")
    output = parser.add_argument_group("output")
    output.add_argument(
        "-o", "--output", metavar="FILE.html", type=plain, help="write to FILE.html, not to standard output"
    )
    output.add_argument("--force", action="store_true", help="replace FILE.html when it exists")
    parser.set_defaults(run=lazy("workbench.cli.report", "run_report"), html=True, parser=parser)


def _page(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    output = parser.add_argument_group("output")
    form = output.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--html", action="store_true", help="one self-contained HTML page")
    output.add_argument("-o", "--output", metavar="FILE", type=plain, help="write to FILE, not to standard output")
    output.add_argument("--force", action="store_true", help="replace FILE when it exists")
    return output


def _lab(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("jupyter", metavar="ARG", nargs="*", help="after --: arguments of JupyterLab")
    parser.set_defaults(run=lazy("workbench.cli.lab", "run_lab"))


class _Version(argparse.Action):
    """Looks the versions up only when asked: reading package metadata takes longer than `explain` does."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the versions of workbench and megatron-core")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"workbench {_installed('hybrid-workbench')} (megatron-core {_installed('megatron-core')})")
        parser.exit(0)


def _installed(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
