"""`workbench verify`: build the twins, run every check, print and write the verdict."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.cli.output import deliver, json_text, terminal_width
from workbench.cli.patterns import only, with_layers
from workbench.cli.sizes import given_sizes
from workbench.errors import WorkbenchError
from workbench.render.files import check_target

if TYPE_CHECKING:
    from workbench.compare.verdict import Check, Verdict

EQUIVALENT, NOT_EQUIVALENT = 0, 1


def run_verify(args: argparse.Namespace) -> int:
    """Everything that can be refused is refused before torch is imported: a run takes half a minute."""
    pattern = with_layers(only(args.patterns, "verify"), "verify")
    against = None if args.against is None else with_layers(args.against, "verify")
    sizes = given_sizes(args.sizes)
    _check_targets(args)

    show = not args.quiet
    stream = sys.stderr if args.json else sys.stdout
    if show:
        print(f"building the twins {pattern} and {against or pattern.unfused()}", file=stream, flush=True)

    from workbench.compare.equivalence import verify
    from workbench.views.verdict import check_line

    def report(check: Check) -> None:
        print(check_line(check), file=stream, flush=True)

    verdict = verify(
        pattern,
        against,
        sizes=sizes,
        steps=args.steps,
        seed=args.seed,
        dtype=args.dtype,
        dropout=args.dropout,
        backend=args.backend,
        atol=args.atol,
        rtol=args.rtol,
        progress=report if show else None,
    )
    _hand_out(verdict, args)
    return EQUIVALENT if verdict.equivalent else NOT_EQUIVALENT


def _check_targets(args: argparse.Namespace) -> None:
    targets = [path for path in (args.html, args.output) if path not in (None, "-")]
    for path in targets:
        check_target(path, args.force)
    if len(targets) == 2 and Path(targets[0]).absolute() == Path(targets[1]).absolute():
        raise WorkbenchError(f"--html and --output are both {targets[0]}")


def _hand_out(verdict: Verdict, args: argparse.Namespace) -> None:
    from workbench.render import html, text
    from workbench.views.verdict import document, headline

    data = json_text(verdict.to_json())
    # Files first: they are kept even when the reader of standard output has gone.
    if args.html is not None:
        deliver(html.render(document(verdict)), args.html, args.force)
    if args.output is not None:
        deliver(data, args.output, args.force)
    if args.json:
        deliver(data, None, False)
    elif args.quiet:
        deliver(headline(verdict), None, False)
    else:
        deliver("\n" + text.render(document(verdict), terminal_width()), None, False)
