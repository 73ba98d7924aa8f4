"""Distances against their definitions, one entry at a time in plain Python; every dtype, whatever the blocks."""

from __future__ import annotations

import cmath
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.checkpoint.comparing.casts import Casts, rounded
from workbench.checkpoint.comparing.metrics import BITWISE, Measure, Tolerance, numbers, ulp_distance
from workbench.checkpoint.dtypes import DTYPES, decode, dtype_of

NAMES = sorted(DTYPES)
FLOATS = [name for name in NAMES if DTYPES[name].kind == "float"]
ROUNDED = [name for name in FLOATS if name != "float8_e8m0fnu"]


def bits_of(data: bytes, dtype: str):
    return np.frombuffer(data, dtype_of(dtype).bits)


@st.composite
def pairs(draw, names=NAMES):
    """(dtype, left bits, right bits): anything, near neighbours, and equal entries, mixed."""
    dtype = draw(st.sampled_from(names))
    width, count = dtype_of(dtype).bytes, draw(st.integers(1, 24))
    left = draw(st.binary(min_size=width * count, max_size=width * count))
    right = bytearray(left)
    for entry in draw(st.sets(st.integers(0, count - 1))):
        # The lowest byte first: a neighbour, more often than not.
        changed = draw(st.integers(1, width))
        right[entry * width : entry * width + changed] = draw(st.binary(min_size=changed, max_size=changed))
    return dtype, bits_of(left, dtype), bits_of(bytes(right), dtype)


def measured(dtype, left, right, tolerance=BITWISE, block=7):
    measure = Measure(dtype, tolerance=tolerance)
    for at in range(0, left.size, block):
        measure.add(left[at : at + block], right[at : at + block])
    return measure.result(left.shape)


def steps(a: float, b: float, dtype: str) -> int:
    """Representable numbers from one to the other, counted among all of the type's, or by `math.nextafter` for float64."""
    if dtype == "float64":
        low, high, count = min(a, b), max(a, b), 0
        while low < high and count <= 300:
            low, count = math.nextafter(low, math.inf), count + 1
        return count
    if dtype == "float32":
        low, high, count = np.float32(min(a, b)), np.float32(max(a, b)), 0
        while low < high and count <= 300:
            low, count = np.nextafter(low, np.float32(np.inf)), count + 1
        return count
    return abs(ORDER[dtype][a] - ORDER[dtype][b])


def _order(dtype: str) -> dict[float, int]:
    codes = numbers(np.arange(2 ** (8 * DTYPES[dtype].bytes), dtype=DTYPES[dtype].bits), dtype)
    return {float(value): place for place, value in enumerate(sorted(set(codes[np.isfinite(codes)].tolist())))}


ORDER = {name: _order(name) for name in FLOATS if DTYPES[name].bytes <= 2}


def finite(value) -> bool:
    return cmath.isfinite(value) if isinstance(value, complex) else math.isfinite(value)


@settings(max_examples=400, deadline=None)
@given(pairs())
def test_every_measure_is_what_its_definition_says(drawn):
    dtype, left, right = drawn
    found = measured(dtype, left, right)
    a, b = numbers(left, dtype).tolist(), numbers(right, dtype).tolist()
    unequal = [at for at in range(left.size) if left[at].tobytes() != right[at].tobytes()]
    assert found.elements == left.size
    assert found.mismatched == len(unequal)
    assert found.first == ((unequal[0],) if unequal else None)
    apart = [at for at in unequal if finite(a[at]) and finite(b[at])]
    if unequal and not apart:
        assert found.max_abs is found.max_rel is None
        assert found.max_ulp is None
        return
    exact = [
        abs(Fraction(a[at]) - Fraction(b[at])) if not isinstance(a[at], complex) else abs(a[at] - b[at]) for at in apart
    ]
    biggest = max(exact, default=0)
    if biggest < Fraction(1.7e308):
        assert found.max_abs == pytest.approx(float(biggest), rel=1e-12, abs=5e-324)
        if not isinstance(biggest, complex) and dtype_of(dtype).kind != "complex":
            relative = [
                exact[place] / max(abs(Fraction(a[at])), abs(Fraction(b[at]))) if exact[place] else 0
                for place, at in enumerate(apart)
            ]
            assert found.max_rel == pytest.approx(float(max(relative, default=0)), rel=1e-9, abs=1e-15)
    if dtype in FLOATS:
        furthest = max((steps(a[at], b[at], dtype) for at in apart), default=0)
        if furthest <= 300 or dtype in ORDER:
            assert found.max_ulp == furthest
        else:
            assert found.max_ulp is not None
            assert found.max_ulp > 300
    elif dtype_of(dtype).kind != "complex":
        assert found.max_ulp is None


