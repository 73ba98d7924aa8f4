"""A diff of two checkpoints as a scene: the answer, its cause, both sides, what differs, and what it was obtained with. Pure."""

from __future__ import annotations

from collections.abc import Callable

from workbench.checkpoint.differences import Diff, Side
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern
from workbench.render import notebook, scene, text
from workbench.render.text_table import status_text
from workbench.views import diff_tables, diff_words
from workbench.views import pattern as pattern_view
from workbench.views.numbers import count, counted, duration, size
from workbench.views.verdict import environment

_MOST_IGNORED = 8
_LONGEST = 600  # characters of a path or a pattern
_FOLDED_FROM = 24  # sub-layers from which a strip shows what repeats once


def document(diff: Diff) -> scene.Document:
    """The whole diff, as it is read from top to bottom."""
    parts = [*overview(diff)]
    if differing := diff_tables.groups(diff):
        parts.append(scene.Section("Tensor by tensor", differing))
    if each := diff_tables.differences(diff):
        parts.append(scene.Section("By how much", each))
    return scene.Document(title(diff), (*parts, *ending(diff)), kind="Checkpoints")


def title(diff: Diff) -> str:
    """What a page is called, whatever the files are called."""
    return "Two checkpoints compared"


def banner(diff: Diff) -> scene.Banner:
    """IDENTICAL, DIFFERENT or NOT COMPARED, and how much was looked at."""
    if diff.identical:
        status = scene.Status("pass", "IDENTICAL")
    elif diff.compared or any(entry.content for entry in diff.differences):
        status = scene.Status("fail", "DIFFERENT")
    else:
        status = scene.Status("not-run", "NOT COMPARED")
    return scene.Banner(status, diff_words.answer(diff))


def headline(diff: Diff) -> str:
    """The banner as one line of text."""
    shown = banner(diff)
    return f"{status_text(shown.status)}: {shown.text}"


def overview(diff: Diff) -> tuple[scene.Part, ...]:
    """The answer, the cause in sentences, what has another name only, and both sides."""
    parts: list[scene.Part] = [banner(diff)]
    if diff.sentences:
        parts.append(scene.Notes(tuple(scene.Note(diff_words.clipped(said, _LONGEST)) for said in diff.sentences)))
    parts += diff_tables.renamed(diff)
    return (*parts, scene.Section("The two sides", sides(diff)))


def sides(diff: Diff) -> tuple[scene.Part, ...]:
    """Left and right beside each other; the strip of a pattern that both have stands once."""
    rows = tuple(
        (what, *(diff_words.clipped(said(side), _LONGEST) for side in (diff.left, diff.right))) for what, said in _SIDE
    )
    columns = (scene.Column("what"), scene.Column("left"), scene.Column("right"))
    parts: list[scene.Part] = [scene.Table(columns, rows, "What was compared.")]
    both = (("Left", diff.left), ("Right", diff.right))
    if diff.left.pattern == diff.right.pattern:
        parts += _strip(diff.left.pattern)
    else:
        parts.append(scene.SideBySide(tuple(scene.Section(name, _strip(side.pattern)) for name, side in both)))
    said = dict.fromkeys((*diff.left.notes, *diff.right.notes))
    notes = tuple(scene.Note(f"{_whose(note, diff)}: {diff_words.clipped(note, _LONGEST)}") for note in said)
    return (*parts, scene.Notes(notes)) if notes else tuple(parts)


def ending(diff: Diff) -> tuple[scene.Part, ...]:
    """How it was compared, and what the answer was obtained with."""
    rows = [("tolerance", diff.tolerance or "bitwise")]
    if not diff.compared:
        rows.append(("values", "not read: names, shapes and dtypes only"))
    if diff.ignored:
        shown = ", ".join(map(diff_words.clipped, diff.ignored[:_MOST_IGNORED]))
        more = len(diff.ignored) - _MOST_IGNORED
        rows.append(("left out", f"{shown}, and {counted(more, 'more name')}" if more > 0 else shown))
    rows.append(("time", duration(diff.seconds)))
    columns = (scene.Column("what"), scene.Column("how"))
    parts: list[scene.Part] = [
        scene.Section("How it was compared", (scene.Table(columns, tuple(rows), "What was asked for."),))
    ]
    if diff.environment:
        parts.append(scene.Section("Obtained with", environment(diff.environment, "answer")))
    return tuple(parts)


def mimebundle(diff: Diff) -> dict[str, str]:
    """What a notebook shows for a diff: a still picture of it. `DiffBrowser(diff)` is the live one."""
    parts = (*overview(diff), *diff_tables.groups(diff), *diff_tables.differences(diff))
    shown = scene.Document(title(diff), parts)
    return {"text/plain": text.render(shown).rstrip("\n"), "text/html": notebook.render(shown)}


# ------------------------------------------------------------------------------------------------------


def _whose(note: str, diff: Diff) -> str:
    sides = [name for name, side in (("Left", diff.left), ("Right", diff.right)) if note in side.notes]
    return "Both" if len(sides) == 2 else sides[0]


def _layout(side: Side) -> str:
    names = [side.form.replace("_", " "), *([f"{side.backend} names"] if side.backend else ())]
    return f"{side.layout} ({', '.join(names)})"


# What is said of each side, in this order.
_SIDE: tuple[tuple[str, Callable[[Side], str]], ...] = (
    ("where", lambda side: side.where),
    ("format", lambda side: side.format),
    ("layout", _layout),
    ("pattern", lambda side: side.pattern or "none that is known here"),
    ("tensors", lambda side: count(side.tensors)),
    ("elements", lambda side: count(side.elements)),
    ("bytes", lambda side: f"{count(side.nbytes)} ({size(side.nbytes)})"),
)


def _strip(written: str | None) -> tuple[scene.Part, ...]:
    """The pattern's cells; a diff that was read from a file may hold a pattern that is none."""
    try:
        pattern = Pattern(written or "")
    except WorkbenchError:
        return ()
    if not pattern.sublayers:
        return ()
    return (pattern_view.strip(pattern, fold=len(pattern.sublayers) >= _FOLDED_FROM),)


Diff.view = mimebundle
