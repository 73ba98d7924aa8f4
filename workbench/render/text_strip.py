"""A strip as terminal text: symbols with their brackets, the canonical index under each, stages named above."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workbench.render.escape import columns, one_line
from workbench.render.scene import Strip, StripFrame, StripGroup, StripRepeat

_BARS = {False: "  │  ", True: "  ┊  "}  # before a stage, and before MTP


@dataclass(frozen=True)
class _Piece:
    """One block: what stands before it, a label above it, its symbols, its indices; the last two equally wide."""

    before: str
    label: str
    symbols: str
    indices: str


def strip_lines(strip: Strip, width: int) -> list[str]:
    """Groups of two or three lines, none wider than `width` columns unless one block alone is."""
    rows: list[list[_Piece]] = []
    used = width
    for number, frame in enumerate(strip.frames):
        for piece in _pieces(frame, number > 0):
            size = columns(piece.before) + columns(piece.symbols)
            if not rows or used + size > width:
                piece = replace(piece, before="")
                rows.append([])
                used, size = 0, columns(piece.symbols)
            rows[-1].append(piece)
            used += size
    lines: list[str] = []
    for row in rows:
        lines += [""] * bool(lines)
        lines += [line for line in (_labels(row),) if line]
        lines.append("".join(piece.before + piece.symbols for piece in row).rstrip())
        lines += [line for line in (_indices(row),) if line]
    return lines


def _pieces(frame: StripFrame, divided: bool) -> list[_Piece]:
    label = one_line(frame.label)
    pieces = [_repeat(entry) if isinstance(entry, StripRepeat) else _group(entry) for entry in frame.groups] or [
        _Piece(" ", "", " ", " ")
    ]
    pieces[0] = replace(pieces[0], before=_BARS[frame.dashed] if divided else "", label=label)
    # A frame narrower than its label gets the missing columns, so that labels never run into each other.
    missing = columns(label) - sum(columns(piece.symbols) + 1 for piece in pieces) + 1
    if missing > 0:
        last = pieces[-1]
        pieces[-1] = replace(last, symbols=last.symbols + " " * missing, indices=last.indices + " " * missing)
    return pieces


def _group(group: StripGroup) -> _Piece:
    symbols, indices = [], []
    for cell in group.cells:
        size = max(columns(cell.symbol), len(str(cell.index)))
        symbols.append(one_line(cell.symbol).rjust(size))
        indices.append(str(cell.index).rjust(size))
    if group.fused:
        return _Piece(" ", "", f"[{' '.join(symbols)}]", f" {' '.join(indices)} ")
    return _Piece(" ", "", " ".join(symbols), " ".join(indices))


def _repeat(repeat: StripRepeat) -> _Piece:
    shown = " ".join(_symbols(group) for group in repeat.groups)
    symbols = f"({shown})×{repeat.times}"
    indices = f"{repeat.first}–{repeat.last}"
    size = max(columns(symbols), columns(indices))
    return _Piece(" ", "", symbols + " " * (size - columns(symbols)), indices.center(size))


def _symbols(group: StripGroup) -> str:
    shown = " ".join(one_line(cell.symbol) for cell in group.cells)
    return f"[{shown}]" if group.fused else shown


def _labels(row: list[_Piece]) -> str:
    line, place = "", 0
    for piece in row:
        place += columns(piece.before)
        if piece.label:
            line = line.ljust(place) + piece.label
        place += columns(piece.symbols)
    return line.rstrip()


def _indices(row: list[_Piece]) -> str:
    return "".join(" " * columns(piece.before) + piece.indices for piece in row).rstrip()
