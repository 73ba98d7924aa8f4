"""`workbench presets`: published architectures, with their sources."""

from __future__ import annotations

import argparse

from workbench.cli.output import deliver, json_text, terminal_width


def run_presets(args: argparse.Namespace) -> int:
    """List the presets, or show one of them."""
    from workbench.arch.presets import preset, presets
    from workbench.render import text
    from workbench.views.presets import document, one, to_json

    found = [preset(args.name)] if args.name else list(presets())
    if args.json:
        deliver(json_text(to_json(found)), None, False)
        return 0
    page = one(found[0]) if args.name else document(found)
    deliver(text.render(page, terminal_width(), unfold=bool(args.name)), None, False)
    return 0
