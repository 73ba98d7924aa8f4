"""A conversion as a scene: what came of it, both ends, what each tensor is called now, and how its bytes got there. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from workbench.checkpoint.conversion import Converted, End, Renamed
from workbench.render import notebook, scene, text
from workbench.render.text_table import status_text
from workbench.views.numbers import count, counted, duration, size

MOST_ROWS = 200
_SAME, _NONE = "the same name", "–"
# What differs between the tensors of one row: a layer's number, and an expert's at the end of a name.
_NUMBER = re.compile(r"(?<=\.)[0-9]+(?=\.)|(?<=\.weight)[0-9]+$|(?<=\.bias)[0-9]+$")


def document(done: Converted) -> scene.Document:
    """The whole of it, as it is read from top to bottom."""
    parts: list[scene.Part] = [banner(done), ends(done), names(done)]
    if not done.dry_run:
        parts.append(_bytes(done))
    if done.notes:
        parts.append(scene.Notes(tuple(map(scene.Note, done.notes))))
    return scene.Document("A checkpoint converted", tuple(parts), kind="Checkpoints")


def banner(done: Converted) -> scene.Banner:
    """CONVERTED or DRY RUN, and how much."""
    what = f"{counted(done.target.tensors, 'tensor')}, {size(done.target.nbytes)}, {_change(done)}"
    if done.dry_run:
        return scene.Banner(scene.Status("not-run", "DRY RUN"), f"{what}: nothing was written")
    said = f"{what}: read again, and every bit is the source's ({duration(done.seconds)})"
    return scene.Banner(scene.Status("pass", "CONVERTED"), said)


def headline(done: Converted) -> str:
    """The banner as one line of text."""
    shown = banner(done)
    return f"{status_text(shown.status)}: {shown.text}"


def ends(done: Converted) -> scene.Table:
    """Source and target beside each other."""
    columns = (scene.Column("what"), scene.Column("source"), scene.Column("target"))
    rows = tuple((what, said(done.source), said(done.target)) for what, said in _ENDS)
    return scene.Table(columns, rows, "What was converted." if not done.dry_run else "What would be converted.")


def names(done: Converted) -> scene.Part:
    """Every name and what it was, one row for those that differ in the numbers of layers and experts only."""
    rows = folded(done.mapping)
    changed = sum(entry.sources != (entry.name,) for entry in done.mapping)
    left_out = f"; {counted(len(rows) - MOST_ROWS, 'more row')} in JSON" if len(rows) > MOST_ROWS else ""
    columns = (scene.Column("source", code=True), scene.Column("target", code=True), scene.Column("tensors", "right"))
    caption = f"What each tensor was called, and is; <i> is a number{left_out}."
    table = scene.Table(columns, tuple((old, new, count(many)) for old, new, many in rows[:MOST_ROWS]), caption)
    said = f"{counted(changed, 'tensor has', 'tensors have')} another name"
    return scene.Details(said if changed else "Every name stays", (table,), open=done.dry_run)


def folded(mapping: Iterable[Renamed]) -> list[tuple[str, str, int]]:
    """(old names, new name, how many tensors) with the numbers taken out.

    >>> folded([Renamed(f"decoder.layers.{i}.mixer.D", (f"decoder.layers.{2 * i}.mixer.D",)) for i in range(3)])
    [('the same name', 'decoder.layers.<i>.mixer.D', 3)]
    >>> folded([Renamed("a.weight1", ("a.weight",))])
    [('a.weight', 'a.weight<i>', 1)]
    """
    rows: dict[tuple[str, str], int] = {}
    for entry in mapping:
        new = _template(entry.name)
        old = " + ".join(dict.fromkeys(map(_template, entry.sources))) or _NONE
        key = (_SAME if old == new else old, new)
        rows[key] = rows.get(key, 0) + 1
    return [(*key, many) for key, many in rows.items()]


def mimebundle(done: Converted) -> dict[str, str]:
    """What a notebook shows for a conversion."""
    shown = document(done)
    return {"text/plain": text.render(shown).rstrip("\n"), "text/html": notebook.render(shown)}


# ------------------------------------------------------------------------------------------------------


def _template(name: str) -> str:
    return _NUMBER.sub("<i>", name)


def _change(done: Converted) -> str:
    one, two = done.source, done.target
    if one.layout != two.layout:
        return f"{one.layout} to {two.layout}"
    return two.layout if one.format == two.format else f"{one.format} to {two.format}"


def _bytes(done: Converted) -> scene.Table:
    rows = (
        ("shared with the source's files", size(done.linked_bytes)),
        ("copied as they are", size(done.copied_bytes)),
        ("put together from pieces", size(done.gathered_bytes)),
    )
    columns = (scene.Column("how"), scene.Column("bytes", "right"))
    return scene.Table(columns, rows, f"How the bytes got into {counted(len(done.files), 'file')}.")


def _layout(end: End) -> str:
    words = [end.form.replace("_", " "), *([f"{end.backend} names"] if end.backend else ())]
    return f"{end.layout} ({', '.join(words)})"


_ENDS = (
    ("where", lambda end: end.where),
    ("format", lambda end: end.format),
    ("layout", _layout),
    ("pattern", lambda end: end.pattern or _NONE),
    ("tensors", lambda end: count(end.tensors)),
    ("bytes", lambda end: f"{count(end.nbytes)} ({size(end.nbytes)})"),
)
