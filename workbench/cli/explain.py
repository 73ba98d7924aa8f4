"""`workbench explain`, `fuse` and `unfuse`: everything that a pattern alone says."""

from __future__ import annotations

import argparse

from workbench.cli.output import check_output, deliver, deliver_page, json_text
from workbench.cli.patterns import only
from workbench.pattern.explain import explain
from workbench.pattern.model import Pattern

REWRITE_SCHEMA = "workbench.rewrite/1"


def run_explain(args: argparse.Namespace) -> int:
    """Print or write a pattern's page."""
    pattern = Pattern(only(args.patterns, "explain"))
    check_output(args)
    if args.json:
        deliver(json_text(explain(pattern)), args.output, args.force)
        return 0
    from workbench.views.pattern import document

    deliver_page(args, document(pattern))
    return 0


def run_fuse(args: argparse.Namespace) -> int:
    """Print the pattern with every adjacent pair fused."""
    pattern = Pattern(only(args.patterns, "fuse"))
    return _print_rewrite(pattern, pattern.fused(), args.json)


def run_unfuse(args: argparse.Namespace) -> int:
    """Print the pattern without brackets."""
    pattern = Pattern(only(args.patterns, "unfuse"))
    return _print_rewrite(pattern, pattern.unfused(), args.json)


def _print_rewrite(before: Pattern, after: Pattern, as_json: bool) -> int:
    if as_json:
        data = {"schema": REWRITE_SCHEMA, "given": str(before), "pattern": str(after), "counts": after.counts}
        deliver(json_text(data), None, False)
    else:
        deliver(str(after), None, False)
    return 0
