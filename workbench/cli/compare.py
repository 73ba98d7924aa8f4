"""`workbench compare`: time the twins in turn, print and write how much faster a step is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from workbench.cli.diff import check_targets
from workbench.cli.output import deliver, json_text, printable, terminal_width
from workbench.cli.patterns import only
from workbench.cli.progress import LINES
from workbench.cli.sizes import given_sizes
from workbench.compare.throughput.regimes import problems
from workbench.compare.throughput.result import NotTheSame
from workbench.compare.throughput.twins import has_fused, repeated, twin_patterns

if TYPE_CHECKING:
    from workbench.compare.throughput.result import Throughput

MEASURED, NOT_THE_SAME = 0, 1
REGIMES = {"host": ("host",), "compute": ("compute",), "both": ("host", "compute")}


def run_compare(args: argparse.Namespace) -> int:
    """Everything that can be refused is refused before torch is imported."""
    check_targets((args.html, args.output), filter(None, (args.sizes,)), args.force)
    try:
        return _compare(args)
    except NotTheSame as error:
        if args.json:
            deliver(json_text(error.to_json()), None, False)
        print(printable(f"workbench: {error}"), file=sys.stderr)
        return NOT_THE_SAME


def _compare(args: argparse.Namespace) -> int:
    pattern = repeated(only(args.patterns, "compare"), args.repeat)
    against = None if args.against is None else repeated(args.against, args.repeat)
    fused, unfused = twin_patterns(pattern, against)
    sizes = given_sizes(args.sizes)
    problems(REGIMES[args.regime], sizes, args.threads, args.clock)
    if not args.quiet:
        if against is None and not has_fused(pattern):
            print(f"nothing is fused in {pattern}: it is compared fused everywhere", file=sys.stderr)
        print(f"building the twins {fused} and {unfused}", file=sys.stderr, flush=True)

    from workbench.compare.throughput.measure import throughput

    with _bar(not args.quiet) as progress:
        found = throughput(
            fused,
            unfused,
            sizes=sizes,
            regimes=REGIMES[args.regime],
            trials=args.trials,
            seconds=args.seconds,
            seed=args.seed,
            dtype=args.dtype,
            backend=args.backend,
            threads=args.threads,
            clock=args.clock,
            plain=args.plain,
            progress=progress,
        )
    _hand_out(found, args)
    return MEASURED


@contextmanager
def _bar(wanted: bool) -> Iterator[Callable[[str, float], None] | None]:
    """A function to call with what is measured and the share of it that is done; None where nobody would see a bar."""
    if not (wanted and sys.stderr.isatty()):
        yield None
        return
    from tqdm import tqdm

    form = "{desc}{percentage:3.0f}%|{bar}| {elapsed}"
    with tqdm(total=100, bar_format=form, file=sys.stderr, leave=False, nrows=LINES) as bar:
        shown = [("", -1)]

        def show(measured: str, share: float) -> None:
            now = (measured, int(100 * share))
            if shown[0] == now:
                return
            if shown[0][0] != measured:
                bar.reset()
                bar.set_description(measured, refresh=False)
            shown[0] = now
            bar.n = now[1]
            bar.refresh()

        yield show


def _hand_out(found: Throughput, args: argparse.Namespace) -> None:
    from workbench.render import html, text
    from workbench.views.throughput import document, headline

    data = json_text(found.to_json())
    # Files first: they are kept even when the reader of standard output has gone.
    if args.html is not None:
        deliver(html.render(document(found)), args.html, args.force)
    if args.output is not None:
        deliver(data, args.output, args.force)
    if args.json:
        deliver(data, None, False)
    elif args.quiet:
        deliver(headline(found), None, False)
    else:
        deliver(text.render(document(found), terminal_width()), None, False)
