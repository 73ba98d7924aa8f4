"""`workbench balance`: place `|` so that the slowest pipeline stage is as quick as it can be."""

from __future__ import annotations

import argparse

from workbench.cli.output import check_output, deliver, deliver_page, json_text
from workbench.cli.targets import target


def run_balance(args: argparse.Namespace) -> int:
    """Print or write the placement; the stages that the pattern has are shown beside it."""
    check_output(args)
    found = target(args, "balance")
    from workbench.cost.stages import best_stages, present_stages
    from workbench.views.balance import document, to_json

    best = best_stages(found.architecture, args.stages, by=args.by, sequence_length=args.sequence_length)
    before = present_stages(found.architecture, by=args.by, sequence_length=args.sequence_length)
    if args.json:
        deliver(json_text(to_json(best, before)), args.output, args.force)
        return 0
    deliver_page(args, document(best, before, found.title))
    return 0
