"""How far two tensors are apart, taken in block by block, so that no tensor is ever a whole array of numbers. numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from workbench.checkpoint.comparing.casts import Casts
from workbench.checkpoint.differences import Metrics
from workbench.checkpoint.dtypes import Array, decode, dtype_of
from workbench.errors import WorkbenchError


@dataclass(frozen=True)
class Tolerance:
    """Entries agree when |a - b| <= atol + rtol · |b|, or when at most `ulp` representable numbers lie from one to the other;
    NaN agrees with NaN then. All 0: every bit must be the same (also of -0.0 and NaN).
    """

    atol: float = 0.0
    rtol: float = 0.0
    ulp: int = 0

    def __post_init__(self) -> None:
        for name in ("atol", "rtol", "ulp"):
            if not getattr(self, name) >= 0:  # NaN is not, either
                raise WorkbenchError(f"{name} is {getattr(self, name)!r}: a tolerance is a number from 0 on")

    @property
    def bitwise(self) -> bool:
        """True when nothing but identical bits is accepted."""
        return self.atol == 0.0 and self.rtol == 0.0 and self.ulp == 0

    def __str__(self) -> str:
        if self.bitwise:
            return "bitwise"
        return f"atol {self.atol:g}, rtol {self.rtol:g}" + (f", {self.ulp} ULP" if self.ulp else "")


BITWISE = Tolerance()


@dataclass
class Measure:
    """Two tensors of one shape, seen block by block in row-major order: `add` each, then `result`.

    `dtype` is the left side's, `other` the right side's where it is another; then values are compared, not bits.
    """

    dtype: str
    other: str = ""
    tolerance: Tolerance = BITWISE
    elements: int = 0
    mismatched: int = 0
    differing: int = 0  # entries whose bits differ, within the tolerance or not
    first: int | None = None
    casts: Casts | None = None  # is told the numbers too, where the types differ
    max_abs: float | None = None  # None until two finite numbers that differ were seen
    max_rel: float | None = None
    max_ulp: int | None = None
    nan: list[int] = field(default_factory=lambda: [0, 0, 0])
    inf: list[int] = field(default_factory=lambda: [0, 0, 0])
    _first_values: tuple[float | int | bool | str, float | int | bool | str] | None = None
    # Fractions neither overflow nor underflow, whatever a float64 tensor holds; there are three additions a block.
    _dots: list[Fraction] = field(default_factory=lambda: [Fraction(0)] * 3)

    def add(self, left: Array, right: Array) -> Array:
        """The next block's raw bits, both flat and of one length. Returns the places in it that are out of tolerance."""
        start, self.elements = self.elements, self.elements + left.size
        same_type = self.other in ("", self.dtype)
        a = numbers(left, self.dtype)
        if same_type:
            places = _places(unequal_bits(left, right))
            b = numbers(right, self.dtype) if places.size else a
        else:
            b = numbers(right, self.other)
            places = _places(~same_numbers(a, b))
        if self.casts is not None:
            self.casts.add(a, b)
        all_finite = self._relate(a, b)
        if not places.size:
            return places
        self.differing += places.size
        if places.size < left.size:
            a, b, left_bits, right_bits = a[places], b[places], left[places], right[places]
        else:
            left_bits, right_bits = left, right
        steps = ulp_distance(left_bits, right_bits, self.dtype) if same_type else None
        near = self._distances(a, b, steps, slice(None) if all_finite else np.isfinite(a) & np.isfinite(b))
        beyond = places if near is None else places[~near]
        self.mismatched += beyond.size
        if beyond.size and self.first is None:
            one = slice(beyond[0], beyond[0] + 1)
            self.first = start + int(beyond[0])
            self._first_values = _plain(left[one], self.dtype), _plain(right[one], self.other or self.dtype)
        return beyond

    def result(self, shape: tuple[int, ...]) -> Metrics:
        """What was found, once every block was added."""
        assert self.elements == math.prod(shape), "not every block was added"
        index = None if self.first is None else tuple(int(at) for at in np.unravel_index(self.first, shape))
        left, right = self._first_values or (None, None)
        if not self.differing and self.elements:
            counts_steps = self.other in ("", self.dtype) and dtype_of(self.dtype).kind in ("float", "complex")
            self.max_abs, self.max_rel, self.max_ulp = 0.0, 0.0, 0 if counts_steps else None
        return Metrics(
            mismatched=self.mismatched,
            elements=self.elements,
            max_abs=self.max_abs,
            max_rel=self.max_rel,
            max_ulp=self.max_ulp,
            cosine=self._cosine(),
            first=index,
            left=left,
            right=right,
            nan=(self.nan[0], self.nan[1], self.nan[2]),
            inf=(self.inf[0], self.inf[1], self.inf[2]),
        )

    # -------------------------------------------------------------------------------------------------

    def _distances(self, a: Array, b: Array, steps: Array | None, finite: Array | slice) -> Array | None:
        """Take in the distances of entries that differ, and say which of them are within the tolerance; None for none."""
        x, y = a[finite], b[finite]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            distance, size = difference(x, y), _size(y)
            scale = np.maximum(_size(x), size)
            if x.size:
                furthest = float(distance.max())
                # Of two large float64 the distance may overflow where its share of the larger does not.
                relative = distance / scale if math.isfinite(furthest) else difference(x / scale, y / scale)
                self.max_abs = max(self.max_abs or 0.0, furthest)
                # 0 / 0 is NaN, which `fmax` passes over.
                self.max_rel = max(self.max_rel or 0.0, float(np.fmax.reduce(relative, initial=0.0)))
                if steps is not None:
                    self.max_ulp = max(self.max_ulp or 0, int(steps[finite].max()))
            if self.tolerance.bitwise:
                return None
            near = (a == b) | ((a != a) & (b != b))
            near[finite] |= distance <= self.tolerance.atol + self.tolerance.rtol * size
        if steps is not None and self.tolerance.ulp:
            near[finite] |= steps[finite] <= self.tolerance.ulp
        return near

    def _relate(self, a: Array, b: Array) -> bool:
        """Take in the angle between two blocks, and their NaN and infinities; False where there are any, or may be."""
        x, y = _real(a), _real(b)
        with np.errstate(over="ignore", invalid="ignore"):
            dots = [float(np.dot(x, x))] * 3
            if y is not x:
                dots[1:] = float(np.dot(y, y)), float(np.dot(x, y))
        if all(map(math.isfinite, dots)) and (min(dots[:2]) > 1e-280 or not (x.any() or y.any())):
            self._dots = [held + Fraction(found) for held, found in zip(self._dots, dots, strict=True)]
            return True
        self._count_special(a, b)
        x, y = (
            _real(np.where(np.isfinite(a) & np.isfinite(b), a, 0)),
            _real(np.where(np.isfinite(a) & np.isfinite(b), b, 0)),
        )
        powers = [_exponent(x), _exponent(y)]
        x, y = np.ldexp(x, -powers[0]), np.ldexp(y, -powers[1])
        found = ((x, x, 2 * powers[0]), (y, y, 2 * powers[1]), (x, y, sum(powers)))
        self._dots = [
            held + Fraction(float(np.dot(p, q))) * Fraction(2) ** power
            for held, (p, q, power) in zip(self._dots, found, strict=True)
        ]
        return False

    def _count_special(self, a: Array, b: Array) -> None:
        for counts, test in ((self.nan, np.isnan), (self.inf, np.isinf)):
            left, right = test(a), test(b)
            both = int(np.count_nonzero(left & right))
            counts[0] += int(np.count_nonzero(left)) - both
            counts[1] += int(np.count_nonzero(right)) - both
            counts[2] += both

    def _cosine(self) -> float | None:
        left, right, across = self._dots
        if not left or not right:
            return None
        size = math.sqrt(min(across * across / (left * right), Fraction(1)))
        return size if across >= 0 else -size


