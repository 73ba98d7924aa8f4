"""Where everything in a drawn strip goes. Stages flow like words; a stage too long for a line becomes a paragraph.

Lengths are SVG user units, which are pixels at natural size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.render.scene import Strip, StripCell, StripFrame, StripGroup, StripRepeat


@dataclass(frozen=True)
class Metrics:
    """Sizes of a strip's elements."""

    cell_width: float
    cell_height: float
    symbol_size: float  # of type
    index_size: float
    group_gap: float  # between blocks
    cell_gap: float = 4  # between the two cells of a fused pair
    group_padding: float = 5  # from a cell to the frame of its fused pair
    frame_padding: float = 12
    frame_gap: float = 14
    line_gap: float = 8
    label_height: float = 28
    label_size: float = 11
    index_height: float = 20
    repeat_padding: float = 7  # from a block to the frame of the repeat that it is in


REGULAR = Metrics(cell_width=38, cell_height=44, symbol_size=20, index_size=11.5, group_gap=12)
DENSE = Metrics(cell_width=28, cell_height=32, symbol_size=15, index_size=10.5, group_gap=9, index_height=18)
SHEET = 3  # units that each of the two sheets behind a repeat stands out
_DENSE_FROM = 48  # cells


@dataclass(frozen=True)
class PlacedCell:
    """A cell and its upper left corner."""

    cell: StripCell
    x: float
    y: float


@dataclass(frozen=True)
class PlacedGroup:
    """A block: its cells, and the box around them that a fused pair shows."""

    fused: bool
    x: float
    y: float
    width: float
    height: float
    cells: tuple[PlacedCell, ...]


@dataclass(frozen=True)
class PlacedRepeat:
    """A folded repeat: its frame, its blocks once, and where to say how many times."""

    x: float
    y: float
    width: float
    height: float
    groups: tuple[PlacedGroup, ...]
    times: int
    times_x: float
    first: int
    last: int
    title: str


@dataclass(frozen=True)
class PlacedFrame:
    """A stage's box and what is in it."""

    label: str
    dashed: bool
    x: float
    y: float
    width: float
    height: float
    groups: tuple[PlacedGroup | PlacedRepeat, ...]


@dataclass(frozen=True)
class Layout:
    """Everything placed, and the size of the whole."""

    width: float
    height: float
    frames: tuple[PlacedFrame, ...]
    metrics: Metrics


def lay_out(strip: Strip, width: float) -> Layout:
    """Place a strip in at most `width` units, unless one block alone is wider."""
    cells = sum(_cell_count(entry) for frame in strip.frames for entry in frame.groups)
    metrics = DENSE if cells >= _DENSE_FROM else REGULAR
    frames: list[PlacedFrame] = []
    x = y = row_height = 0.0
    for frame in strip.frames:
        lines = _lines(frame, width - 2 * metrics.frame_padding, metrics)
        size = _frame_width(frame, lines, metrics)
        if x > 0 and (x + size > width or len(lines) > 1):
            x, y, row_height = 0.0, y + row_height + metrics.frame_gap, 0.0
        placed = _place(frame, lines, x, y, size, metrics)
        frames.append(placed)
        x += size + metrics.frame_gap
        row_height = max(row_height, placed.height)
    total = max((frame.x + frame.width for frame in frames), default=0.0)
    return Layout(total, y + row_height, tuple(frames), metrics)


def _cell_count(entry: StripGroup | StripRepeat) -> int:
    return sum(map(_cell_count, entry.groups)) if isinstance(entry, StripRepeat) else len(entry.cells)


def _width(entry: StripGroup | StripRepeat, metrics: Metrics) -> float:
    if isinstance(entry, StripRepeat):
        times = 0.68 * metrics.symbol_size * len(f"×{entry.times}")
        return _line_width(entry.groups, metrics) + 4 * metrics.repeat_padding + times + 2 * SHEET
    count = len(entry.cells)
    inner = count * metrics.cell_width + (count - 1) * metrics.cell_gap
    return inner + (2 * metrics.group_padding if entry.fused else 0)