@settings(max_examples=200, deadline=None)
@given(pairs())
def test_blocks_do_not_matter(drawn):
    dtype, left, right = drawn
    whole, parts = measured(dtype, left, right, block=1000), measured(dtype, left, right, block=1)
    # Sums of floats may be added in another order.
    assert (whole.cosine is None) == (parts.cosine is None)
    if whole.cosine is not None:
        assert parts.cosine == pytest.approx(whole.cosine, abs=1e-9)
    pick = ("mismatched", "max_abs", "max_rel", "max_ulp", "first", "left", "right", "nan", "inf")
    assert [getattr(whole, name) for name in pick] == [getattr(parts, name) for name in pick]


@settings(max_examples=200, deadline=None)
@given(pairs(names=FLOATS))
def test_nan_and_infinities_are_counted_by_position(drawn):
    dtype, left, right = drawn
    found = measured(dtype, left, right)
    for counts, test in ((found.nan, np.isnan), (found.inf, np.isinf)):
        a, b = test(numbers(left, dtype)), test(numbers(right, dtype))
        assert counts == ((a & ~b).sum(), (b & ~a).sum(), (a & b).sum())


@settings(max_examples=300, deadline=None)
@given(
    pairs(names=FLOATS),
    st.sampled_from([0.0, 1e-3, 0.5]),
    st.sampled_from([0.0, 1e-3, 1.0]),
    st.sampled_from([0, 1, 3]),
)
def test_a_tolerance_forgives_what_it_says_and_no_more(drawn, rtol, atol, ulp):
    dtype, left, right = drawn
    tolerance = Tolerance(atol, rtol, ulp)
    found = measured(dtype, left, right, tolerance)
    a, b = numbers(left, dtype), numbers(right, dtype)
    beyond = 0
    for x, y, p, q in zip(a.tolist(), b.tolist(), left, right, strict=True):
        if p == q or (not tolerance.bitwise and (x == y or (x != x and y != y))):
            continue
        near = False
        if math.isfinite(x) and math.isfinite(y) and not tolerance.bitwise:
            with np.errstate(over="ignore"):
                near = bool(np.abs(np.float64(x) - np.float64(y)) <= atol + rtol * np.abs(np.float64(y)))
            near = near or (bool(ulp) and steps(x, y, dtype) <= ulp)
        beyond += not near
    assert found.mismatched == beyond


def test_infinities_of_one_sign_agree_within_a_tolerance_and_others_do_not():
    left, right = np.array([np.inf, -np.inf]), np.array([np.inf, np.inf])
    found = measured("float64", left.view("u8"), right.view("u8"), Tolerance(atol=1e308, rtol=1.0))
    assert (found.mismatched, found.first) == (1, (1,))


def test_float64_distances_do_not_overflow():
    most = np.finfo(np.float64).max
    left, right = np.array([most, 1.0]), np.array([-most, 1.0])
    found = measured("float64", left.view("u8"), right.view("u8"))
    assert found.max_ulp == 2 * int(np.array([most]).view("i8")[0])
    assert found.cosine == pytest.approx(-1.0)
    assert found.max_rel == pytest.approx(2.0)


