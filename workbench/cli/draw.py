"""`workbench draw`: the picture of a pattern as a file; the file's suffix says which kind."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.cli.output import check_output, terminal_width
from workbench.cli.targets import pattern_of
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

if TYPE_CHECKING:
    from workbench.render.canvas import Canvas, Theme

FORMATS = ("svg", "png", "pdf", "html", "dot", "txt")
_PAGES = ("html", "txt")  # that show both views, and follow their reader's theme
_KNOWN = "." + ", .".join(FORMATS)


def run_draw(args: argparse.Namespace) -> int:
    """Draw a pattern into a file, or onto standard output."""
    pattern = pattern_of(args.patterns, "draw")
    format = _format(args)
    _check(args, format)
    if not (pattern.sublayers or pattern.mtp):
        raise WorkbenchError("an empty pattern has no layers: there is nothing to draw")
    check_output(args)
    _deliver(_WRITERS[format](pattern, args), format, args)
    return 0


# ------------------------------------------------------------------------------------------------------


def _format(args: argparse.Namespace) -> str:
    """What `--format` says, else what the file's suffix says."""
    if args.format:
        return str(args.format)
    if args.output in (None, "-"):
        raise WorkbenchError(f"to write to standard output, say which form: --format {'|'.join(FORMATS)}")
    suffix = Path(args.output).suffix.lower().removeprefix(".")
    suffix = {"htm": "html", "gv": "dot"}.get(suffix, suffix)
    if suffix not in FORMATS:
        told = f"no form of a drawing ends in .{suffix}" if suffix else "a file's suffix says what to draw"
        raise WorkbenchError(f"{told}: use one of {_KNOWN}, or --format")
    return suffix


def _check(args: argparse.Namespace, format: str) -> None:
    """Refuse what would otherwise be left out without a word."""
    if args.theme and format in _PAGES:
        raise WorkbenchError(f"--theme is for pictures: a .{format} file follows its reader's own theme")
    if args.view == "strip" and format == "dot":
        raise WorkbenchError("DOT is a form of the graph: leave --view strip out, or write .svg, .png or .pdf")
    if args.fold and (format == "dot" or args.view == "graph"):
        raise WorkbenchError("--fold is for the strip: the graph shows every block once already")


def _canvas(pattern: Pattern, args: argparse.Namespace) -> Canvas:
    if args.view == "graph":
        from workbench.render.graph import draw as draw_graph
        from workbench.views.graph import graph

        return draw_graph(graph(pattern))
    from workbench.render.strip import draw as draw_strip
    from workbench.views.pattern import strip

    return draw_strip(strip(pattern, args.fold))


def _theme(args: argparse.Namespace) -> Theme:
    return "dark" if args.theme == "dark" else "light"


def _svg(pattern: Pattern, args: argparse.Namespace) -> bytes:
    from workbench.render.canvas_svg import svg

    return (svg(_canvas(pattern, args), _theme(args), ground=True) + "\n").encode()


def _png(pattern: Pattern, args: argparse.Namespace) -> bytes:
    from workbench.render.canvas_xdot import png

    return png(_canvas(pattern, args), _theme(args))


def _pdf(pattern: Pattern, args: argparse.Namespace) -> bytes:
    from workbench.render.canvas_xdot import pdf

    return pdf(_canvas(pattern, args), _theme(args))


def _dot(pattern: Pattern, args: argparse.Namespace) -> bytes:
    from workbench.render.graph_dot import source
    from workbench.views.graph import graph

    return source(graph(pattern), _theme(args)).encode()


def _html(pattern: Pattern, args: argparse.Namespace) -> bytes:
    from workbench.render.html import render
    from workbench.views.drawing import document

    return render(document(pattern, args.view, args.fold)).encode()


def _txt(pattern: Pattern, args: argparse.Namespace) -> bytes:
    from workbench.render.text import WIDTH, render
    from workbench.views.drawing import document

    # A file is the same on every terminal.
    width = terminal_width() if args.output in (None, "-") else WIDTH
    return render(document(pattern, args.view, args.fold), width).encode()


_WRITERS: dict[str, Callable[[Pattern, argparse.Namespace], bytes]] = {
    "svg": _svg,
    "png": _png,
    "pdf": _pdf,
    "html": _html,
    "dot": _dot,
    "txt": _txt,
}


def _deliver(data: bytes, format: str, args: argparse.Namespace) -> None:
    if args.output not in (None, "-"):
        from workbench.render.files import write_bytes_atomically

        written = write_bytes_atomically(args.output, data, args.force)
        print(f"wrote {written}", file=sys.stderr)
        return
    if format == "txt":
        sys.stdout.write(data.decode())  # in the terminal's own characters
        return
    if format in ("png", "pdf") and (sys.stdout.isatty() or not hasattr(sys.stdout, "buffer")):
        raise WorkbenchError(f"a {format.upper()} is no text for a terminal: name a file with -o, or redirect to one")
    if not hasattr(sys.stdout, "buffer"):
        sys.stdout.write(data.decode())
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