def _line_width(entries: Sequence[StripGroup | StripRepeat], metrics: Metrics) -> float:
    return sum(_width(entry, metrics) for entry in entries) + metrics.group_gap * (len(entries) - 1)


def _lines(frame: StripFrame, room: float, metrics: Metrics) -> list[list[StripGroup | StripRepeat]]:
    lines: list[list[StripGroup | StripRepeat]] = [[]]
    used = 0.0
    for entry in frame.groups:
        size = _width(entry, metrics)
        if lines[-1] and used + size > room:
            lines.append([])
            used = 0.0
        lines[-1].append(entry)
        used += size + metrics.group_gap
    return lines


def _frame_width(frame: StripFrame, lines: list[list[StripGroup | StripRepeat]], metrics: Metrics) -> float:
    # Bold capitals with letter spacing are about 0.82 of their size wide; a label never sticks out of its frame.
    label = 0.82 * metrics.label_size * len(frame.label)
    inner = max([label, metrics.cell_width, *(_line_width(line, metrics) for line in lines if line)])
    return inner + 2 * metrics.frame_padding


def _place(
    frame: StripFrame,
    lines: list[list[StripGroup | StripRepeat]],
    x: float,
    y: float,
    width: float,
    metrics: Metrics,
) -> PlacedFrame:
    # A repeat's frame needs room above and below its blocks, in every line of the stage so that all stand level.
    extra = metrics.repeat_padding if any(isinstance(entry, StripRepeat) for entry in frame.groups) else 0
    line_height = (
        metrics.cell_height + metrics.group_padding + metrics.index_height + (2 * extra + SHEET if extra else 0)
    )
    groups: list[PlacedGroup | PlacedRepeat] = []
    for number, line in enumerate(lines):
        top = y + metrics.label_height + metrics.group_padding + extra + number * (line_height + metrics.line_gap)
        left = x + metrics.frame_padding
        for entry in line:
            placed = (
                _place_repeat(entry, left, top, metrics)
                if isinstance(entry, StripRepeat)
                else _place_group(entry, left, top, metrics)
            )
            groups.append(placed)
            left += _width(entry, metrics) + metrics.group_gap
    height = metrics.label_height + len(lines) * line_height + (len(lines) - 1) * metrics.line_gap + metrics.line_gap
    return PlacedFrame(frame.label, frame.dashed, x, y, width, height, tuple(groups))


def _place_repeat(repeat: StripRepeat, left: float, top: float, metrics: Metrics) -> PlacedRepeat:
    groups, x = [], left + metrics.repeat_padding
    for group in repeat.groups:
        groups.append(_place_group(group, x, top, metrics))
        x += _width(group, metrics) + metrics.group_gap
    above = metrics.repeat_padding + metrics.group_padding
    height = metrics.cell_height + metrics.group_padding + above + metrics.index_height
    return PlacedRepeat(
        x=left,
        y=top - above,
        width=_width(repeat, metrics),
        height=height,
        groups=tuple(groups),
        times=repeat.times,
        times_x=x - metrics.group_gap + metrics.repeat_padding + 2,
        first=repeat.first,
        last=repeat.last,
        title=repeat.title,
    )


def _place_group(group: StripGroup, left: float, top: float, metrics: Metrics) -> PlacedGroup:
    padding = metrics.group_padding
    first = left + (padding if group.fused else 0)
    step = metrics.cell_width + metrics.cell_gap
    cells = tuple(PlacedCell(cell, first + number * step, top) for number, cell in enumerate(group.cells))
    width = len(cells) * step - metrics.cell_gap + 2 * padding
    return PlacedGroup(group.fused, first - padding, top - padding, width, metrics.cell_height + 2 * padding, cells)
