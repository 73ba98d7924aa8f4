"""What differs between two checkpoints as tables that are read at 80 columns: the worst first, and how many are not shown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workbench.checkpoint.differences import Diff, Group, TensorDifference
from workbench.pattern.symbols import SYMBOLS
from workbench.render import scene
from workbench.views import diff_words as words
from workbench.views.numbers import amount, count, counted

MOST_GROUPS = 40
MOST_DIFFERENCES = 40
MOST_NAMES = 20
OUTSIDE = "outside the layers"

_GROUP_COLUMNS = (
    scene.Column("outcome"),
    scene.Column("where"),
    scene.Column("name", code=True),
    scene.Column("tensors", "right"),
    scene.Column("elements", "right"),
)


def groups(diff: Diff) -> tuple[scene.Part, ...]:
    """Every group that differs, with the worst of it in words; then, folded, what is equal."""
    found = [group for group in diff.groups if not _is_equal(diff, group)]
    equal = [group for group in diff.groups if _is_equal(diff, group)]
    parts: list[scene.Part] = []
    if found:
        columns = (*_GROUP_COLUMNS[:4], scene.Column("the worst of them"))
        rows = tuple((*_group_cells(diff, group)[:4], _worst(diff, group)) for group in found[:MOST_GROUPS])
        caption = (
            f"What differs, the worst first, consecutive sub-layers folded{_left_out(found, MOST_GROUPS, 'group')}."
        )
        parts.append(scene.Table(columns, rows, caption))
    if equal:
        rows = tuple(_group_cells(diff, group) for group in equal[:MOST_GROUPS])
        tensors = sum(group.tensors for group in equal)
        caption = f"What is equal, consecutive sub-layers folded{_left_out(equal, MOST_GROUPS, 'group')}."
        table = scene.Table(_GROUP_COLUMNS, rows, caption)
        parts.append(scene.Details(f"{counted(tensors, 'tensor is', 'tensors are')} equal", (table,)))
    return tuple(parts)


def differences(diff: Diff) -> tuple[scene.Part, ...]:
    """Each difference by itself: how far, where first, and what has no values; the worst of them only."""
    content = [entry for place in words.ranked(diff) if (entry := diff.differences[place]).content]
    # Apart, so that many tensors of one side do not push out what differs on both.
    measured = [entry for entry in content if entry.metrics is not None][:MOST_DIFFERENCES]
    others = [entry for entry in content if entry.metrics is None][:MOST_DIFFERENCES]
    shown = len(measured) + len(others)
    parts: list[scene.Part] = []
    if len(content) > shown:
        parts.append(
            scene.Paragraph(
                f"The {count(shown)} worst of {counted(len(content), 'difference')}; "
                f"{count(len(content) - shown)} are not shown here. JSON has every one."
            )
        )
    if measured:
        parts.append(_distances(measured))
    if placed := [entry for entry in measured if entry.metrics and entry.metrics.first is not None]:
        parts.append(_places(placed))
    if others:
        said = f"{counted(len(others), 'difference')} without values to compare"
        parts.append(scene.Details(said, (_others(others),)))
    return tuple(parts)


def renamed(diff: Diff) -> tuple[scene.Part, ...]:
    """What is equal under another name, by a rule of the layouts: how many, one as an example, and folded the first."""
    found = [entry for entry in diff.differences if not entry.content]
    if not found:
        return ()
    names = [words.clipped(name or "") for name in (found[0].written or found[0].name, found[0].other_name)]
    rows = tuple(
        (words.clipped(entry.written or entry.name), words.clipped(entry.other_name or ""))
        for entry in found[:MOST_NAMES]
    )
    caption = f"Names of one tensor on both sides{_left_out(found, MOST_NAMES, 'name')}."
    columns = (scene.Column("left", code=True), scene.Column("right", code=True))
    said = f"{counted(len(found), 'tensor is', 'tensors are')} equal under another name"
    return (
        scene.Paragraph(f"{said}, such as {names[0]}, which is {names[1]} on the right."),
        scene.Details("The names on both sides", (scene.Table(columns, rows, caption),)),
    )


def where(place: str, symbol: str | None = None) -> str:
    """A place and its kind in words, whatever of them is known.

    >>> where("layers 0–3", "M"), where("")
    ('layers 0–3, Mamba-2', 'outside the layers')
    """
    return ", ".join(filter(None, (words.clipped(place), symbol and kind_name(symbol)))) or OUTSIDE


def kind_name(symbol: str | None) -> str:
    """The name of a sub-layer's kind; a dash outside of them.

    >>> kind_name("M"), kind_name(None)
    ('Mamba-2', '–')
    """
    if symbol is None:
        return words.NONE
    return SYMBOLS[symbol].name if symbol in SYMBOLS else words.clipped(symbol)


# ------------------------------------------------------------------------------------------------------


def _is_equal(diff: Diff, group: Group) -> bool:
    """Equal, or equal under another name that a layout explains."""
    if group.outcome == "equal":
        return True
    return group.worst is not None and not diff.differences[group.worst].content


def _group_cells(diff: Diff, group: Group) -> tuple[scene.Cell, ...]:
    return (
        words.status(group.outcome, not _is_equal(diff, group)),
        where(group.place, group.symbol),
        words.clipped(group.name),
        count(group.tensors),
        amount(group.elements),
    )


def _worst(diff: Diff, group: Group) -> str:
    if group.worst is None:
        return words.NONE
    worst = diff.differences[group.worst]
    where = (
        f"{words.clipped(worst.place)}: "
        if len(group.members) > 1 and worst.place and worst.place != group.place
        else ""
    )
    return where + words.phrase(worst)


def _distances(found: Sequence[TensorDifference]) -> scene.Table:
    columns = (
        scene.Column("name", code=True),
        scene.Column("mismatched", "right"),
        scene.Column("max abs", "right"),
        scene.Column("max rel", "right"),
        scene.Column("max ULP", "right"),
        scene.Column("cosine", "right"),
    )
    rows = (
        (
            words.clipped(entry.name),
            words.mismatched(entry.metrics),
            words.max_abs(entry.metrics),
            words.max_rel(entry.metrics),
            words.max_ulp(entry.metrics),
            words.cosine(entry.metrics),
        )
        for entry in found
    )
    return _used(columns, rows, "How far they are apart, over what is finite on both sides.")


def _places(found: Sequence[TensorDifference]) -> scene.Table:
    columns = (
        scene.Column("name", code=True),
        scene.Column("shape and dtype"),
        scene.Column("first at", "right", code=True),
        scene.Column("left", "right", code=True),
        scene.Column("right", "right", code=True),
        scene.Column("NaN and Inf"),
    )
    rows = (
        (
            words.clipped(entry.name),
            words.sizes(entry),
            words.index(entry.metrics),
            *words.values(entry.metrics),
            words.special(entry.metrics),
        )
        for entry in found
    )
    return _used(columns, rows, "The first mismatch of each, and the two values there.")


def _others(found: Sequence[TensorDifference]) -> scene.Table:
    columns = (
        scene.Column("outcome"),
        scene.Column("name", code=True),
        scene.Column("other name", code=True),
        scene.Column("where"),
        scene.Column("shape and dtype"),
        scene.Column("what"),
    )
    rows = (
        (
            words.status(entry.kind),
            words.clipped(entry.name),
            words.clipped(entry.other_name or ""),
            where(entry.place),
            words.sizes(entry),
            words.phrase(entry),
        )
        for entry in found
    )
    return _used(columns, rows, "What has no values to compare.")


def _used(columns: Sequence[scene.Column], rows: Iterable[Sequence[scene.Cell]], caption: str) -> scene.Table:
    """A table without its empty columns: they tell nothing and take room from the names."""
    kept = list(rows)
    used = [place for place in range(len(columns)) if any(row[place] not in ("", words.NONE) for row in kept)]
    shown = tuple(tuple(row[place] or words.NONE for place in used) for row in kept)
    return scene.Table(tuple(columns[place] for place in used), shown, caption)


def _left_out(found: Sequence[object], most: int, what: str) -> str:
    more = len(found) - most
    return f"; {counted(more, f'more {what} is', f'more {what}s are')} not shown" if more > 0 else ""
