"""A diff as a page to look through: its differences as a table with search and filters, the worst ones looked at closely. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.checkpoint.differences import Diff, Metrics, TensorDifference
from workbench.errors import WorkbenchError
from workbench.render import scene
from workbench.views import diff_detail, diff_tables
from workbench.views import diff_words as words
from workbench.views.diff import ending, overview, title
from workbench.views.numbers import count, counted

MOST_ROWS = 1000  # of a page, which every browser shows at once
LOOKED_AT = 20  # the worst pairs, whose tensors are read again for the page

COLUMNS = (
    scene.Column("verdict"),
    scene.Column("name", code=True),
    scene.Column("where"),
    scene.Column("shape and dtype"),
    scene.Column("mismatched", "right"),
    scene.Column("max abs", "right"),
    scene.Column("max rel", "right"),
    scene.Column("max ULP", "right"),
    scene.Column("cosine", "right"),
)
NOUN = ("difference", "differences")


def page(diff: Diff, looked_at: int = LOOKED_AT) -> scene.Document:
    """The whole page; `looked_at` pairs at most are read closely for it, and only where the files are still there."""
    parts = [*overview(diff)]
    if differing := diff_tables.groups(diff):
        parts.append(scene.Section("Tensor by tensor", differing))
    if diff.differences:
        parts.append(scene.Section("Every difference", (browse(diff, looked_at),)))
    return scene.Document(title(diff), (*parts, *ending(diff)), kind="Checkpoints")


def browse(diff: Diff, looked_at: int) -> scene.Browse:
    """The differences, worst first; what a row opens to, and for the first pairs that have values the close look."""
    shown = [diff.differences[place] for place in words.ranked(diff)[:MOST_ROWS]]
    rows = []
    for entry in shown:
        parts: tuple[scene.Part, ...] = tuple(map(scene.Paragraph, diff_detail.sentences(entry)))
        if looked_at > 0 and diff.look is not None and can_look(entry):
            looked_at -= 1
            parts += _look(diff, entry)
        rows.append(scene.BrowseRow(cells(entry), keys(entry), picked(entry), parts))
    caption = f"{counted(len(shown), 'difference')}, the worst first."
    if (more := len(diff.differences) - len(shown)) > 0:
        caption = (
            f"The {count(len(shown))} worst of {counted(len(diff.differences), 'difference')}; "
            f"{count(more)} are not shown here: JSON has every one."
        )
    return scene.Browse(COLUMNS, tuple(rows), picks(shown), caption, NOUN)


def can_look(found: TensorDifference) -> bool:
    """Whether there are two tensors of one shape behind it that hold different values."""
    return found.metrics is not None and found.metrics.mismatched > 0


def cells(found: TensorDifference) -> tuple[scene.Cell, ...]:
    """The row of a difference, a cell a column of `COLUMNS`."""
    metrics = found.metrics
    return (
        words.status(found.kind, found.content),
        words.clipped(found.name),
        diff_tables.where(found.place),
        words.sizes(found),
        words.mismatched(metrics),
        words.max_abs(metrics),
        words.max_rel(metrics),
        words.max_ulp(metrics),
        words.cosine(metrics),
    )


def keys(found: TensorDifference) -> tuple[float | None, ...]:
    """What each column sorts the row by, where that is a number."""
    metrics = found.metrics or Metrics(0, 0)
    mismatched = None if found.metrics is None else metrics.mismatched
    return None, None, None, None, mismatched, metrics.max_abs, metrics.max_rel, metrics.max_ulp, metrics.cosine


def picked(found: TensorDifference) -> tuple[str, str]:
    """Its verdict and the kind of its sub-layer, by which rows are filtered."""
    return found.kind, kind(found)


def picks(found: Sequence[TensorDifference]) -> tuple[scene.Pick, ...]:
    """The two filters with the values that occur."""
    verdicts, kinds = ({row[place]: None for row in map(picked, found)} for place in (0, 1))
    return (
        scene.Pick("verdict", tuple(word for word in words.MEANINGS if word in verdicts)),
        scene.Pick("kind of layer", tuple(sorted(kinds, key=lambda name: (name == diff_tables.OUTSIDE, name)))),
    )


def kind(found: TensorDifference) -> str:
    """The name of its sub-layer's kind."""
    return diff_tables.OUTSIDE if found.symbol is None else diff_tables.kind_name(found.symbol)


# ------------------------------------------------------------------------------------------------------


def _look(diff: Diff, found: TensorDifference) -> tuple[scene.Part, ...]:
    """The close look, or why there is none: a file may have gone since it was compared."""
    assert diff.look is not None
    try:
        return diff_detail.parts(diff.look(found.name))
    except WorkbenchError as error:
        return (scene.Notes((scene.Note(f"It could not be looked at closely: {error}"),)),)
