"""`workbench sweep`: patterns at equal cost, several seeds each; a table of every seed, and the picture of quality against cost."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from workbench.cli.diff import check_targets
from workbench.cli.output import deliver, json_text, terminal_width
from workbench.cli.patterns import several, with_layers
from workbench.cli.sizes import given_sizes
from workbench.compare.training.settings import TrainingSettings
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.compare.sweep.result import Sweep

EVALUATIONS = 10  # of a run, about


def run_sweep(args: argparse.Namespace) -> int:
    """Everything that can be refused is refused before torch is imported."""
    patterns = [with_layers(text, "train") for text in several(args.patterns, "sweep")]
    sizes = given_sizes(args.sizes)
    settings = TrainingSettings(
        steps=args.steps,
        rows=args.rows,
        learning_rate=args.learning_rate,
        min_learning_rate=args.learning_rate / 10,
        evaluate_every=max(1, -(-args.steps // EVALUATIONS)),
    )
    if args.chart is not None and not args.chart.lower().endswith(".svg"):
        raise WorkbenchError(f"--chart writes SVG: name the file .svg, not {args.chart}")
    check_targets((args.html, args.output, args.chart), filter(None, (args.sizes,)), args.force)

    import torch

    from workbench.compare.data.opening import open_data
    from workbench.compare.sweep.run import sweep

    torch.set_num_threads(args.threads)

    def said(done: int, total: int, name: str) -> None:
        if name and not args.quiet:
            print(f"run {done + 1} of {total}: {name}", file=sys.stderr, flush=True)

    # The data is the same for every run: what differs between seeds is where a model starts.
    data = open_data(args.data, sequence=args.sequence, seed=args.seeds[0])
    found = sweep(
        patterns,
        data,
        settings,
        sizes=sizes,
        equal=args.equal,
        tolerance=args.tolerance,
        seeds=args.seeds,
        progress=said,
    )
    _hand_out(found, args)
    return 0


# ------------------------------------------------------------------------------------------------------


def _hand_out(found: Sweep, args: argparse.Namespace) -> None:
    from workbench.render import chart, html, text
    from workbench.render.scene import Document
    from workbench.views.sweep import against_cost, document, results

    data = json_text(found.to_json())
    # Files first: they are kept even when the reader of standard output has gone.
    if args.html is not None:
        deliver(html.render(document(found, args.quality)), args.html, args.force)
    if args.chart is not None:
        deliver(chart.svg(against_cost(found, args.quality), "light", ground=True), args.chart, args.force)
    if args.output is not None:
        deliver(data, args.output, args.force)
    if args.json:
        deliver(data, None, False)
    else:
        page = Document("What each pattern learned", (results(found, args.quality),))
        deliver(text.render(page, terminal_width()), None, False)
