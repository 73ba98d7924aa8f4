"""Why two checkpoints differ, in sentences: the cause that explains most comes first. numpy only.

What `moved` finds (the same content under another name) stands between what is said here of patterns and of numbers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from workbench.checkpoint.comparing.metrics import Tolerance
from workbench.checkpoint.comparing.rows import Row, counted, listed, ranges
from workbench.checkpoint.inference.alignment import Change, align
from workbench.checkpoint.layout import Layout
from workbench.pattern.symbols import symbol_of

_LAYOUTS: Mapping[str, str] = {
    "canonical": "hybrid sub-layers",
    "fused": "blocks of a fused model",
    "gpt": "GPT layers",
    "grouped": "layers of bracket groups",
    "hugging_face": "Hugging Face layers",
    "other": "names that nothing here explains",
}
_FORMS = {"state_dict": "a model's names", "distributed": "the keys of a distributed checkpoint"}
_BACKENDS = {"te": "Transformer Engine's names", "local": "names of local modules"}


def layout_sentence(layouts: tuple[Layout, Layout], rows: Sequence[Row], *, same: bool) -> Iterator[str]:
    """How the names differ, where they do and are explained; `same` says that nothing else differs."""
    left, right = layouts
    if not any(row.by == "layout" for row in rows):
        return
    parts = []
    if left.name != right.name:
        parts.append(f"the left is written as {_written(left)}, the right as {_written(right)}")
    elif left.name in ("fused", "grouped") and left.pattern != right.pattern:
        parts.append(f"the left is written for {left.pattern}, the right for {right.pattern}")
    if left.form != right.form:
        parts.append(f"the left has {_FORMS[left.form]}, the right {_FORMS[right.form]}")
    if left.backend != right.backend and left.backend and right.backend:
        parts.append(f"the left has {_BACKENDS[left.backend]}, the right {_BACKENDS[right.backend]}")
    if not parts and left.pattern == right.pattern:
        written = sum(row.by == "layout" for row in rows)
        parts.append(
            f"{counted(written, 'tensor')} of the same meaning {'is' if written == 1 else 'are'} written otherwise"
        )
    if not parts:  # sub-layers have other numbers, and that is told of the patterns
        return
    end = "nothing differs but the names" if same else "that alone is no difference"
    yield f"{'; '.join(parts)}: {end}"


def unexplained_sentence(layouts: tuple[Layout, Layout]) -> Iterator[str]:
    """Why names are paired as they are written although one side's are understood: the other side's are not."""
    left, right = layouts
    for here, there, side, other in ((left, right, "left", "right"), (right, left, "right", "left")):
        if here.pattern is not None and there.pattern is None and there.name != "hugging_face":
            why = f" ({there.reasons[-1]})" if there.reasons else ""
            yield (
                f"the {side} is {here.pattern}, and what the {other}'s names mean could not be found out{why}: names are paired "
                "as they are written"
            )


def pattern_sentences(layouts: tuple[Layout, Layout]) -> Iterator[str]:
    """Where the two patterns have other kinds, or more sub-layers."""
    left, right = (layout.pattern for layout in layouts)
    if left is None or right is None:
        return
    yield from _kinds("", left.symbols, right.symbols)
    ours, theirs = left.mtp, right.mtp
    if (ours is None) != (theirs is None):
        yield f"only the {'right' if ours is None else 'left'} has multi-token prediction"
    elif ours is not None and theirs is not None:
        if ours.depths != theirs.depths:
            yield f"the left has {counted(ours.depths, 'MTP depth')}, the right {theirs.depths}"
        yield from _kinds("MTP ", ours.symbols, theirs.symbols)


def number_sentences(rows: Sequence[Row], tolerance: Tolerance, within: int) -> Iterator[str]:
    """What is said of dtypes, shapes and values, of hundreds of tensors at once. `within` differ less than the tolerance."""
    yield from _dtypes(rows)
    yield from _shapes(rows)
    yield from _values(rows)
    if within:
        verb = "is" if within == 1 else "are"
        yield f"{counted(within, 'tensor')} {verb} not the same bit for bit, and within the tolerance ({tolerance})"


def one_sided(rows: Sequence[Row]) -> Iterator[str]:
    """What only one side has, and no other sentence explains: optimizer states as a whole, the rest by name."""
    for outcome, side in (("missing", "left"), ("extra", "right")):
        names = [row.name for row in rows if row.outcome == outcome]
        states = [name for name in names if name.startswith("optimizer.")]
        paired = any(row.name.startswith("optimizer.") for row in rows if row.outcome not in ("missing", "extra"))
        if states and not paired:
            yield f"only the {side} has optimizer states ({counted(len(states), 'tensor')})"
            names = [name for name in names if not name.startswith("optimizer.")]
        if names:
            yield f"{counted(len(names), 'tensor')} {'is' if len(names) == 1 else 'are'} only on the {side}: {listed(names)}"


# ------------------------------------------------------------------------------------------------------


def _written(layout: Layout) -> str:
    brackets = layout.name in ("fused", "grouped") and layout.pattern is not None
    return f"{_LAYOUTS[layout.name]} ({layout.pattern})" if brackets else _LAYOUTS[layout.name]


def _kinds(where: str, left: str, right: str) -> Iterator[str]:
    alignment = align(left, right)
    if alignment.moves:
        for change in alignment.changes:
            yield _change(where, change, left, right)
        return
    changed: dict[tuple[str, str], list[int]] = defaultdict(list)
    for change in alignment.changes:
        for index in range(change.start, change.stop):
            changed[left[index], right[index]].append(index)
    for (ours, theirs), indices in changed.items():
        subject = f"sub-layers {ranges(indices)} are" if len(indices) > 1 else f"sub-layer {indices[0]} is"
        yield f"{where}{subject} {symbol_of(ours).name} on the left and {symbol_of(theirs).name} on the right"


def _change(where: str, change: Change, left: str, right: str) -> str:
    ours = _run(left, change.start, change.stop)
    theirs = _run(right, change.other_start, change.other_stop)
    if change.start == change.stop:
        at = f"before the left's sub-layer {change.start}" if change.start < len(left) else "at its end"
        return f"{where}only the right has {theirs}, {at}"
    if change.other_start == change.other_stop:
        at = f"before the right's sub-layer {change.other_start}" if change.other_start < len(right) else "at its end"
        return f"{where}only the left has {ours}, {at}"
    return f"{where}{ours} on the left {'is' if change.stop - change.start == 1 else 'are'} {theirs} on the right"


def _run(symbols: str, start: int, stop: int) -> str:
    """Sub-layers in a row: "sub-layer 7, Mamba-2", "sub-layers 7–9 (M-M)"."""
    if stop - start == 1:
        return f"sub-layer {start}, {symbol_of(symbols[start]).name}"
    shown = symbols[start:stop] if stop - start <= 24 else f"{symbols[start : start + 20]}…"
    return f"sub-layers {start}–{stop - 1} ({shown})"


def _dtypes(rows: Sequence[Row]) -> Iterator[str]:
    both = [row for row in rows if row.left is not None and row.right is not None]
    casts: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in both:
        left, right = row.pair
        if left.dtype != right.dtype:
            casts[left.dtype, right.dtype].append(row)
    for (ours, theirs), some in casts.items():
        subject = "every tensor is" if len(some) == len(both) > 1 else f"{counted(len(some), 'tensor')} "
        subject += "" if subject.startswith("every") else "is" if len(some) == 1 else "are"
        told = Counter(row.detail for row in some)
        (detail, times), *_ = told.most_common(1)
        end = f": {detail}" if detail and times == len(some) else ""
        if len(told) > 1:
            beyond = [row.name for row in some if "more than rounding" in row.detail]
            end = (
                f": {len(some) - len(beyond):,} are rounded, {len(beyond):,} {'is' if len(beyond) == 1 else 'are'} not: {listed(beyond)}"
                if beyond
                else ": the values are the same, or rounded"
            )
        yield f"{subject} {ours} on the left and {theirs} on the right{end}"


def _shapes(rows: Sequence[Row]) -> Iterator[str]:
    told: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.cause:
            told[row.cause].append(row.name)
    for cause, names in told.items():
        yield _subject(cause, names)
    rest = [row for row in rows if row.outcome == "shape" and not row.cause]
    if len(rest) == 1:
        yield f"{rest[0].name} has another shape: {rest[0].detail}"
    elif rest:
        yield f"{len(rest):,} tensors have another shape: {listed([f'{row.name} ({row.detail})' for row in rest])}"


def _subject(cause: str, names: Sequence[str]) -> str:
    return f"{cause}: {f'{len(names):,} tensors, ' if len(names) > 1 else ''}{listed(names)}"


def _values(rows: Sequence[Row]) -> Iterator[str]:
    differing = [row for row in rows if row.outcome == "value" and row.metrics is not None]
    unexplained = [row for row in differing if not row.cause and not row.moved]
    poisoned = [row for row in differing if row.metrics and (row.metrics.nan[0] or row.metrics.nan[1])]
    for place, side in ((0, "left"), (1, "right")):
        names = [row.name for row in poisoned if row.metrics and row.metrics.nan[place]]
        if names:
            yield f"{counted(len(names), 'tensor')} {_have(names)} NaN on the {side} where the other side has none: {listed(names)}"
    quiet = [
        row for row in unexplained if row.metrics and not row.metrics.max_abs and row not in poisoned and row.detail
    ]
    for detail in dict.fromkeys(row.detail for row in quiet):
        names = [row.name for row in quiet if row.detail == detail]
        yield _subject(detail, names)
    # A NaN is told above; how far the rest of its tensor is apart is not.
    hidden = {id(row) for row in (*quiet, *(row for row in poisoned if not (row.metrics and row.metrics.max_abs)))}
    rest = [row for row in unexplained if id(row) not in hidden]
    if len(rest) == 1:
        yield f"{rest[0].name} differs: {_figures(rest[0])}"
    elif rest:
        paired = sum(row.left is not None and row.right is not None for row in rows)
        worst = max(rest, key=_apart)
        yield f"{len(rest):,} of {paired:,} tensors differ in values; the furthest apart is {worst.name}: {_figures(worst)}"


def _apart(row: Row) -> tuple[bool, float]:
    """How far a tensor's sides are apart: an infinity against a number is further than all numbers."""
    metrics = row.metrics
    return (any(metrics.inf[:2]), metrics.max_rel or 0.0) if metrics else (False, 0.0)


def _have(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"


def _figures(row: Row) -> str:
    metrics = row.metrics
    assert metrics is not None, "only measured rows are told"
    said = f"{metrics.mismatched:,} of {counted(metrics.elements, 'element')}"
    if metrics.max_abs is not None:
        said += f", by up to {metrics.max_abs:.3g}"
    if metrics.max_rel is not None:
        said += f", relative {metrics.max_rel:.3g}"
    if metrics.max_ulp is not None:
        said += f", {metrics.max_ulp:,} ULP"
    return f"{said}, infinite on one side only" if any(metrics.inf[:2]) else said
