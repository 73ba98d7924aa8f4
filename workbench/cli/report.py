"""`workbench report`: everything about one design in one HTML file that asks nothing of anybody."""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
from typing import TYPE_CHECKING

from workbench.cli.cost import estimated
from workbench.cli.output import check_output, deliver_page, printable
from workbench.cli.targets import target
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.arch.architecture import Architecture
    from workbench.compare.verdict import Verdict
    from workbench.cost.summary import Cost

# Options that change what a report says, in the order that its command is shown in.
_OPTIONS = (
    "against", "sizes", "vocab_size", "dtype", "sequence_length", "tensor_parallel", "pipeline_parallel",
    "expert_parallel", "data_parallel", "micro_batch", "recompute", "verdict", "date",
)  # fmt: skip


def run_report(args: argparse.Namespace) -> int:
    """Write the report; everything that can be refused is refused first."""
    check_output(args)
    found = target(args, "report")
    verdict, inputs = _verdict(args.verdict)
    cost = estimated(found.architecture, args)
    other = None if args.against is None else _other(found.architecture, args)
    from workbench.views.provenance import Provenance
    from workbench.views.report import document

    provenance = Provenance(command_line(args), args.date or "", inputs)
    page = document(cost, title=found.title, against=other, verdict=verdict, notes=found.notes, provenance=provenance)
    deliver_page(args, page)
    return 0


def command_line(args: argparse.Namespace) -> str:
    """The command that gives the same report, wherever it is written to: options at their defaults are left out."""
    words = ["workbench", "report", *map(shlex.quote, args.patterns)]
    for name in _OPTIONS:
        value = getattr(args, name)
        if value is not None and value != args.parser.get_default(name):
            words += [f"--{name.replace('_', '-')}", shlex.quote(str(value))]
    if args.no_distributed_optimizer:
        words.append("--no-distributed-optimizer")
    return printable(" ".join(words))


# ------------------------------------------------------------------------------------------------------


def _other(architecture: Architecture, args: argparse.Namespace) -> Cost:
    """The cost of the pattern of --against, with the sizes of the first."""
    from workbench.arch.architecture import Architecture
    from workbench.pattern.model import Pattern

    against = Pattern(args.against)
    if not against.sublayers:
        raise WorkbenchError("an empty pattern has no layers: there is nothing to compare with")
    try:
        return estimated(Architecture(against, architecture.sizes, dtype=args.dtype), args)
    except WorkbenchError as error:
        raise WorkbenchError(f"--against {args.against}: {error}") from error


def _verdict(path: str | None) -> tuple[Verdict | None, tuple[tuple[str, str], ...]]:
    """A verdict as `workbench verify --output` writes it, and the digest of its file."""
    if path is None:
        return None, ()
    from workbench.arch.reading import naming, read_bytes
    from workbench.compare.verdict import Verdict

    with naming(path):
        data = read_bytes(path)
        verdict = Verdict.from_json(json.loads(data.decode("utf-8-sig")))
    return verdict, (("sha256 of the verdict's file", hashlib.sha256(data).hexdigest()),)
