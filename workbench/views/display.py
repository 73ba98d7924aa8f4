"""What a notebook cell ends with when it shows measurements: a table of them, or what some checks found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.compare.verdict import Check
from workbench.render import notebook, scene, text
from workbench.render.scene_chart import Panel, Series
from workbench.views.differences import difference_sections, words
from workbench.views.numbers import measure

# A number with its unit, as `workbench.views.numbers` writes it, and a factor or a dash beside it: "20.8 GFLOP", "< 0.1 %", "×7.35".
_QUANTITY = re.compile(r"(< )?[-+]?[\d,.]+( (%|[KMGTPEZ]?FLOP|([KMGTP]i)?B|ms)|[KMBT])|×[\d,.]+|–")


@dataclass(frozen=True)
class Shown:
    """Parts of a scene as the value of a notebook cell; `str()` gives them as text."""

    parts: tuple[scene.Part, ...]

    def __str__(self) -> str:
        return "\n".join(text.render_parts(self.parts, text.WIDTH, unfold=True))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": notebook.render(scene.Document("", self.parts))}


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Shown:
    """Rows of anything under a caption that says what they show.

    A column whose label stands in backquotes is set as code; a column of numbers, or of texts that are a number with its
    unit, is set to the right. A float keeps every digit that Python writes, True is "yes", None is a dash.

    >>> print(table("The first steps.", ["step", "`loss`"], [(1, 4.868778705596924), (2, 4.5)]))
    The first steps.
      step               loss
      ────  ─────────────────
         1  4.868778705596924
         2                4.5
    """
    values = [tuple(row) for row in rows]
    heads = tuple(_column(label, [row[place] for row in values]) for place, label in enumerate(columns))
    return Shown((scene.Table(heads, tuple(tuple(map(_cell, row)) for row in values), caption),))


def curves(title: str, label: str, measured: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> Shown:
    """A curve a name through its points; `label` says what goes across, `measured` what goes up."""
    series = tuple(Series(name, tuple(points), colour=number) for number, (name, points) in enumerate(lines.items()))
    ends = "; ".join(f"{name}: {points[-1][1]:.4g} at {points[-1][0]:.4g}" for name, points in lines.items() if points)
    return Shown((scene.Chart(title, ends, label, (Panel(measured, series),)),))


def findings(*checks: Check) -> Shown:
    """What each check found: a line for one that passed; question, answer and every difference for one that did not."""
    parts: list[scene.Part] = []
    for check in checks:
        if check.passed:
            parts.append(scene.Banner(scene.Status("pass"), f"{words(check.name)}: {check.summary}"))
        else:
            parts += difference_sections([check])
    return Shown(tuple(parts))


# ------------------------------------------------------------------------------------------------------


def _column(label: str, values: Sequence[Any]) -> scene.Column:
    numbers = [_is_number(value) for value in values if value is not None]
    code = len(label) > 1 and label[0] == label[-1] == "`"
    return scene.Column(label.strip("`") if code else label, "right" if numbers and all(numbers) else "left", code)


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return _QUANTITY.fullmatch(value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    return repr(value) if isinstance(value, float) else measure(value)
