"""Colours: the neutral ones of a drawing on light and dark paper, and contrast as WCAG 2 defines it."""

from __future__ import annotations

from dataclasses import dataclass

_INKS = ("#FFFFFF", "#10141B")


@dataclass(frozen=True)
class Paper:
    """The neutral colours of a drawing: what it lies on, text, quiet text, lines, a fused pair's tint, a panel's ground."""

    ground: str
    ink: str
    quiet: str
    line: str
    tint: str
    raised: str


LIGHT = Paper(ground="#FFFFFF", ink="#1B2430", quiet="#5A6575", line="#C5CDD8", tint="#EEF2F7", raised="#F7F9FB")
DARK = Paper(ground="#161A21", ink="#EDF1F7", quiet="#A0ACBC", line="#3B4553", tint="#262E3A", raised="#1D222B")


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two `#RRGGBB` colours, 1 to 21 (WCAG 2.2, "contrast ratio").

    >>> round(contrast("#000000", "#FFFFFF"), 1)
    21.0
    """
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


def ink_on(ground: str) -> str:
    """White or near-black, whichever stands out more on the colour; one of them always reaches 4.5.

    >>> ink_on("#0072B2"), ink_on("#9AA7B8")
    ('#FFFFFF', '#10141B')
    """
    return max(_INKS, key=lambda ink: contrast(ink, ground))


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
