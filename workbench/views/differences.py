"""What is not the same on the two sides, in numbers: one section a check that failed or could not run."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from workbench.compare.verdict import NO_TWINS, Check, Difference
from workbench.render import scene
from workbench.views.numbers import count, counted, measure

# Columns in order: heading, how its text is set, and its value; "" has no meaning for that difference.
_COLUMNS: tuple[tuple[scene.Column, Callable[[Difference], str]], ...] = (
    (scene.Column("name", code=True), lambda found: found.name),
    (scene.Column("place"), lambda found: found.place),
    (scene.Column("problem"), lambda found: f"{found.problem}: {found.detail}" if found.detail else found.problem),
    (scene.Column("mismatched", "right"), lambda found: _mismatched(found)),
    (scene.Column("max abs", "right"), lambda found: _number(found.max_abs)),
    (scene.Column("max rel", "right"), lambda found: _number(found.max_rel)),
    (scene.Column("max ULP", "right"), lambda found: _number(found.max_ulp)),
    (scene.Column("first at", "right", code=True), lambda found: _index(found.first_index)),
)


def difference_sections(checks: Iterable[Check]) -> tuple[scene.Section, ...]:
    """A section a check: its question, what was found, and the table of differences.

    What was not started because the two are no twins has nothing to add to the table of checks.
    """
    return tuple(_section(check) for check in checks if check.summary != NO_TWINS)


def said(check: Check) -> str:
    """What was measured, without the outcome's own word, which stands before it."""
    return check.summary.removeprefix("not run: ")


def words(name: str) -> str:
    """An identifier as it is read: "initial_weights" is "initial weights"."""
    return str(name).replace("_", " ")


def _section(check: Check) -> scene.Section:
    outcome: scene.Outcome = "not-run" if check.passed is None else "fail"
    parts: list[scene.Part] = [
        scene.Banner(scene.Status(outcome), said(check)),
        scene.Paragraph(check.question),
    ]
    if check.differences:
        parts.append(_table(check))
    return scene.Section(words(check.name), tuple(parts))


def _table(check: Check) -> scene.Table:
    rows = [[value(found) for _, value in _COLUMNS] for found in check.differences]
    # A column without a single value tells nothing and takes room from the names.
    used = [place for place in range(len(_COLUMNS)) if any(row[place] for row in rows)]
    columns = tuple(_COLUMNS[place][0] for place in used)
    shown = tuple(tuple(row[place] or "–" for place in used) for row in rows)
    return scene.Table(columns, shown, _caption(check))


def _caption(check: Check) -> str:
    total = check.measured.get("differences")
    if isinstance(total, int) and total > len(check.differences):
        return (
            f"The first {count(len(check.differences))} of {counted(total, 'difference')}, in the order of the model."
        )
    return f"{counted(len(check.differences), 'difference')}, in the order of the model."


def _mismatched(found: Difference) -> str:
    if found.mismatched is None:
        return ""
    return (
        count(found.mismatched) if found.elements is None else f"{count(found.mismatched)} of {count(found.elements)}"
    )


def _number(value: float | None) -> str:
    return "" if value is None else measure(value)


def _index(index: tuple[int, ...] | None) -> str:
    return "" if index is None else f"[{', '.join(map(str, index))}]"
