"""The page's half of the widgets: hand-written scripts, those of `assets/` and those that pages have too, joined into one module."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

# Each stands on those before it; the last one exports the widget.
SCRIPTS = ("render/elements.js", "dom.js", "text.js", "strip.js", "tables.js", "editor.js")
DIFF_SCRIPTS = ("render/elements.js", "dom.js", "render/browse.js", "diff.js")
CHART_SCRIPTS = ("render/elements.js", "dom.js", "chart.js")
DIFF_STYLES = ("render/browse.css", "diff.css")


@cache
def script() -> str:
    """One ECMAScript module: the editor's."""
    return "\n".join(map(_read, SCRIPTS))


@cache
def style() -> str:
    """Its style sheet."""
    return _read("editor.css")


@cache
def diff_script() -> str:
    """The module of the diff browser."""
    return "\n".join(map(_read, DIFF_SCRIPTS))


@cache
def diff_style() -> str:
    """Its style sheet."""
    return "\n".join(map(_read, DIFF_STYLES))


@cache
def chart_script() -> str:
    """The module of the training chart."""
    return "\n".join(map(_read, CHART_SCRIPTS))


@cache
def chart_style() -> str:
    """Its style sheet."""
    return _read("chart.css")


def _read(name: str) -> str:
    package, _, name = name.rpartition("/")
    return (files(f"workbench.{package or 'ui'}") / "assets" / name).read_text(encoding="utf-8")
