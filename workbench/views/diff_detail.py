"""One pair of tensors looked at closely: how far its entries are apart, where, and the worst of them. Pure."""

from __future__ import annotations

import math

from workbench.checkpoint.differences import Detail, TensorDifference
from workbench.render import scene
from workbench.views import diff_words as words
from workbench.views.numbers import count, counted, percent

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
EQUAL = "equal"
_BY = {
    "name": "",
    "layout": "They were paired by a rule of the layouts.",
    "content": "They were paired by their content.",
}


def sentences(found: TensorDifference) -> tuple[str, ...]:
    """What the columns of a table have no room for: the engine's sentence, both names, shapes, the first mismatch."""
    told = [
        f"{words.clipped(found.detail, 400).rstrip('.')}." if found.detail else "",
        _names(found),
        _first(found),
        _special(found),
    ]
    return tuple(filter(None, told))


def parts(detail: Detail) -> tuple[scene.Part, ...]:
    """The histogram beside the map, and the worst entries."""
    found: list[scene.Section] = []
    if detail.histogram:
        found.append(scene.Section("How far", (histogram(detail),)))
    if any(map(any, detail.heat)):
        found.append(scene.Section("Where", (heat_map(detail),)))
    shown: list[scene.Part] = [scene.SideBySide(tuple(found))] if found else []
    return (*shown, sample(detail)) if detail.sample else tuple(shown)


def histogram(detail: Detail) -> scene.Table:
    """Entries by the power of ten of their distance; bars grow with the logarithm, so that one entry is still a bar."""
    most = max((number for _, number in detail.histogram), default=0)
    rows = tuple(
        (bin_name(lowest), scene.Bar(share(number, most), count(number))) for lowest, number in detail.histogram
    )
    columns = (scene.Column("|left − right|"), scene.Column("entries"))
    return scene.Table(
        columns,
        rows,
        "Entries by how far they are apart, where both are finite. Each tenfold makes a bar longer by as much.",
    )


def bin_name(lowest: int | None) -> str:
    """A bin of the histogram, which reaches from a power of ten to the next.

    >>> bin_name(None), bin_name(-7)
    ('equal', '10⁻⁷ to 10⁻⁶')
    """
    if lowest is None:
        return EQUAL
    return " to ".join(f"10{str(power).translate(_SUPERSCRIPTS)}" for power in (lowest, lowest + 1))


def share(number: int, most: int) -> float:
    """How long a bar is: 0 only for 0 entries."""
    return math.log10(1 + 9 * number) / math.log10(1 + 9 * most) if number > 0 else 0.0


def heat_map(detail: Detail) -> scene.HeatMap:
    """Where in the last two axes entries differ."""
    rows, columns = len(detail.heat), max(map(len, detail.heat), default=0)
    hit = sum(entry > 0 for row in detail.heat for entry in row)
    most, at = max(
        ((entry, (y, x)) for y, row in enumerate(detail.heat) for x, entry in enumerate(row)), default=(0, (0, 0))
    )
    where = f"rows from {count(at[0] * detail.rows)}, columns from {count(at[1] * detail.columns)}"
    said = (
        f"{counted(hit, 'cell')} of {count(rows)} × {count(columns)} have entries that differ; "
        f"the most, {percent(most)}, at {where}."
    )
    scale = f"of a cell's entries, {count(detail.rows)} × {count(detail.columns)} of the last two axes"
    if detail.rows == detail.columns == 1:
        scale = "of a cell, which is one entry of the last two axes"
    return scene.HeatMap(f"Where {words.clipped(detail.name)} differs", said, detail.heat, scale)


def sample(detail: Detail) -> scene.Table:
    """The entries that are furthest apart."""
    columns = (scene.Column("at", code=True), scene.Column("left", "right", True), scene.Column("right", "right", True))
    rows = tuple((f"[{', '.join(map(str, index))}]", left, right) for index, left, right in detail.sample)
    return scene.Table(columns, rows, "The entries that are furthest apart.")


# ------------------------------------------------------------------------------------------------------


def _names(found: TensorDifference) -> str:
    if found.other_name is None or found.other_name == found.name:
        return _BY[found.by]
    return f"{words.clipped(found.written or found.name)} is {words.clipped(found.other_name)} on the right. {_BY[found.by]}".strip()


def _first(found: TensorDifference) -> str:
    if found.metrics is None or found.metrics.first is None:
        return ""
    left, right = words.values(found.metrics)
    return f"The first mismatch is at {words.index(found.metrics)}: {left} on the left, {right} on the right."


def _special(found: TensorDifference) -> str:
    said = words.special(found.metrics)
    return f"{said}." if said else ""
