"""The scene: what a report says, as typed frozen data, before anyone decides how it looks.

A view builds a `Document`; `render.text`, `render.html` and `render.notebook` each turn the same document into their
own form. A part holds plain text only: escaping is the business of the form that shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workbench.render.scene_chart import Chart as Chart
from workbench.render.scene_graph import Graph as Graph
from workbench.render.scene_graph import GraphEdge as GraphEdge
from workbench.render.scene_graph import GraphNode as GraphNode
from workbench.render.scene_graph import GraphNodeKind as GraphNodeKind
from workbench.render.scene_graph import GraphPanel as GraphPanel

Align = Literal["left", "right"]
Outcome = Literal["pass", "fail", "not-run"]

# The word that carries an outcome; shape and colour only repeat it.
WORDS: dict[Outcome, str] = {"pass": "passed", "fail": "failed", "not-run": "not run"}


@dataclass(frozen=True)
class Status:
    """How something came out, always with a word. `word` replaces the usual one ("passed", "failed", "not run")."""

    outcome: Outcome
    word: str = ""

    @property
    def text(self) -> str:
        """The word to show."""
        return self.word or WORDS[self.outcome]


@dataclass(frozen=True)
class Banner:
    """The one sentence that the reader came for: a status, and what stands behind it."""

    status: Status
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Note:
    """Something to know that is not an error; `code` is its stable name, `hint` what to do about it."""

    text: str
    code: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Notes:
    """A list of notes."""

    entries: tuple[Note, ...]


@dataclass(frozen=True)
class Fact:
    """A number and what it counts, read as one phrase: `Fact("8", "blocks")`."""

    value: str
    label: str


@dataclass(frozen=True)
class Facts:
    """The figures that come first."""

    entries: tuple[Fact, ...]


@dataclass(frozen=True)
class Column:
    """A table's column; `code` sets its cells in the typewriter face."""

    label: str
    align: Align = "left"
    code: bool = False


@dataclass(frozen=True)
class StripCell:
    """One sub-layer: its symbol, its number, and its colour on a light and on a dark background.

    `filled` tells the two roles apart without colour. `title` is the whole truth in words.
    """

    symbol: str
    index: int
    light: str
    dark: str
    filled: bool
    title: str


@dataclass(frozen=True)
class StripGroup:
    """The cells of one block; `fused` draws the frame that they share."""

    cells: tuple[StripCell, ...]
    fused: bool = False

    @property
    def text(self) -> str:
        """Its symbols as a pattern writes them."""
        symbols = "".join(cell.symbol for cell in self.cells)
        return f"[{symbols}]" if self.fused else symbols


@dataclass(frozen=True)
class Bar:
    """A share of the largest, 0 to 1, as a length beside its `text`, which says the number."""

    share: float
    text: str


Cell = str | Status | StripGroup | Bar


@dataclass(frozen=True)
class Table:
    """Rows of cells, one a column. `caption` says what the table shows; every table has one."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str

    def __post_init__(self) -> None:
        for row in self.rows:
            assert len(row) == len(self.columns), f"{len(row)} cells for {len(self.columns)} columns: {row}"


@dataclass(frozen=True)
class Code:
    """Text in the typewriter face, its line ends kept. `label` says what it is."""

    text: str
    label: str = ""


@dataclass(frozen=True)
class StripRepeat:
    """Blocks that follow each other `times` times, shown once; `first` and `last` are the indices it stands for."""

    groups: tuple[StripGroup, ...]
    times: int
    first: int
    last: int

    @property
    def title(self) -> str:
        """What it stands for, in words."""
        written = "".join(group.text for group in self.groups)
        return f"{self.times} times {written}, sub-layers {self.first} to {self.last}"


@dataclass(frozen=True)
class StripFrame:
    """A pipeline stage, or (dashed) the MTP part, which numbers its own layers."""

    label: str
    groups: tuple[StripGroup | StripRepeat, ...]
    dashed: bool = False


@dataclass(frozen=True)
class Strip:
    """A layer pattern as a row of cells. `title` names it, `description` says in words what it shows."""

    title: str
    description: str
    frames: tuple[StripFrame, ...]


@dataclass(frozen=True)
class LegendEntry:
    """What one look of a cell means, and how many there are."""

    cell: StripCell
    text: str


@dataclass(frozen=True)
class Legend:
    """The kinds that a strip shows."""

    entries: tuple[LegendEntry, ...]


@dataclass(frozen=True)
class Details:
    """Parts behind a summary that the reader may open."""

    summary: str
    parts: tuple[Part, ...]
    open: bool = False


@dataclass(frozen=True)
class Section:
    """A titled part of a document; sections nest. `code` sets the title in the typewriter face."""

    title: str
    parts: tuple[Part, ...]
    code: bool = False


@dataclass(frozen=True)
class SideBySide:
    """Sections to be compared: beside each other where there is room."""

    sections: tuple[Section, ...]


@dataclass(frozen=True)
class HeatMap:
    """Where on a tensor something is: a grid of shares, 0 to 1, from the first row down; more than nothing is always seen.

    `title` names the picture, `description` says in words what it shows, `scale` what a share is a share of.
    """

    title: str
    description: str
    cells: tuple[tuple[float, ...], ...]
    scale: str


@dataclass(frozen=True)
class Pick:
    """A choice that rows are filtered by: what it is called, and its values in the order they are offered."""

    label: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class BrowseRow:
    """A row to be found: its cells, what each column sorts it by where that is no text, its value of each pick.

    `parts` are what a reader sees who opens it.
    """

    cells: tuple[Cell, ...]
    keys: tuple[float | None, ...]
    picks: tuple[str, ...]
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Browse:
    """A table to look through: a page searches, filters and sorts it. `noun` is what a row is, as one and as many.

    Elsewhere, and where no script runs, it is a table.
    """

    columns: tuple[Column, ...]
    rows: tuple[BrowseRow, ...]
    picks: tuple[Pick, ...]
    caption: str
    noun: tuple[str, str] = ("row", "rows")

    def __post_init__(self) -> None:
        for row in self.rows:
            assert len(row.cells) == len(row.keys) == len(self.columns), f"a cell and a key a column: {row}"
            assert len(row.picks) == len(self.picks), f"a value a pick: {row}"


Part = (
    Banner
    | Paragraph
    | Notes
    | Facts
    | Table
    | Status
    | Code
    | Strip
    | Graph
    | HeatMap
    | Chart
    | Legend
    | Details
    | Section
    | SideBySide
    | Browse
)


@dataclass(frozen=True)
class Document:
    """A whole report. `kind` says what sort it is ("Layer pattern"); `code` sets the title in the typewriter face."""

    title: str
    parts: tuple[Part, ...]
    kind: str = ""
    code: bool = False
