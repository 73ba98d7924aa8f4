"""What the page shows of a diff, as JSON data: every text is made here, the script only draws it. Pure.

Texts come from strangers' files: what could turn the reading around, or is no character, is replaced by what is seen.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from workbench.checkpoint.differences import Detail, Diff, TensorDifference
from workbench.render import heat, scene
from workbench.render.escape import visible
from workbench.views import diff as view
from workbench.views import diff_detail, diff_page, diff_words
from workbench.views.numbers import count, counted

MOST_ROWS = 5000  # that are sent to a notebook; the worst come first


def shown(diff: Diff) -> tuple[TensorDifference, ...]:
    """The differences that have a row, in the order of the rows."""
    return tuple(diff.differences[place] for place in diff_words.ranked(diff)[:MOST_ROWS])


def compute(diff: Diff) -> dict[str, Any]:
    """The answer, its causes, and a row a difference: [cells, keys, picks, sentences, whether it can be looked at]."""
    found = shown(diff)
    banner = view.banner(diff)
    more = len(diff.differences) - len(found)
    return {
        "outcome": banner.status.outcome,
        "word": banner.status.text,
        "said": visible(banner.text),
        "sides": [
            visible(f"{name}: {side.where} ({side.format})")
            for name, side in (("left", diff.left), ("right", diff.right))
        ],
        "causes": list(map(visible, diff.sentences)),
        "columns": [[column.label, column.align == "right", column.code] for column in diff_page.COLUMNS],
        "picks": [[pick.label, list(map(visible, pick.values))] for pick in diff_page.picks(found)],
        "noun": list(diff_page.NOUN),
        "caption": f"{counted(len(found), 'difference')}, the worst first"
        + (f"; {count(more)} are not shown here: JSON has every one." if more > 0 else "."),
        "rows": [_row(diff, entry) for entry in found],
    }


def looked(detail: Detail) -> dict[str, Any]:
    """A close look: the histogram, the map as pictures on light and dark paper, and the worst entries."""
    most = max((number for _, number in detail.histogram), default=0)
    found: dict[str, Any] = {
        "histogram": [
            [diff_detail.bin_name(lowest), count(number), diff_detail.share(number, most)]
            for lowest, number in detail.histogram
        ],
        "histogram_said": diff_detail.histogram(detail).caption,
        "sample": [
            [f"[{', '.join(map(str, index))}]", visible(left), visible(right)] for index, left, right in detail.sample
        ],
        "sample_said": diff_detail.sample(detail).caption,
    }
    if any(map(any, detail.heat)):
        drawn = diff_detail.heat_map(detail)
        found["heat"] = {
            "light": _address(heat.svg(drawn, "light")),
            "dark": _address(heat.svg(drawn, "dark")),
            "said": f"{visible(drawn.title)}: {drawn.description} {drawn.scale}",
        }
    return found


# ------------------------------------------------------------------------------------------------------


def _row(diff: Diff, found: TensorDifference) -> list[Any]:
    cells = [
        [cell.outcome, cell.text] if isinstance(cell, scene.Status) else visible(str(cell))
        for cell in diff_page.cells(found)
    ]
    can_look = diff.look is not None and diff_page.can_look(found)
    keys = [None if key is None else _finite(key) for key in diff_page.keys(found)]
    picked, sentences = map(visible, diff_page.picked(found)), map(visible, diff_detail.sentences(found))
    return [cells, keys, list(picked), list(sentences), can_look]


def _finite(key: float) -> float | str:
    """JSON has no infinity; the script's Number() reads these words."""
    if key != key:
        return "NaN"
    return key if abs(key) != float("inf") else "Infinity" if key > 0 else "-Infinity"


def _address(picture: str) -> str:
    return f"data:image/svg+xml;base64,{b64encode(picture.encode()).decode()}"