@pytest.mark.parametrize("scale", [1e300, 1e-300, 1e-320, 1.0])
def test_the_cosine_neither_overflows_nor_underflows(scale):
    left, right = np.array([3.0, 4.0]) * scale, np.array([4.0, 3.0]) * scale
    found = measured("float64", left.view("u8"), right.view("u8"))
    assert found.cosine == pytest.approx(24 / 25, rel=1e-2 if scale == 1e-320 else 1e-12)


def test_a_vector_of_zeros_has_no_angle():
    left, right = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert measured("float32", left.view("u4"), right.view("u4")).cosine is None


def test_integers_far_apart_are_measured_exactly():
    left, right = np.array([-(2**63), 7]), np.array([2**63 - 1, 7])
    found = measured("int64", left.view("u8"), right.view("u8"))
    assert (found.max_abs, found.max_rel) == (float(2**64 - 1), 2.0)
    assert (found.left, found.right) == (-(2**63), 2**63 - 1)


def test_complex_numbers_are_measured_by_their_modulus():
    left, right = np.array([3 + 4j, 1j], np.complex64), np.array([0j, 1j], np.complex64)
    found = measured("complex64", left.view("u8"), right.view("u8"))
    assert (found.mismatched, found.max_abs, found.max_rel) == (1, 5.0, 1.0)
    assert (found.left, found.right) == ("(3+4j)", "0j")


def test_values_that_json_lacks_are_text():
    left, right = np.array([np.nan], np.float32), np.array([np.inf], np.float32)
    found = measured("float32", left.view("u4"), right.view("u4"))
    assert (found.left, found.right) == ("nan", "inf")


def test_equal_tensors_are_at_no_distance():
    bits = np.arange(5, dtype=np.uint16)
    found = measured("bfloat16", bits, bits)
    assert (found.mismatched, found.max_abs, found.max_rel, found.max_ulp) == (0, 0.0, 0.0, 0)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "bfloat16", "float64"])
def test_any_number_of_steps_may_be_allowed(dtype: str):
    lowest, highest = (np.array([code], dtype_of(dtype).bits) for code in (2 ** (8 * DTYPES[dtype].bytes) - 1 - 1, 1))
    assert measured(dtype, lowest >> 1, highest, Tolerance(ulp=2**70)).mismatched == int(
        np.isnan(decode(lowest >> 1, dtype)[0])
    )
    assert measured(dtype, highest, highest + 1, Tolerance(ulp=2**70)).mismatched == 0


def test_types_without_steps_have_no_ulp():
    assert ulp_distance(np.array([1], np.uint8), np.array([9], np.uint8), "uint8") is None


@pytest.mark.parametrize("dtype", ROUNDED)
def test_rounding_is_what_torch_does(dtype):
    generator = torch.Generator().manual_seed(5)
    powers = torch.rand(50_000, generator=generator) * 90 - 45
    values = torch.randn(50_000, generator=generator) * 10**powers
    codes = np.arange(2**16, dtype=np.uint16)
    exact = torch.from_numpy(decode(codes, "bfloat16").copy())  # half-way cases of the 8-bit types among them
    values = torch.cat([values, exact, torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0])])
    expected = values.to(getattr(torch, dtype)).double().numpy()
    np.testing.assert_array_equal(rounded(values.double().numpy(), dtype), expected)


def test_a_cast_is_known_from_what_is_no_cast():
    exact = np.array([1.0, 1.0078125, 3.3])
    casts = Casts("float64", "bfloat16")
    casts.add(exact, rounded(exact, "bfloat16"))
    assert str(casts) == "the right is the left rounded to bfloat16"
    other = Casts("bfloat16", "float64")
    other.add(rounded(exact, "bfloat16"), exact)
    assert str(other) == "the left is the right rounded to bfloat16"
    other.add(np.array([1.0]), np.array([1.5]))
    assert str(other) == "the values differ by more than rounding"
    same = Casts("int32", "int64")
    same.add(np.array([1]), np.array([1]))
    assert str(same) == "every value is the same"
