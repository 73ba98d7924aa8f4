"""From what was measured to a `Check`: compare, count, and say it in one line. Used by every check."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from workbench.compare.session import Session
from workbench.compare.tensors import compare_mappings, digest
from workbench.compare.verdict import Check, Difference, Number

# Differences that a check carries; it counts all of them.
KEPT = 50


def make_check(
    name: str, question: str, differences: list[Difference], summary: str, measured: Mapping[str, Number]
) -> Check:
    """A check that passes exactly when there are no differences; with some, the first makes the summary."""
    if differences:
        count = "1 difference, in" if len(differences) == 1 else f"{len(differences):,} differences, the first in"
        summary = f"{count} {differences[0].place}: {short(differences[0])}"
    return Check(
        name,
        question,
        not differences,
        summary,
        {**measured, "differences": len(differences)},
        differences=tuple(differences[:KEPT]),
    )


def tensor_check(
    session: Session, name: str, question: str, left: Mapping[str, Tensor], right: Mapping[str, Tensor], what: str
) -> Check:
    """A check that two sets of named tensors are equal within the tolerance of the session."""
    differences = compare_named(session, left, right)
    elements = sum(tensor.numel() for tensor in left.values())
    return make_check(
        name,
        question,
        differences,
        f"{len(left)} {what}, {said(session, elements, 'numbers')}",
        {"tensors": len(left), "elements": elements, "left_digest": digest(left), "right_digest": digest(right)},
    )


def compare_named(session: Session, left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> list[Difference]:
    """Every difference between two sets of named tensors, with this session's places and tolerance."""
    return compare_mappings(left, right, session.place, session.settings.tolerance)


def said(session: Session, count: int, what: str) -> str:
    """What agreed, and how: "1,024 numbers: identical bits", or within what they agree."""
    how = "identical bits" if session.settings.tolerance.bitwise else f"equal within {session.settings.tolerance}"
    return f"{count:,} {what}: {how}"


def short(difference: Difference) -> str:
    """A difference in one line."""
    if difference.problem in ("value", "nan") and difference.mismatched is not None:
        ulp = "" if difference.max_ulp is None else f", {difference.max_ulp:,} ULP"
        distance = "" if difference.max_abs is None else f", by up to {difference.max_abs:.3g}{ulp}"
        return f"{difference.name} differs in {difference.mismatched:,} of {difference.elements:,}{distance}"
    return f"{difference.name}: {difference.problem}" + (f", {difference.detail}" if difference.detail else "")
