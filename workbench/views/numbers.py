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


def amount(number: float) -> str:
    """A large count with three significant digits and a letter: thousand, million, billion (10⁹), trillion.

    >>> amount(950), amount(8_030_261_248), amount(126_553_336_832), amount(999_600)
    ('950', '8.03B', '127B', '1.00M')
    """
    return _scaled(number, 1000, ("", "K", "M", "B", "T"))


def operations(number: float) -> str:
    """A number of floating-point operations in the unit that suits it.

    >>> operations(950), operations(6.4e10), operations(2.5e15)
    ('950 FLOP', '64.0 GFLOP', '2.50 PFLOP')
    """
    return _scaled(number, 1000, (" FLOP", " KFLOP", " MFLOP", " GFLOP", " TFLOP", " PFLOP", " EFLOP", " ZFLOP"))


def size(number: float) -> str:
    """A number of bytes in binary units, as GPU memory is counted.

    >>> size(512), size(80 * 2**30), size(1536)
    ('512 B', '80.0 GiB', '1.50 KiB')
    """
    return _scaled(number, 1024, (" B", " KiB", " MiB", " GiB", " TiB", " PiB"))


def percent(share: float) -> str:
    """A share as a percentage with one decimal; more than nothing is never shown as nothing.

    >>> percent(0.25), percent(0), percent(0.0001)
    ('25.0 %', '0 %', '< 0.1 %')
    """
    if share == 0:
        return "0 %"
    return f"{share:.1%}".replace("%", " %") if share >= 0.0005 else "< 0.1 %"


def _scaled(number: float, step: int, units: tuple[str, ...]) -> str:
    if number < step:
        whole = number if isinstance(number, int) else round(number, 1)
        return f"{whole:,}{units[0]}"
    power = 1
    # 999.5 and more would be written as a thousand of its unit.
    while power < len(units) - 1 and number / step**power >= step - 0.5:
        power += 1
    value = number / step**power
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:,.{digits}f}{units[power]}"
