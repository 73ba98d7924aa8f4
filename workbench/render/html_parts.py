"""Every part of a scene as an HTML element. Classes are those of `assets/report.css`; every text is escaped."""

from __future__ import annotations

import json
from collections.abc import Sequence

from workbench.render.chart import svg as chart_svg
from workbench.render.escape import markup, visible
from workbench.render.graph import svg as graph_svg
from workbench.render.heat import svg as heat_svg
from workbench.render.scene import (
    Banner,
    Bar,
    Browse,
    BrowseRow,
    Cell,
    Chart,
    Code,
    Column,
    Details,
    Facts,
    Graph,
    HeatMap,
    Legend,
    Note,
    Notes,
    Paragraph,
    Part,
    Section,
    SideBySide,
    Status,
    Strip,
    StripGroup,
    Table,
)
from workbench.render.strip import cell_svg, svg
from workbench.render.text_table import bar_text

type Texts = str | Sequence[Texts]

# A tick, a cross and a bar: shapes that differ, beside the word and the colour.
_SHAPES = {
    "pass": '<path d="M3.5 8.5l3 3 6-7"/>',
    "fail": '<path d="M4 4l8 8M12 4l-8 8"/>',
    "not-run": '<path d="M3.5 8h9"/>',
}
_MARKS = {"pass": "✓", "fail": "✗", "not-run": "–"}
_SHORT = 28  # characters of a cell that stay on one line
_WORD = 16  # the same of one in the typewriter face
# The one inline style that a notebook needs; JupyterLab lets it through from untrusted notebooks.
_LEFT = ' style="text-align:left"'
_HALF = 520  # units before a strip is wrapped in one of two columns


def render(part: Part, level: int, bare: bool = False, half: bool = False) -> str:
    """The element of a part. `level` is that of the next heading, `bare` leaves drawings out, `half` is half a page wide."""
    match part:
        case Banner():
            return f'<p class="banner {part.status.outcome}">{chip(part.status, bare)} <span>{markup(part.text)}</span></p>'
        case Paragraph():
            return f"<p>{markup(part.text)}</p>"
        case Notes():
            return f'<ul class="notes">{"".join(map(_note, part.entries))}</ul>'
        case Facts():
            return _facts(part, bare)
        case Table():
            return _table(part, bare)
        case Status():
            return chip(part, bare)
        case Code():
            label = f"<figcaption>{markup(part.label)}</figcaption>" if part.label else ""
            return f'<figure class="code">{label}<pre><code>{markup(part.text)}</code></pre></figure>'
        case Strip():
            return f'<div class="drawing">{svg(part, "adaptive", _HALF) if half else svg(part, "adaptive")}</div>'
        case Graph():
            drawn = graph_svg(part, "adaptive", _HALF) if half else graph_svg(part, "adaptive")
            return f'<div class="drawing">{drawn}</div>'
        case HeatMap():
            return f'<div class="drawing">{heat_svg(part, "adaptive")}</div>'
        case Chart():
            return f'<div class="drawing">{chart_svg(part, "adaptive")}</div>'
        case Browse():
            return _browse(part, level, bare)
        case Legend():
            return _legend(part, bare)
        case Details():
            inner = "".join(render(entry, level, bare, half) for entry in part.parts)
            opened = " open" if part.open else ""
            return f"<details{opened}><summary>{markup(part.summary)}</summary>{inner}</details>"
        case Section():
            return section(part, level, bare, half)
        case SideBySide():
            inner = "".join(section(entry, level, bare, half=True) for entry in part.sections)
            return f'<div class="side">{inner}</div>'


def section(part: Section, level: int, bare: bool = False, half: bool = False, name: str = "") -> str:
    """A section under a heading; `name` is the target of a link to it."""
    level = min(level, 6)
    title = f"<code>{markup(part.title)}</code>" if part.code else markup(part.title)
    inner = "".join(render(entry, level + 1, bare, half) for entry in part.parts)
    target = f' id="{markup(name)}"' if name else ""
    return f"<section{target}><h{level}>{title}</h{level}>{inner}</section>"


def chip(status: Status, bare: bool = False) -> str:
    """A status as a word with a shape."""
    if bare:
        return f"<b>{_MARKS[status.outcome]} {markup(status.text)}</b>"
    shape = f'<svg aria-hidden="true" viewBox="0 0 16 16">{_SHAPES[status.outcome]}</svg>'
    return f'<span class="chip {status.outcome}">{shape}{markup(status.text)}</span>'


# ------------------------------------------------------------------------------------------------------


def _facts(facts: Facts, bare: bool) -> str:
    if bare:
        said = (f"<b>{markup(fact.value)}</b> {markup(fact.label)}" for fact in facts.entries)
        return f"<p>{' · '.join(said)}</p>"
    entries = (f"<li><b>{markup(fact.value)}</b> <span>{markup(fact.label)}</span></li>" for fact in facts.entries)
    return f'<ul class="facts">{"".join(entries)}</ul>'


def _legend(legend: Legend, bare: bool) -> str:
    if bare:
        said = (f"<code>{markup(entry.cell.symbol)}</code> {markup(entry.text)}" for entry in legend.entries)
        return f"<p>{' · '.join(said)}</p>"
    entries = (
        f'<li>{cell_svg(entry.cell)}<span><span class="unseen">{markup(entry.cell.symbol)} </span>{markup(entry.text)}</span></li>'
        for entry in legend.entries
    )
    return f'<ul class="legend">{"".join(entries)}</ul>'


