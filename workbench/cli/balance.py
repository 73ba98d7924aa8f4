"""`workbench balance`: place `|` so that the slowest pipeline stage is as quick as it can be."""

from __future__ import annotations

import argparse

from workbench.cli.output import deliver, json_text, terminal_width
from workbench.cli.targets import target


def run_balance(args: argparse.Namespace) -> int:
    """Print or write the placement; the stages that the pattern has are shown beside it."""
    if args.output not in (None, "-"):
        from workbench.render.files import check_target

        check_target(args.output, args.force)
    found = target(args, "balance")
    from workbench.cost.stages import best_stages, present_stages
    from workbench.views.balance import document, to_json

    best = best_stages(found.architecture, args.stages, by=args.by, sequence_length=args.sequence_length)
    before = present_stages(found.architecture, by=args.by, sequence_length=args.sequence_length)
    if args.json:
        deliver(json_text(to_json(best, args.by, before)), args.output, args.force)
        return 0
    from workbench.render import html, text

    page = document(best, args.by, before, found.title)
    as_html = args.html or (args.output or "").lower().endswith((".html", ".htm"))
    deliver(html.render(page) if as_html else text.render(page, terminal_width()), args.output, args.force)
    return 0
