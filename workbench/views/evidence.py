"""A verdict beside a pattern as a scene: is it about this pattern, what it says, and under which conditions it was obtained.

A verdict holds for the two patterns that it compared, at the sizes that it was obtained with, and this says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from workbench.arch.architecture import Architecture
from workbench.compare.verdict import Verdict
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern
from workbench.render import scene
from workbench.views.comparison import differing_sizes
from workbench.views.differences import difference_sections
from workbench.views.verdict import banner, checks_table, environment, questions


def evidence(
    verdict: Verdict | None, architecture: Architecture, against: Pattern | None = None
) -> tuple[scene.Part, ...]:
    """What a verdict says of this pattern (and of `against`), or which command would obtain one."""
    pattern = architecture.pattern
    if verdict is None:
        return (
            scene.Paragraph(
                "No verdict was given: this report says nothing about equivalence. This command obtains one, at tiny sizes "
                "unless --sizes says others:"
            ),
            scene.Code(_command(pattern, against)),
        )
    compared = f"It compared {verdict.left.pattern} with {verdict.right.pattern}."
    if not about(verdict, pattern):
        other = against is not None and about(verdict, against)
        which = (
            "Only the other pattern of this report is among them" if other else "Neither is the pattern of this report"
        )
        said = f"{compared} {which}, so it says nothing about this one."
        return (
            scene.Banner(scene.Status("not-run", "ABOUT OTHER PATTERNS"), said),
            scene.Details("What it says about those", _findings(verdict)),
        )
    notes = _limits(verdict, architecture, against)
    shown: tuple[scene.Part, ...] = (scene.Notes(notes),) if notes else ()
    return (banner(verdict), scene.Paragraph(compared), *shown, *_findings(verdict)[1:])


def about(verdict: Verdict, pattern: Pattern) -> bool:
    """Whether one of the twins has this pattern; where its stages end does not matter, for both were built whole.

    >>> from workbench.compare.verdict import Twin
    >>> one, other = (Twin(text, 0, 0, 0, 0) for text in ("M[*-]|M", "M*-M"))
    >>> about(Verdict(one, other, ()), Pattern("M[*-]M")), about(Verdict(one, other, ()), Pattern("M*"))
    (True, False)
    """
    return _plain(str(pattern)) in (_plain(verdict.left.pattern), _plain(verdict.right.pattern))


# ------------------------------------------------------------------------------------------------------


def _findings(verdict: Verdict) -> tuple[scene.Part, ...]:
    parts: list[scene.Part] = [banner(verdict), checks_table(verdict), questions(verdict)]
    if verdict.failed:
        parts += difference_sections(verdict.failed)
    if verdict.environment:
        parts.append(scene.Details("What it was obtained with", environment(verdict.environment), open=True))
    return tuple(parts)


def _limits(verdict: Verdict, architecture: Architecture, against: Pattern | None) -> tuple[scene.Note, ...]:
    """What a reader could take the verdict for, and it is not."""
    notes = []
    if against is not None and not about(verdict, against):
        text = f"It is not about the other pattern of this report, {against}."
        notes.append(
            scene.Note(text, "another-twin", f"obtain that verdict with: {_command(architecture.pattern, against)}")
        )
    texts = (verdict.left.pattern, verdict.right.pattern)
    if str(architecture.pattern) not in texts:
        notes.append(scene.Note("Its pattern has its stages elsewhere; the layers are the same.", "other-stages"))
    sizes = verdict.environment.get("sizes")
    if not isinstance(sizes, Mapping):
        notes.append(scene.Note("It does not say with which sizes it was obtained.", "unknown-sizes"))
    elif differing := differing_sizes(architecture.sizes.to_json(), dict(sizes)):
        hint = "it shows that the patterns are one model at those sizes; a model of this report's sizes was not built"
        notes.append(scene.Note(f"It was obtained with other sizes: {differing}.", "other-sizes", hint))
    return tuple(notes)


def _plain(text: str) -> str:
    """The text that two patterns with the same blocks share; a text from a file may be no pattern."""
    try:
        return str(Pattern(text)).replace("|", "")
    except WorkbenchError:
        return text


def _command(pattern: Pattern, against: Pattern | None) -> str:
    other = f" --against {shlex.quote(str(against))}" if against is not None else ""
    return f"workbench verify {shlex.quote(str(pattern))}{other} --output verdict.json"
