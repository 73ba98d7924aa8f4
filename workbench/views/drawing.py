"""A pattern's pictures as one page: both counts, the strip, what each symbol is, and what runs inside of the blocks."""

from __future__ import annotations

from typing import Literal

from workbench.pattern.model import Pattern
from workbench.render import scene
from workbench.views.graph import graph
from workbench.views.pattern import EMPTY, facts, legend, strip

View = Literal["strip", "graph"]


def document(pattern: Pattern, view: View | None = None, fold: bool = False) -> scene.Document:
    """The page that `workbench draw` writes; `view` leaves the other one out, `fold` shows repeats in the strip once."""
    parts: list[scene.Part] = [facts(pattern)]
    if view != "graph":
        parts += [strip(pattern, fold), legend(pattern)]
    if view != "strip":
        parts.append(scene.Section("Inside the blocks", (scene.Paragraph(_READING), graph(pattern))))
    return scene.Document(str(pattern) or EMPTY, tuple(parts), kind="Layer pattern", code=True)


_READING = (
    "The heavy line is the residual stream. A norm reads it, a mixer works on what it read, a bias-dropout-add brings "
    "the result back. Filled mixers work along the sequence, outlined ones along the channels; a dashed slot is empty."
)
