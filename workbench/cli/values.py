"""Numbers on a command line: each function is the `type` of an argument and says in words what it expected."""

from __future__ import annotations

import argparse

_MOST_DIGITS = 18  # of a number: no count has more, and arithmetic with it stays quick
_MOST_THREADS = 1024


def natural(text: str, least: int = 0) -> int:
    """A whole number of at least `least`, in ASCII digits."""
    digits = len(text) if text.isascii() and text.isdigit() else 0
    if digits > _MOST_DIGITS:
        raise argparse.ArgumentTypeError(f"expected a whole number of at most {_MOST_DIGITS} digits, not {digits}")
    if not digits or int(text) < least:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, not {text!r}")
    return int(text)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return natural(text, least=1)


def threads(text: str) -> int:
    """A whole number from 1 to 1024: the library under torch ends the process where it cannot have as many as it is asked for."""
    if (count := positive(text)) > _MOST_THREADS:
        raise argparse.ArgumentTypeError(f"expected at most {_MOST_THREADS} threads, not {text}")
    return count


def tolerance(text: str) -> float:
    """A finite number of at least 0."""
    return _number(text, float("inf"), "a number of at least 0")


def positive_number(text: str) -> float:
    """A finite number above 0."""
    value = _number(text, float("inf"), "a number above 0")
    if not value:
        raise argparse.ArgumentTypeError(f"expected a number above 0, not {text!r}")
    return value


def probability(text: str) -> float:
    """A number of at least 0 and below 1: a dropout of everything leaves nothing to train."""
    return _number(text, 1.0, "a probability of at least 0 and below 1")


def _number(text: str, below: float, wanted: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < below:
        raise argparse.ArgumentTypeError(f"expected {wanted}, not {text!r}")
    return value