def numbers(bits: Array, dtype: str) -> Array:
    """Raw bits as the numbers that distances are taken of: float64, complex128, or integers as they are."""
    kind = dtype_of(dtype).kind
    values = decode(bits, dtype)
    if kind == "float":
        with np.errstate(invalid="ignore"):  # a signalling NaN
            return values.astype(np.float64)
    if kind == "complex":
        with np.errstate(invalid="ignore"):
            return values.astype(np.complex128)
    return values.astype(np.uint8) if kind == "bool" else values


def unequal_bits(left: Array, right: Array) -> Array:
    """Where two arrays of raw bits differ."""
    if left.dtype.kind == "V":  # 16 opaque bytes
        halves = [np.ascontiguousarray(side).view(np.uint64).reshape(*side.shape, 2) for side in (left, right)]
        return np.asarray((halves[0] != halves[1]).any(-1))
    return left != right


def same_numbers(a: Array, b: Array) -> Array:
    """Where two arrays of numbers agree; NaN agrees with NaN."""
    return (a == b) | ((a != a) & (b != b))


def difference(a: Array, b: Array) -> Array:
    """|a - b| in float64; exact before it is rounded, also where the difference of two integers fits no integer type."""
    if a.dtype.kind in "fc" or b.dtype.kind in "fc":
        return np.abs(a - b)
    if a.dtype == b.dtype:
        more = a > b
        high, low = np.where(more, a, b), np.where(more, b, a)
        wide = np.int64 if a.dtype.kind == "i" else np.uint64
        return (high.astype(wide).view(np.uint64) - low.astype(wide).view(np.uint64)).astype(np.float64)
    return np.abs(a.astype(np.float64) - b.astype(np.float64))


