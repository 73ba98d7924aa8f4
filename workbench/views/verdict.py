"""A verdict as a scene: the answer, the twins, every check, what differs, and what the answer was obtained with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.compare.verdict import Check, Twin, Verdict
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern
from workbench.render import notebook, scene, text
from workbench.render.text_table import status_text
from workbench.views import pattern as pattern_view
from workbench.views.differences import difference_sections, said, words
from workbench.views.numbers import count, counted, duration, measure, noun

_PLACES = ("left", "right")
_MANY = 12  # values of one group from which they are folded


def document(verdict: Verdict) -> scene.Document:
    """The whole verdict; differences only where there are some."""
    left, right = (_twin(twin, place) for twin, place in zip((verdict.left, verdict.right), _PLACES, strict=True))
    parts: list[scene.Part] = [
        banner(verdict),
        scene.Section("The twins", (scene.SideBySide((left, right)),)),
        scene.Section("Checks", (checks_table(verdict), questions(verdict))),
    ]
    if verdict.failed:
        parts.append(scene.Section("What is not the same", difference_sections(verdict.failed)))
    if verdict.environment:
        parts.append(scene.Section("Obtained with", environment(verdict.environment)))
    if verdict.seconds:
        parts.append(scene.Section("Time", (_time(verdict.seconds),)))
    return scene.Document("Verdict on the twins", tuple(parts), kind="Equivalence")


def banner(verdict: Verdict) -> scene.Banner:
    """EQUIVALENT or NOT EQUIVALENT, and how many checks say so."""
    passed = sum(check.passed is True for check in verdict.checks)
    said = f"{count(passed)} of {counted(len(verdict.checks), 'check')} passed"
    if not verdict.checks:
        said = "no check was run"
    if verdict.equivalent:
        return scene.Banner(scene.Status("pass", "EQUIVALENT"), ", ".join(filter(None, (said, _precision(verdict)))))
    failed = [words(check.name) for check in verdict.checks if check.passed is False]
    not_run = [words(check.name) for check in verdict.checks if check.passed is None]
    more = [f"{word}: {', '.join(names)}" for word, names in (("failed", failed), ("not run", not_run)) if names]
    return scene.Banner(scene.Status("fail", "NOT EQUIVALENT"), "; ".join([said, *more]))


def headline(verdict: Verdict) -> str:
    """The banner as one line of text."""
    shown = banner(verdict)
    return f"{status_text(shown.status)}: {shown.text}"


def check_line(check: Check) -> str:
    """One check as one line of text, for those who watch it run."""
    return f"{status_text(_status(check)):<9}  {words(check.name)}: {said(check)} ({duration(check.seconds)})"


def checks_table(verdict: Verdict) -> scene.Table:
    """One row a check: outcome, name, what was measured, time."""
    columns = (
        scene.Column("outcome"),
        scene.Column("check"),
        scene.Column("measured"),
        scene.Column("time", "right"),
    )
    rows = tuple((_status(check), words(check.name), said(check), duration(check.seconds)) for check in verdict.checks)
    return scene.Table(columns, rows, "Every check, in the order it ran. A check that could not run is not a pass.")


def questions(verdict: Verdict) -> scene.Details:
    """The question behind every check, folded."""
    columns = (scene.Column("check"), scene.Column("question"))
    rows = tuple((words(check.name), check.question) for check in verdict.checks)
    return scene.Details("What each check asks", (scene.Table(columns, rows, "The question behind every check."),))


def environment(values: Mapping[str, Any], answer: str = "verdict") -> tuple[scene.Part, ...]:
    """One table of everything, a group of many values apart and folded."""
    rows: list[tuple[str, str, str]] = []
    folded: list[scene.Part] = []
    # Single values first: what stands in a column of its own is found sooner.
    for name, value in sorted(values.items(), key=lambda entry: isinstance(entry[1], Mapping)):
        flat = _flat(value) if isinstance(value, Mapping) else {"": value}
        shown = [(words(entry), _value(found)) for entry, found in flat.items()]
        if len(shown) > _MANY:
            columns = (scene.Column("name"), scene.Column("value", code=True))
            table = scene.Table(columns, tuple(shown), f"Every value of {words(name)}.")
            folded.append(scene.Details(f"{words(name)}: {counted(len(shown), 'value')}", (table,)))
        elif isinstance(value, Mapping):
            # The group's name stands once, before its first value.
            rows += [("" if number else words(name), *row) for number, row in enumerate(shown)]
        else:
            rows.append((words(name), "", shown[0][1]))
    columns3 = (scene.Column("what"), scene.Column("name"), scene.Column("value", code=True))
    caption = f"What the answer was obtained with: the same again gives the same {answer}."
    return (scene.Table(columns3, tuple(rows), caption), *folded)


def mimebundle(verdict: Verdict) -> dict[str, str]:
    """What a notebook shows for a verdict."""
    twins = tuple(part for twin in (verdict.left, verdict.right) for part in (_facts(twin), *_strip(twin)))
    differences = difference_sections(verdict.failed)
    shown = scene.Document("Verdict on the twins", (banner(verdict), *twins, checks_table(verdict), *differences))
    return {"text/plain": text.render(shown).rstrip("\n"), "text/html": notebook.render(shown)}


# ------------------------------------------------------------------------------------------------------


def _status(check: Check) -> scene.Status:
    outcome: scene.Outcome = "not-run" if check.passed is None else "pass" if check.passed else "fail"
    return scene.Status(outcome)


def _precision(verdict: Verdict) -> str:
    """ "bitwise" only when the environment says that nothing was tolerated."""
    tolerance = verdict.environment.get("tolerance")
    if not tolerance:
        return ""
    return str(tolerance) if tolerance == "bitwise" else f"within {tolerance}"


def _facts(twin: Twin) -> scene.Facts:
    counts = (
        (twin.blocks, "block"),
        (twin.sublayers, "sub-layer"),
        (twin.fused, "fused pair"),
        (twin.parameters, "parameter"),
    )
    return scene.Facts(tuple(scene.Fact(count(number), noun(number, word)) for number, word in counts))


def _twin(twin: Twin, place: str) -> scene.Section:
    parts: list[scene.Part] = [_facts(twin), scene.Code(twin.pattern), *_strip(twin)]
    if twin.modules:
        columns = (scene.Column("name", code=True), scene.Column("module", code=True))
        table = scene.Table(columns, twin.modules, "The modules that were really built, one row a block.")
        # More modules than blocks: MTP's are among them.
        more = ", MTP included" if len(twin.modules) > twin.blocks else ""
        parts.append(scene.Details(f"{counted(len(twin.modules), 'built module')}{more}", (table,)))
    return scene.Section(f"{place.capitalize()} twin", tuple(parts))


def _strip(twin: Twin) -> tuple[scene.Part, ...]:
    """The twin's cells; a verdict that was read from a file may hold a pattern that is none."""
    try:
        return (pattern_view.strip(Pattern(twin.pattern)),)
    except WorkbenchError:
        return ()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found.update(_flat(value, f"{prefix}{name} · "))
        else:
            found[f"{prefix}{name}"] = value
    return found


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "none"
    # A seed or a size is a name as much as a number: no separators, so that it can be copied into a command.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else measure(value)


def _time(seconds: Mapping[str, float]) -> scene.Table:
    rows = tuple((words(name), duration(spent)) for name, spent in seconds.items())
    return scene.Table((scene.Column("part"), scene.Column("time", "right")), rows, "Where the time went.")


Verdict.view = mimebundle
