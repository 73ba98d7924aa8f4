"""Where everything in a drawn strip goes. Stages flow like words; a stage too long for a line becomes a paragraph.

Lengths are SVG user units, which are pixels at natural size.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.render.scene import Strip, StripCell, StripFrame, StripGroup


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


REGULAR = Metrics(cell_width=38, cell_height=44, symbol_size=20, index_size=11.5, group_gap=12)
DENSE = Metrics(cell_width=28, cell_height=32, symbol_size=15, index_size=10.5, group_gap=9, index_height=18)
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
class PlacedFrame:
    """A stage's box and what is in it."""

    label: str
    dashed: bool
    x: float
    y: float
    width: float
    height: float
    groups: tuple[PlacedGroup, ...]


@dataclass(frozen=True)
class Layout:
    """Everything placed, and the size of the whole."""

    width: float
    height: float
    frames: tuple[PlacedFrame, ...]
    metrics: Metrics


def lay_out(strip: Strip, width: float) -> Layout:
    """Place a strip in at most `width` units, unless one block alone is wider."""
    cells = sum(len(group.cells) for frame in strip.frames for group in frame.groups)
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


def _group_width(group: StripGroup, metrics: Metrics) -> float:
    count = len(group.cells)
    inner = count * metrics.cell_width + (count - 1) * metrics.cell_gap
    return inner + (2 * metrics.group_padding if group.fused else 0)


def _line_width(groups: list[StripGroup], metrics: Metrics) -> float:
    return sum(_group_width(group, metrics) for group in groups) + metrics.group_gap * (len(groups) - 1)


def _lines(frame: StripFrame, room: float, metrics: Metrics) -> list[list[StripGroup]]:
    lines: list[list[StripGroup]] = [[]]
    for group in frame.groups:
        if lines[-1] and _line_width([*lines[-1], group], metrics) > room:
            lines.append([])
        lines[-1].append(group)
    return lines


def _frame_width(frame: StripFrame, lines: list[list[StripGroup]], metrics: Metrics) -> float:
    # Bold capitals with letter spacing are about 0.82 of their size wide; a label never sticks out of its frame.
    label = 0.82 * metrics.label_size * len(frame.label)
    inner = max([label, metrics.cell_width, *(_line_width(line, metrics) for line in lines if line)])
    return inner + 2 * metrics.frame_padding


def _place(
    frame: StripFrame, lines: list[list[StripGroup]], x: float, y: float, width: float, metrics: Metrics
) -> PlacedFrame:
    line_height = metrics.cell_height + metrics.group_padding + metrics.index_height
    groups = []
    for number, line in enumerate(lines):
        top = y + metrics.label_height + metrics.group_padding + number * (line_height + metrics.line_gap)
        left = x + metrics.frame_padding
        for group in line:
            groups.append(_place_group(group, left, top, metrics))
            left += _group_width(group, metrics) + metrics.group_gap
    height = metrics.label_height + len(lines) * line_height + (len(lines) - 1) * metrics.line_gap + metrics.line_gap
    return PlacedFrame(frame.label, frame.dashed, x, y, width, height, tuple(groups))


def _place_group(group: StripGroup, left: float, top: float, metrics: Metrics) -> PlacedGroup:
    padding = metrics.group_padding
    first = left + (padding if group.fused else 0)
    step = metrics.cell_width + metrics.cell_gap
    cells = tuple(PlacedCell(cell, first + number * step, top) for number, cell in enumerate(group.cells))
    width = len(cells) * step - metrics.cell_gap + 2 * padding
    return PlacedGroup(group.fused, first - padding, top - padding, width, metrics.cell_height + 2 * padding, cells)
