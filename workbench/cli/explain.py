"""`workbench explain`, `fuse` and `unfuse`: everything that a pattern alone says."""

from __future__ import annotations

import argparse

from workbench.cli.output import deliver, json_text, terminal_width
from workbench.cli.patterns import only
from workbench.pattern.explain import explain
from workbench.pattern.model import Pattern

REWRITE_SCHEMA = "workbench.rewrite/1"


def run_explain(args: argparse.Namespace) -> int:
    """Print or write a pattern's page in the form that was asked for; a FILE.html is HTML unless told otherwise."""
    pattern = Pattern(only(args.patterns, "explain"))
    if args.output not in (None, "-"):
        from workbench.render.files import check_target

        check_target(args.output, args.force)
    if args.json:
        deliver(json_text(explain(pattern)), args.output, args.force)
        return 0
    from workbench.render import html, text
    from workbench.views.pattern import document

    page = document(pattern)
    as_html = args.html or (args.output or "").lower().endswith((".html", ".htm"))
    deliver(html.render(page) if as_html else text.render(page, terminal_width()), args.output, args.force)
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
