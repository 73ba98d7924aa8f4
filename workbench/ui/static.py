"""What stands for a widget where none lives: for the editor the picture of its pattern, or its diagnostics with carets."""

from __future__ import annotations

from typing import Any

from workbench.pattern.diagnostics import render
from workbench.pattern.model import Pattern
from workbench.pattern.sketch import Sketch
from workbench.render.escape import markup
from workbench.views import pattern as view


def bundle(text: str) -> dict[str, str]:
    """`text/plain` and `text/html` of a pattern."""
    sketch = Sketch(text)
    if sketch.sound:
        return framed(view.mimebundle(Pattern(text)))
    told = render(text, sketch.diagnostics)
    return framed({"text/plain": told, "text/html": f"<pre>{markup(told)}</pre>"})


def framed(shown: dict[str, str]) -> dict[str, str]:
    """A bundle whose HTML the page finds by its class, and hides while the widget lives."""
    return {"text/plain": shown["text/plain"], "text/html": f'<div class="wb-static">{shown["text/html"]}</div>'}


def bundle_of(shown: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A widget's own bundle as data and metadata: anywidget hands out either both, the data alone, or None."""
    return shown if isinstance(shown, tuple) else (shown or {}, {})


def only_widget(data: dict[str, Any]) -> dict[str, Any]:
    """The widget's own entry of a bundle: its text/plain is a long repr that says nothing."""
    return {form: value for form, value in data.items() if form.startswith("application/")}
