"""`workbench report`: everything about one design in one HTML file that asks nothing of anybody."""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.cli.cost import estimated
from workbench.cli.output import check_output, deliver, printable
from workbench.cli.targets import target
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.compare.verdict import Verdict

_MOST_BYTES = 64 * 2**20  # of a verdict: one of thousands of differences has a few hundred kilobytes

# Options that change what a report says, in the order that its command is shown in.
_OPTIONS = (
    "against", "sizes", "vocab_size", "dtype", "sequence_length", "tensor_parallel", "pipeline_parallel",
    "expert_parallel", "data_parallel", "micro_batch", "recompute", "verdict", "date",
)  # fmt: skip
_DEFAULTS = {
    "dtype": "bf16", "sequence_length": 8192, "tensor_parallel": 1, "expert_parallel": 1, "data_parallel": 1,
    "micro_batch": 1, "recompute": "none",
}  # fmt: skip


def run_report(args: argparse.Namespace) -> int:
    """Write the report; everything that can be refused is refused first."""
    check_output(args)
    found = target(args, "report")
    verdict, inputs = _verdict(args.verdict)
    cost = estimated(found.architecture, args)
    other = None
    if args.against is not None:
        from workbench.arch.architecture import Architecture
        from workbench.pattern.model import Pattern

        against = Pattern(args.against)
        if not against.sublayers:
            raise WorkbenchError("an empty pattern has no layers: there is nothing to compare with")
        other = estimated(Architecture(against, found.architecture.sizes, dtype=args.dtype), args)
    from workbench.render import html
    from workbench.views.provenance import Provenance
    from workbench.views.report import document

    provenance = Provenance(command_line(args), args.date or "", inputs)
    page = document(cost, title=found.title, against=other, verdict=verdict, notes=found.notes, provenance=provenance)
    deliver(html.render(page), args.output, args.force)
    return 0


def command_line(args: argparse.Namespace) -> str:
    """The command that gives the same report, wherever it is written to: options at their defaults are left out."""
    words = ["workbench", "report", *map(shlex.quote, args.patterns)]
    for name in _OPTIONS:
        value = getattr(args, name)
        if value is not None and value != _DEFAULTS.get(name):
            words += [f"--{name.replace('_', '-')}", shlex.quote(str(value))]
    if args.no_distributed_optimizer:
        words.append("--no-distributed-optimizer")
    return printable(" ".join(words))


# ------------------------------------------------------------------------------------------------------


def _verdict(path: str | None) -> tuple[Verdict | None, tuple[tuple[str, str], ...]]:
    """A verdict as `workbench verify --output` writes it, and the digest of its file."""
    if path is None:
        return None, ()
    from workbench.compare.verdict import Verdict

    try:
        with Path(path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise WorkbenchError(f"not a verdict: it has more than {_MOST_BYTES} bytes")
        verdict = Verdict.from_json(json.loads(data.decode("utf-8-sig")))
    except OSError as error:
        raise WorkbenchError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise WorkbenchError(f"{path}: not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise WorkbenchError(f"{path}: line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        # Also a number of thousands of digits, a thousand nested lists, a NUL in the name.
        raise WorkbenchError(f"{path}: {error}") from error
    return verdict, (("sha256 of the verdict's file", hashlib.sha256(data).hexdigest()),)
