"""What two tensors are apart, in words and figures: nothing that differs is ever shown as nothing. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from workbench.checkpoint.differences import Diff, Kind, Metrics, TensorDifference
from workbench.render.scene import Status
from workbench.views.numbers import count, counted, measure

NONE = "–"
BITS_ONLY = "bits only"

# What each kind of difference means, in the order of how much is wrong.
MEANINGS: Mapping[Kind, str] = {
    "missing": "only on the left",
    "extra": "only on the right",
    "shape": "another shape",
    "dtype": "another dtype",
    "value": "other values",
    "object": "no tensor, and not the same",
    "renamed": "the same under another name",
}
_KINDS: tuple[Kind, ...] = tuple(MEANINGS)
_WITH_SIZES = ("missing", "extra", "renamed")  # whose own sentence does not say shapes and dtypes


def clipped(text: str, most: int = 160) -> str:
    """A text of a file that may be of any length, its middle left out where it is long; JSON has all of it.

    >>> clipped("decoder.layers.0"), clipped("a" * 50 + "b" * 50, 12)
    ('decoder.layers.0', 'aaaaaaaa…bbb')
    """
    return text if len(text) <= most else f"{text[: most * 2 // 3]}…{text[1 - most + most * 2 // 3 :]}"


def status(kind: str, content: bool = True) -> Status:
    """An outcome with its mark: equal, and equal under another name, are no failure."""
    return Status("fail" if content else "pass", kind)


def mismatched(metrics: Metrics | None) -> str:
    """ "3 of 4,096", or a dash where nothing was counted."""
    return NONE if metrics is None else f"{count(metrics.mismatched)} of {count(metrics.elements)}"


def max_abs(metrics: Metrics | None) -> str:
    """The largest distance; where bits differ and numbers do not (−0 and 0), it says so."""
    return _distance(metrics, metrics.max_abs) if metrics else NONE


def max_rel(metrics: Metrics | None) -> str:
    """The largest relative distance."""
    return _distance(metrics, metrics.max_rel) if metrics else NONE


def max_ulp(metrics: Metrics | None) -> str:
    """The most representable numbers in between."""
    return _distance(metrics, metrics.max_ulp) if metrics else NONE


def cosine(metrics: Metrics | None) -> str:
    """The cosine; one that is nearly 1 is written as what it lacks.

    >>> cosine(Metrics(1, 2, cosine=1 - 2e-9)), cosine(Metrics(1, 2, cosine=1.0)), cosine(Metrics(1, 2, cosine=0.5))
    ('1 − 2e-09', '≈ 1', '0.5')
    """
    value = None if metrics is None else metrics.cosine
    if value is None or metrics is None:
        return NONE
    if not math.isfinite(value) or abs(value) < 0.995:
        return measure(float(value))
    if abs(value) >= 1:
        nearly = "≈ " if metrics.mismatched else ""
        return f"{nearly}{'−' if value < 0 else ''}1"
    return f"{'−' if value < 0 else ''}1 {'+' if value < 0 else '−'} {1 - abs(value):.3g}"


def index(metrics: Metrics | None) -> str:
    """Where the first mismatch is."""
    if metrics is None or metrics.first is None:
        return NONE
    return f"[{', '.join(map(str, metrics.first))}]"


def values(metrics: Metrics | None) -> tuple[str, str]:
    """The two values there, with as many digits as tell them apart.

    >>> values(Metrics(1, 2, left=0.1, right=0.1 + 2**-56)), values(Metrics(1, 2, left=-0.0, right=0.0))
    (('0.1', '0.10000000000000002'), ('-0', '0'))
    """
    if metrics is None or (metrics.left is None and metrics.right is None):
        return NONE, NONE
    return _apart(metrics.left, metrics.right)


def special(metrics: Metrics | None) -> str:
    """NaN and infinities: how many on the left only, on the right only, at the same places.

    >>> special(Metrics(1, 2, nan=(1, 0, 2)))
    'NaN: 1 left, 2 both'
    """
    if metrics is None:
        return ""
    said = []
    for name, found in (("NaN", metrics.nan), ("Inf", metrics.inf)):
        parts = [f"{count(number)} {where}" for number, where in zip(found, ("left", "right", "both"), strict=True)]
        shown = [part for part, number in zip(parts, found, strict=True) if number]
        if shown:
            said.append(f"{name}: {', '.join(shown)}")
    return "; ".join(said)


def phrase(found: TensorDifference) -> str:
    """One difference in one line, without its name: what a reader sees first."""
    metrics = found.metrics
    told = clipped(found.detail) or MEANINGS[found.kind]
    if metrics is None or not metrics.mismatched:
        return f"{told}: {sizes(found)}" if found.kind in _WITH_SIZES and sizes(found) else told
    said = [told] if found.kind == "dtype" else []
    if metrics.max_abs == 0:
        said.append(f"{mismatched(metrics)} differ in bits only, not as numbers")
    else:
        said.append(f"{mismatched(metrics)} differ")
    if metrics.max_abs:
        ulp = "" if metrics.max_ulp is None else f" ({counted(metrics.max_ulp, 'ULP', 'ULP')})"
        said.append(f"by up to {measure(float(metrics.max_abs))}{ulp}")
    if special(metrics):
        said.append(special(metrics))
    return ", ".join(said)


def sizes(found: TensorDifference) -> str:
    """Shape and dtype, of both sides where they are not the same."""
    if found.left == found.right:
        return found.left
    return " → ".join(filter(None, (found.left, found.right)))


def ranked(diff: Diff) -> list[int]:
    """The places of all differences in `diff.differences`, the worst first: what is explained by a layout comes last."""
    return sorted(range(len(diff.differences)), key=lambda place: _severity(diff.differences[place]))


def answer(diff: Diff) -> str:
    """How much was compared and how much differs, as the one sentence of a banner."""
    total = counted(diff.counts.get("tensors", 0), "tensor")
    kinds = Counter(entry.kind for entry in diff.differences if entry.content)
    renamed = len(diff.differences) - kinds.total()
    other = f"; {counted(renamed, 'has', 'have')} another name on the right" if renamed else ""
    if kinds:
        told = ", ".join(f"{count(kinds[kind])} {kind}" for kind in _KINDS if kinds[kind])
        unread = "" if diff.compared else "; no value was read"
        return f"{counted(kinds.total(), 'difference')} in {total}: {told}{other}{unread}"
    if not diff.compared:
        return f"{total}: the same shapes and dtypes{other}; no value was read"
    elements = counted(diff.counts.get("elements", 0), "element")
    how = "identical bits" if diff.tolerance in ("", "bitwise") else f"equal within {diff.tolerance}"
    return f"{total}, {elements}: {how}{other}"


# ------------------------------------------------------------------------------------------------------


def _severity(found: TensorDifference) -> tuple[float, ...]:
    """By kind; then NaN on one side only, the relative distance, how many entries."""
    metrics = found.metrics
    kind = _KINDS.index(found.kind) if found.content else len(_KINDS)
    if metrics is None:
        return (kind,)
    alone = sum(metrics.nan[:2]) + sum(metrics.inf[:2]) > 0
    return (kind, -float(alone), -(metrics.max_rel or 0.0), -metrics.mismatched)


def _distance(metrics: Metrics, value: float | int | None) -> str:
    if value is None:
        return NONE
    return BITS_ONLY if value == 0 and metrics.mismatched else measure(value)


def _apart(left: object, right: object) -> tuple[str, str]:
    for digits in (6, 9):
        shown = _short(left, digits), _short(right, digits)
        if shown[0] != shown[1]:
            return shown
    return str(left), str(right)


def _short(value: object, digits: int) -> str:
    if value is None:
        return NONE
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