def _note(note: Note) -> str:
    code = f'<code class="tag">{markup(note.code)}</code> ' if note.code else ""
    hint = f'<span class="hint">{markup(note.hint)}</span>' if note.hint else ""
    return f"<li>{code}<span>{markup(note.text)}</span>{hint}</li>"


def _table(table: Table, bare: bool) -> str:
    head = "".join(f'<th scope="col"{_aligned(column, bare)}>{markup(column.label)}</th>' for column in table.columns)
    rows = "".join(
        f"<tr>{''.join(_cell(cell, column, bare) for cell, column in zip(row, table.columns, strict=True))}</tr>"
        for row in table.rows
    )
    caption = f"<caption{_LEFT if bare else ''}>{markup(table.caption)}</caption>"
    inner = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    # A table wider than the page scrolls by itself; the keyboard can reach it.
    return (
        inner
        if bare
        else f'<div class="table" role="group" tabindex="0" aria-label="{markup(table.caption)}">{inner}</div>'
    )


def _browse(browse: Browse, level: int, bare: bool) -> str:
    """A table that works as it is; `assets/browse.js` finds it by its class and what to do by its data."""
    if bare:
        return _table(Table(browse.columns, tuple(row.cells for row in browse.rows), browse.caption), bare)
    head = "".join(f'<th scope="col"{_aligned(column, bare)}>{markup(column.label)}</th>' for column in browse.columns)
    rows = "".join(_browse_row(row, browse.columns, level) for row in browse.rows)
    picks = _data([[pick.label, pick.values] for pick in browse.picks])
    caption = markup(browse.caption)
    return (
        f'<div class="browse" data-picks="{picks}" data-noun="{_data(browse.noun)}">'
        f'<div class="table" role="group" tabindex="0" aria-label="{caption}"><table><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead>{rows}</table></div></div>"
    )


def _browse_row(row: BrowseRow, columns: tuple[Column, ...], level: int) -> str:
    """A body of its own for each row, so that what it opens to stays with it wherever it is sorted to."""
    cells = "".join(
        _cell(cell, column, False) if key is None else f'<td data-key="{key}"{_cell(cell, column, False)[3:]}'
        for cell, column, key in zip(row.cells, columns, row.keys, strict=True)
    )
    more = ""
    if row.parts:
        inner = "".join(render(part, level) for part in row.parts)
        more = (
            f'<tr class="more"><td colspan="{len(columns)}"><details><summary>more</summary>{inner}</details></td></tr>'
        )
    return f'<tbody data-picks="{_data(row.picks)}"><tr>{cells}</tr>{more}</tbody>'


def _data(texts: Texts) -> str:
    """Texts for a script, in an attribute: what JSON would hide in an escape is made visible first."""
    return markup(json.dumps(_seen(texts)))


def _seen(texts: Texts) -> Texts:
    return visible(texts) if isinstance(texts, str) else [_seen(entry) for entry in texts]


def _cell(cell: Cell, column: Column, bare: bool) -> str:
    aligned = _aligned(column, bare)
    if isinstance(cell, Status):
        return f"<td{aligned}>{chip(cell, bare)}</td>"
    if isinstance(cell, StripGroup):
        return f"<td{aligned}>{_group(cell, bare)}</td>"
    if isinstance(cell, Bar):
        return f'<td class="short"{aligned}>{_bar(cell, bare)}</td>'
    text = markup(cell)
    if len(cell) <= _SHORT and not column.code and column.align == "left":
        return f'<td class="short"{aligned}>{text}</td>'
    if not column.code:
        return f"<td{aligned}>{_breakable(text, '/')}</td>"
    sort = "" if bare else ' class="word"' if len(cell) <= _WORD else ' class="name"'
    return f"<td{aligned}><code{sort}>{_breakable(text)}</code></td>"


def _group(group: StripGroup, bare: bool) -> str:
    """A block's cells, and for those who cannot see them (or who copy the table) its text."""
    symbols = "".join(cell.symbol for cell in group.cells)
    text = markup(f"[{symbols}]" if group.fused else symbols)
    if bare:
        return f"<code>{text}</code>"
    drawn = "".join(cell_svg(cell) for cell in group.cells)
    return f'<span class="block{" fused" if group.fused else ""}">{drawn}</span><span class="unseen">{text}</span>'


def _bar(bar: Bar, bare: bool) -> str:
    if bare:
        # In letters of one width, so that the numbers behind the bars stand below each other.
        return f"<samp>{bar_text(bar)}</samp> {markup(bar.text)}"
    width = f"{100 * min(max(bar.share, 0.0), 1.0):.4g}"
    drawn = f'<rect class="track" width="100" height="8"/><rect class="length" width="{width}" height="8"/>'
    shape = f'<svg class="bar" aria-hidden="true" viewBox="0 0 100 8" preserveAspectRatio="none">{drawn}</svg>'
    return f"{shape} {markup(bar.text)}"


def _breakable(text: str, after: str = ".") -> str:
    """A long dotted name may be broken after a dot, a path after a stroke."""
    return text.replace(after, f"{after}<wbr>") if len(text) > 24 else text


def _aligned(column: Column, bare: bool) -> str:
    """The page's style sheet knows the class; without it, a notebook's own sets everything to the right."""
    if column.align == "right":
        return ' class="right"'
    return _LEFT if bare else ""
