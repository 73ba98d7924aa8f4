"""Would a cast explain it? One tensor against another of a different float type. numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from workbench.checkpoint.dtypes import Array, decode, dtype_of

_SCALES = "float8_e8m0fnu"  # powers of two that scale blocks of numbers; nothing is rounded to it


@dataclass
class Casts:
    """Takes in blocks of numbers of a left and a right side; at the end says whether one is the other, rounded.

    Signs of zeros and payloads of NaN are not looked at: a cast may change them.
    """

    left: str
    right: str
    same: bool = True
    right_is_rounded: bool = True
    left_is_rounded: bool = True

    def __post_init__(self) -> None:
        floats = dtype_of(self.left).kind == dtype_of(self.right).kind == "float"
        self.right_is_rounded = floats and self.right != _SCALES
        self.left_is_rounded = floats and self.left != _SCALES

    def add(self, a: Array, b: Array) -> None:
        """The next block of either side, as float64 where they are floats."""
        if self.same:
            self.same = _equal(a, b)
        if self.right_is_rounded:
            self.right_is_rounded = _equal(rounded(a, self.right), b)
        if self.left_is_rounded:
            self.left_is_rounded = _equal(a, rounded(b, self.left))

    def __str__(self) -> str:
        if self.same:
            return "every value is the same"
        if self.right_is_rounded:
            return f"the right is the left rounded to {self.right}"
        if self.left_is_rounded:
            return f"the left is the right rounded to {self.left}"
        return "the values differ by more than rounding"


def rounded(values: Array, dtype: str) -> Array:
    """float64 numbers rounded to the nearest that a narrower float type has, ties to even.

    As torch does it (2.14.1): bfloat16 and 8 bits are reached by way of float32; what is too large becomes infinite, the
    largest number in float8_e4m3fn, and NaN in the other types that have no infinity.

    >>> rounded(np.array([1.0, 1.00390625, 1.01171875, 1e39]), "bfloat16").tolist()
    [1.0, 1.0, 1.015625, inf]
    """
    if dtype == "float64":
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        single = values.astype(np.float32)
        if dtype == "float32":
            return single.astype(np.float64)
        if dtype == "float16":
            return values.astype(np.float16).astype(np.float64)
        return _to_grid(single.astype(np.float64), dtype)


# ------------------------------------------------------------------------------------------------------


def _equal(a: Array, b: Array) -> bool:
    return bool(((a == b) | ((a != a) & (b != b))).all())


def _to_grid(values: Array, dtype: str) -> Array:
    """Numbers between two powers of two are evenly spaced, and below the smallest normal one all are."""
    most, least, beyond = _limits(dtype)
    _, exponent = np.frexp(values)
    spacing = np.maximum(np.ldexp(1.0, exponent - 1 - dtype_of(dtype).mantissa), least)
    near = np.where(np.isfinite(values), np.rint(values / spacing) * spacing, values)
    return np.where(np.abs(near) > most, np.copysign(beyond, near), near)


@lru_cache
def _limits(dtype: str) -> tuple[float, float, float]:
    """The largest number, the smallest above zero, and what is larger than the largest."""
    entry = dtype_of(dtype)
    codes = decode(np.arange(2 ** (8 * entry.bytes), dtype=entry.bits), dtype)
    positive = codes[np.isfinite(codes) & (codes > 0)].astype(np.float64)
    most = float(positive.max())
    beyond = np.inf if np.isinf(codes).any() else most if dtype == "float8_e4m3fn" else np.nan
    return most, float(positive.min()), beyond
