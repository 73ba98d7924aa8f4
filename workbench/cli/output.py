"""What commands hand out: JSON texts and pages, to a file or to the terminal."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.render.scene import Document

ERROR_SCHEMA = "workbench.error/1"


def json_text(data: Any, indented: bool = True) -> str:
    """Data as ASCII JSON, indented for a reader. Not-a-number and infinities, which JSON lacks, become "nan" and "inf".

    Without the indent it is written in a fifth of the time: for what no person reads to its end.
    """
    return json.dumps(_finite(data), indent=2 if indented else None, allow_nan=False, default=str)


def error_json(error: WorkbenchError) -> str:
    """Bad input as JSON: the text that also goes to stderr, and a pattern's diagnostics."""
    diagnostics = [entry.to_json() for entry in getattr(error, "diagnostics", ())]
    return json_text({"schema": ERROR_SCHEMA, "error": str(error), "diagnostics": diagnostics})


def printable(text: str) -> str:
    """Text whose control characters, which a file's name can hold, are shown and do not reach the terminal.

    >>> printable("\\x1b[31mred.json: not there")
    '\\\\x1b[31mred.json: not there'
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def terminal_width() -> int:
    """Columns to write for: the terminal's, at most 120; 100 where there is none."""
    return min(shutil.get_terminal_size((100, 24)).columns, 120)


def deliver(text: str, path: str | None, force: bool) -> None:
    """Write the text to the file, or to standard output where there is none (or it is "-")."""
    if path in (None, "-"):
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        return
    from workbench.render.files import write_text_atomically

    written = write_text_atomically(str(path), text if text.endswith("\n") else text + "\n", force)
    print(f"wrote {written}", file=sys.stderr)


def check_output(args: argparse.Namespace) -> None:
    """Refuse a file that cannot be written before anything is computed for it."""
    if args.output not in (None, "-"):
        from workbench.render.files import check_target

        check_target(args.output, args.force)


def deliver_page(args: argparse.Namespace, page: Document, *, unfold: bool = False) -> None:
    """Hand out a page in the form that was asked for; a FILE.html is HTML unless told otherwise.

    `unfold` shows in text what a reader of HTML would open.
    """
    from workbench.render import html, text

    as_html = args.html or (args.output or "").lower().endswith((".html", ".htm"))
    if as_html and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")  # as the page says of itself, whatever the terminal can show
    deliver(
        html.render(page) if as_html else text.render(page, terminal_width(), unfold=unfold), args.output, args.force
    )


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else str(data)
    if data is None or isinstance(data, str | int):
        return data
    if isinstance(data, dict):
        return {str(name): _finite(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data
