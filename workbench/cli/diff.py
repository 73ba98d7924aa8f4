"""`workbench diff`: two checkpoints compared, what differs printed and written."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.cli.output import deliver, json_text, terminal_width
from workbench.cli.progress import byte_bar
from workbench.errors import WorkbenchError
from workbench.render.files import check_target

if TYPE_CHECKING:
    from workbench.checkpoint.differences import Diff

SAME, DIFFERENT = 0, 1
_INDENTED = 1000  # differences up to which JSON is laid out for a reader


def run_diff(args: argparse.Namespace) -> int:
    """Everything that can be refused is refused before a file is opened: a large one takes a while."""
    left, right = _two(args.checkpoints)
    check_targets((args.html, args.output), (left, right), args.force)

    from workbench.checkpoint.diff import diff

    with byte_bar(not (args.no_progress or args.quiet), "comparing") as progress:
        found = diff(
            left,
            right,
            rtol=args.rtol,
            atol=args.atol,
            ulp=args.ulp,
            only=tuple(args.only),
            ignore=tuple(args.ignore),
            values=not args.names_only,
            as_written=args.as_written,
            progress=progress,
        )
    _hand_out(found, args)
    return SAME if nothing_differs(found) else DIFFERENT


def nothing_differs(found: Diff) -> bool:
    """Nothing that was looked at differs; a diff of names alone has looked at no value, and is not called identical."""
    return found.identical or (not found.compared and not any(entry.content for entry in found.differences))


def check_targets(targets: Iterable[str | None], inputs: Iterable[str], force: bool) -> None:
    """Refuse files that cannot be written, that are one file, or that would replace a part of what is read."""
    paths = [Path(target) for target in targets if target not in (None, "-")]
    for path in paths:
        for given in inputs:
            if _holds(Path(given), path):
                raise WorkbenchError(f"cannot write {path}: it belongs to {given}, which is only read")
        check_target(path, force)
    if len({path.absolute() for path in paths}) < len(paths):
        raise WorkbenchError(f"--html and --output are both {paths[0]}")


# ------------------------------------------------------------------------------------------------------


def _two(paths: list[str]) -> tuple[str, str]:
    if len(paths) == 2:
        return paths[0], paths[1]
    if not paths:
        raise WorkbenchError(
            "workbench diff needs two checkpoints, such as: workbench diff before.safetensors after.safetensors\n"
            "  hint: --only and --ignore take every word after them: write A and B first"
        )
    if len(paths) == 1:
        raise WorkbenchError(
            f"workbench diff compares two checkpoints; what is {paths[0]} to be compared with?\n"
            f"  hint: workbench diff {paths[0]} OTHER; to look at one, workbench inspect {paths[0]}"
        )
    raise WorkbenchError(f"workbench diff takes two checkpoints, {len(paths)} were given")


def _holds(given: Path, path: Path) -> bool:
    """The file to write is there, and is the input or lies within it."""
    try:
        return path.is_file() and path.resolve().is_relative_to(given.resolve())
    except (OSError, ValueError):  # a name that no file can have: whoever opens or writes it says so
        return False


def _hand_out(found: Diff, args: argparse.Namespace) -> None:
    from workbench.views.diff import document, headline

    # Files first: they are kept even when the reader of standard output has gone.
    if args.html is not None:
        from workbench.render import html
        from workbench.views.diff_page import page

        deliver(html.render(page(found)), args.html, args.force)
    if args.output is not None or args.json:
        data = json_text(found.to_json(), indented=len(found.differences) <= _INDENTED)
        if args.output is not None:
            deliver(data, args.output, args.force)
    if args.json:
        deliver(data, None, False)
    elif args.quiet:
        deliver(headline(found), None, False)
    else:
        from workbench.render import text

        deliver(text.render(document(found), terminal_width(), unfold=args.details), None, False)
