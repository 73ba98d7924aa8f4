"""A table as terminal text: columns as wide as their cells, the widest ones wrapped where the terminal is narrower."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.render.escape import columns, one_line
from workbench.render.scene import Align, Bar, Cell, Status, StripGroup, Table

MARKS = {"pass": "✓", "fail": "✗", "not-run": "–"}

_GAP = "  "
_BAR = 10  # columns
_NARROWEST = 8  # columns below which wrapping helps nobody


def status_text(status: Status) -> str:
    """A mark and the word: "✓ passed"."""
    return f"{MARKS[status.outcome]} {status.text}"


def table_lines(table: Table, width: int) -> list[str]:
    """The header, a rule and the rows, none wider than `width` columns where that can be; the caption is not in them."""
    header = [one_line(column.label) for column in table.columns]
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    widths = [max(columns(text) for text in texts) for texts in zip(header, *rows, strict=True)]
    # A bar with its number is one thing: it is never broken.
    barred = [any(isinstance(row[place], Bar) for row in table.rows) for place in range(len(header))]
    least = [size if bar else columns(text) for size, bar, text in zip(widths, barred, header, strict=True)]
    widths = _fitted(widths, least, width - len(_GAP) * (len(widths) - 1))
    aligns = [column.align for column in table.columns]
    lines = _row(header, widths, aligns)
    lines.append(_GAP.join("─" * size for size in widths))
    for row in rows:
        lines += _row(row, widths, aligns)
    return lines


def bar_text(bar: Bar) -> str:
    r"""A bar of block characters, as wide as the longest one whatever its length.

    >>> bar_text(Bar(0.55, "")), bar_text(Bar(1.0, ""))
    ('█████▌\xa0\xa0\xa0\xa0', '██████████')
    """
    eighths = min(max(round(bar.share * _BAR * 8), 1 if bar.share > 0 else 0), _BAR * 8)
    whole, rest = divmod(eighths, 8)
    # No-break spaces, so that a line is never broken inside of a bar.
    return ("█" * whole + "▏▎▍▌▋▊▉"[rest - 1 : rest] * bool(rest)).ljust(_BAR, "\u00a0")


def wrapped(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` terminal columns, broken at spaces, and inside a word only where it must be.

    >>> wrapped("one two three", 7)
    ['one two', 'three']
    """
    lines = [""]
    for word in text.split(" "):
        candidate = f"{lines[-1]} {word}" if lines[-1] else word
        if columns(candidate) <= width:
            lines[-1] = candidate
            continue
        if lines[-1]:
            lines.append("")
        while (cut := _cut(word, width)) < len(word):
            lines[-1] = word[:cut]
            lines.append("")
            word = word[cut:]
        lines[-1] = word
    return lines


# ------------------------------------------------------------------------------------------------------


def _cell(cell: Cell) -> str:
    if isinstance(cell, StripGroup):
        symbols = "".join(entry.symbol for entry in cell.cells)
        return one_line(f"[{symbols}]" if cell.fused else symbols)
    if isinstance(cell, Bar):
        return one_line(f"{bar_text(cell)} {cell.text}".replace(" ", "\u00a0"))
    return one_line(status_text(cell) if isinstance(cell, Status) else cell)


def _fitted(widths: list[int], least: Sequence[int], room: int) -> list[int]:
    """The widest columns give way first, none below its `least` width (that of its header) or `_NARROWEST`."""
    widths = list(widths)
    floors = [min(size, max(_NARROWEST, lowest)) for size, lowest in zip(widths, least, strict=True)]
    while sum(widths) > room:
        slack = [size - floor for size, floor in zip(widths, floors, strict=True)]
        if max(slack) == 0:
            break
        candidates = [place for place, spare in enumerate(slack) if spare]
        widths[max(candidates, key=lambda place: widths[place])] -= 1
    return widths


def _row(cells: Sequence[str], widths: Sequence[int], aligns: Sequence[Align]) -> list[str]:
    parts = [wrapped(text, size) for text, size in zip(cells, widths, strict=True)]
    height = max(len(part) for part in parts)
    lines = []
    for number in range(height):
        texts = [part[number] if number < len(part) else "" for part in parts]
        padded = [_pad(text, size, align) for text, size, align in zip(texts, widths, aligns, strict=True)]
        lines.append(_GAP.join(padded).rstrip())
    return lines


def _pad(text: str, width: int, align: Align) -> str:
    space = " " * (width - columns(text))
    return space + text if align == "right" else text + space


def _cut(word: str, width: int) -> int:
    """How many characters of the word go on a line: all, or at least one, and up to a "." or "/" where one is near its end."""
    used = 0
    for place, character in enumerate(word):
        used += columns(character)
        if used > width:
            cut = max(place, 1)
            natural = max(word.rfind(mark, 0, cut) for mark in "./_") + 1
            return natural if natural > cut // 2 else cut
    return len(word)
