"""A document as terminal text. Plain characters, no escape sequences; the same document gives the same text."""

from __future__ import annotations

from collections.abc import Iterable

from workbench.render.escape import one_line, visible
from workbench.render.scene import (
    Banner,
    Browse,
    Chart,
    Code,
    Details,
    Document,
    Facts,
    Graph,
    HeatMap,
    Legend,
    Notes,
    Paragraph,
    Part,
    Section,
    SideBySide,
    Status,
    Strip,
    Table,
)
from workbench.render.text_chart import chart_lines
from workbench.render.text_graph import graph_lines
from workbench.render.text_heat import heat_lines
from workbench.render.text_strip import strip_lines
from workbench.render.text_table import status_text, table_lines, wrapped

WIDTH = 100  # columns where no terminal says otherwise
_NARROWEST = 40
_INDENT = "  "
_HARD_SPACE = "\u00a0"


def render(document: Document, width: int = WIDTH, unfold: bool = False) -> str:
    """The document as text that ends in a line end. `unfold` also writes what is behind closed details."""
    lines = [one_line(document.title), ""]
    lines += render_parts(document.parts, max(width, _NARROWEST), unfold)
    return "\n".join(lines).rstrip() + "\n"


def render_parts(parts: Iterable[Part], width: int, unfold: bool) -> list[str]:
    """The lines of parts, an empty line between two."""
    lines: list[str] = []
    for part in parts:
        block = _lines(part, width, unfold)
        if lines and block:
            lines.append("")
        lines += block
    return lines


def _lines(part: Part, width: int, unfold: bool) -> list[str]:
    match part:
        case Banner():
            return wrapped(one_line(f"{status_text(part.status)}: {part.text}"), width)
        case Paragraph():
            return wrapped(one_line(part.text), width)
        case Notes():
            return _notes(part, width)
        case Facts():
            return _phrases([f"{fact.value} {fact.label}" for fact in part.entries], width)
        case Table():
            return [*wrapped(one_line(part.caption), width), *_indented(table_lines(part, width - len(_INDENT)))]
        case Status():
            return [one_line(status_text(part))]
        case Code():
            return _code(part, width)
        case Strip():
            return _indented(strip_lines(part, width - len(_INDENT)))
        case Graph():
            return _indented(graph_lines(part, width - len(_INDENT)))
        case HeatMap():
            return _indented(heat_lines(part, width - len(_INDENT)))
        case Chart():
            return _indented(chart_lines(part, width - len(_INDENT)))
        case Browse():
            rows = tuple(row.cells for row in part.rows)
            return _lines(Table(part.columns, rows, part.caption), width, unfold)
        case Legend():
            return _phrases([f"{entry.cell.symbol} {entry.text}" for entry in part.entries], width)
        case Details():
            return _details(part, width, unfold)
        case Section():
            return _section(part, width, unfold)
        case SideBySide():
            return render_parts(part.sections, width, unfold)


def _phrases(phrases: Iterable[str], width: int) -> list[str]:
    """Phrases in a row; a line ends between two of them, not inside one."""
    joined = " · ".join(one_line(phrase).replace(" ", _HARD_SPACE) for phrase in phrases)
    return [line.replace(_HARD_SPACE, " ") for line in wrapped(joined, width)]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"{_INDENT}{line}".rstrip() for line in lines]


def _notes(notes: Notes, width: int) -> list[str]:
    lines = []
    for note in notes.entries:
        head = f"{note.code}: {note.text}" if note.code else note.text
        first, *rest = wrapped(one_line(head), width - len(_INDENT))
        lines += [f"- {first}", *_indented(rest)]
        if note.hint:
            lines += _indented(wrapped(one_line(f"hint: {note.hint}"), width - len(_INDENT)))
    return lines


def _code(code: Code, width: int) -> list[str]:
    room = width - len(_INDENT)
    # Wrapping takes the spaces off that put a caret under its character.
    lines = [
        line
        for text in visible(code.text).split("\n")
        for line in ([text] if len(text) <= room else wrapped(text, room))
    ]
    return [*([f"{one_line(code.label)}:"] if code.label else []), *_indented(lines)]


def _details(details: Details, width: int, unfold: bool) -> list[str]:
    if not (details.open or unfold):
        return []
    inner = render_parts(details.parts, width - len(_INDENT), unfold)
    return [one_line(details.summary), *_indented(inner)]


def _section(section: Section, width: int, unfold: bool) -> list[str]:
    body = render_parts(section.parts, width - len(_INDENT), unfold)
    return [one_line(section.title), *_indented(body)] if body else []