def ulp_distance(left: Array, right: Array, dtype: str) -> Array | None:
    """How many steps from one representable number to the next lie between the two, unsigned; None for types without.

    Infinities and NaN count as the numbers that their bits would be: leave them out.
    """
    kind = dtype_of(dtype).kind
    if kind == "complex":
        half = "float32" if dtype == "complex64" else "float64"
        sides = [np.ascontiguousarray(side).view(dtype_of(half).bits) for side in (left, right)]
        steps = ulp_distance(sides[0], sides[1], half)
        assert steps is not None, "both parts of a complex number are floats"
        return np.asarray(steps.reshape(-1, 2).max(-1))
    if kind != "float":
        return None
    if dtype == "float8_e8m0fnu":  # no sign: the bits are in order
        return np.maximum(left, right) - np.minimum(left, right)
    a, b = _ordered(left), _ordered(right)
    # Subtracted as unsigned integers of their width, what is too far apart for signed ones wraps to the right distance.
    return np.maximum(a, b).view(left.dtype) - np.minimum(a, b).view(left.dtype)


# ------------------------------------------------------------------------------------------------------


def _places(where: Array) -> Array:
    return np.arange(where.size) if where.all() else np.flatnonzero(where)


def _ordered(bits: Array) -> Array:
    """The bits as integers that are ordered as the numbers are: negative ones count down from zero."""
    signed = bits.view(np.dtype(f"i{bits.itemsize}"))
    return np.where(signed >= 0, signed, np.iinfo(signed.dtype).min - signed)


def _real(values: Array) -> Array:
    if values.dtype.kind == "c":
        return np.ascontiguousarray(values).view(np.float64)
    return values.astype(np.float64, copy=False)


def _size(values: Array) -> Array:
    """|x| in float64: of the lowest integer there is none in its own type."""
    return np.abs(values if values.dtype.kind in "fc" else values.astype(np.float64))


def _exponent(values: Array) -> int:
    most = float(np.abs(values).max(initial=0.0))
    return math.frexp(most)[1] if most else 0


def _plain(bits: Array, dtype: str) -> float | int | bool | str:
    """One entry as a value that JSON has: NaN, infinities and complex numbers as text."""
    if dtype_of(dtype).kind == "bool":
        return bool(decode(bits, dtype)[0])
    value = decode(bits, dtype)[0].item()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value) if isinstance(value, complex) else value
