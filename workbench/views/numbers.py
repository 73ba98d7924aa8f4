"""Numbers as words: what is shown is what was measured, and nothing that is not zero is ever shown as zero."""

from __future__ import annotations

import math
from typing import Any


def count(number: int) -> str:
    """A whole number with thousands separators.

    >>> count(1310720)
    '1,310,720'
    """
    return f"{number:,}"


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """A count and its noun.

    >>> counted(1, "block"), counted(0, "fused pair")
    ('1 block', '0 fused pairs')
    """
    return f"{count(number)} {noun(number, singular, plural)}"


def noun(number: int, singular: str, plural: str | None = None) -> str:
    """The noun in the number that the count asks for."""
    return singular if number == 1 else plural or f"{singular}s"


def measure(value: Any) -> str:
    """Any measured value: three significant digits for a float, separators for a count, a dash for "no meaning".

    >>> measure(0.0), measure(1.19e-7), measure(12345), measure(None), measure(True)
    ('0', '1.19e-07', '12,345', '–', 'yes')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return "0" if value == 0 else f"{value:.3g}" if math.isfinite(value) else str(value)
    return str(value)


def duration(seconds: float) -> str:
    """A time span in the unit that suits it.

    >>> duration(0.0004), duration(0.25), duration(3.14159), duration(125)
    ('< 1 ms', '250 ms', '3.14 s', '2 min 5 s')
    """
    if seconds < 0.001:
        return "< 1 ms" if seconds > 0 else "0 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 119.5:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
