"""The page's half of the editor, from `assets/`: hand-written scripts, joined in order into the one module of a widget."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

# Each stands on those before it; the last one exports the widget.
SCRIPTS = ("dom.js", "text.js", "strip.js", "tables.js", "editor.js")


@cache
def script() -> str:
    """One ECMAScript module."""
    return "\n".join(map(_read, SCRIPTS))


@cache
def style() -> str:
    """Its style sheet."""
    return _read("editor.css")


def _read(name: str) -> str:
    return (files("workbench.ui") / "assets" / name).read_text(encoding="utf-8")
