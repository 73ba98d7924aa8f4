"""What stands for the editor where no widget lives: the picture of its pattern, or its diagnostics with carets."""

from __future__ import annotations

from workbench.pattern.diagnostics import render
from workbench.pattern.model import Pattern
from workbench.pattern.sketch import Sketch
from workbench.render.escape import markup
from workbench.views import pattern as view


def bundle(text: str) -> dict[str, str]:
    """`text/plain` and `text/html`. The page finds the HTML by its class and hides it while the widget lives."""
    sketch = Sketch(text)
    if sketch.sound:
        shown = view.mimebundle(Pattern(text))
        return {"text/plain": shown["text/plain"], "text/html": f'<div class="wb-static">{shown["text/html"]}</div>'}
    told = render(text, sketch.diagnostics)
    return {"text/plain": told, "text/html": f'<div class="wb-static"><pre>{markup(told)}</pre></div>'}
