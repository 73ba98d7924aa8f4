"""`workbench convert`: a checkpoint written with the names of another layout, or in another format."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from workbench.cli.output import deliver, json_text, terminal_width
from workbench.cli.progress import byte_bar
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.checkpoint.conversion import Converted


def run_convert(args: argparse.Namespace) -> int:
    """Exit status 0 once the target is in place; whatever is wrong is a `WorkbenchError`."""
    source, target = _two(args.checkpoints)

    from workbench.checkpoint.convert import convert

    with byte_bar(not (args.no_progress or args.quiet or args.dry_run), "converting") as progress:
        done = convert(
            source,
            target,
            args.to,
            format=args.format,
            pattern=args.pattern,
            names=args.names,
            link=args.link,
            force=args.force,
            dry_run=args.dry_run,
            progress=progress,
        )
    _hand_out(done, args)
    return 0


# ------------------------------------------------------------------------------------------------------


def _two(paths: list[str]) -> tuple[str, str]:
    if len(paths) == 2:
        return paths[0], paths[1]
    if len(paths) > 2:
        raise WorkbenchError(f"workbench convert takes a source and a target, {len(paths)} were given")
    given = f"; where shall {paths[0]} go?" if paths else ""
    raise WorkbenchError(
        f"workbench convert needs a source and a target{given}\n"
        f"  hint: workbench convert {paths[0] if paths else 'model.pt'} canonical.safetensors --to canonical"
    )


def _hand_out(done: Converted, args: argparse.Namespace) -> None:
    if args.json:
        deliver(json_text(done.to_json()), None, False)
        return
    from workbench.views.conversion import document, headline

    if args.quiet:
        deliver(headline(done), None, False)
        return
    from workbench.render import text

    deliver(text.render(document(done), terminal_width(), unfold=args.details or args.dry_run), None, False)
