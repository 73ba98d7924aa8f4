"""Two tensors in numbers: what counts as a difference, and how it is measured."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.compare.tensors import Tolerance, compare_mappings, compare_tensor, digest

EXACT = Tolerance()


def difference(left: object, right: object, tolerance: Tolerance = EXACT, dtype: torch.dtype = torch.float32):
    return compare_tensor("w", "here", torch.tensor(left, dtype=dtype), torch.tensor(right, dtype=dtype), tolerance)


def test_equal_tensors_have_no_difference() -> None:
    assert difference([1.0, -2.0], [1.0, -2.0]) is None


def test_one_ulp_is_found_and_measured() -> None:
    up = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0)).item()
    found = difference([[0.0, 1.0], [2.0, 3.0]], [[0.0, up], [2.0, 3.0]])
    assert found is not None
    assert (found.problem, found.mismatched, found.elements, found.max_ulp) == ("value", 1, 4, 1)
    assert found.first_index == (0, 1)
    assert found.max_abs == pytest.approx(2**-23)
    assert found.max_rel == pytest.approx(2**-23, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_ulp_crosses_zero(dtype: torch.dtype) -> None:
    tiny = torch.tensor(0.0, dtype=dtype)
    step = torch.nextafter(tiny, torch.tensor(1.0, dtype=dtype))
    found = compare_tensor("w", "here", -step, step, EXACT)
    assert found is not None
    assert found.max_ulp == 2


@given(st.integers(0, 2**31 - 2**24 - 5), st.integers(1, 4))
def test_ulp_counts_steps_between_floats(bits: int, steps: int) -> None:
    one = torch.tensor([bits], dtype=torch.int32).view(torch.float32)
    other = torch.tensor([bits + steps], dtype=torch.int32).view(torch.float32)
    if not (one.isfinite().all() and other.isfinite().all()):
        return
    for left, right in ((one, other), (-one, -other)):
        found = compare_tensor("w", "here", left, right, EXACT)
        assert found is not None
        assert found.max_ulp == steps


def test_negative_zero_is_other_bits() -> None:
    found = difference([0.0], [-0.0])
    assert found is not None
    assert (found.mismatched, found.max_abs, found.max_ulp) == (1, 0.0, 0)
    assert difference([0.0], [-0.0], Tolerance(atol=1e-9)) is None


def test_nan_on_one_side_is_a_difference_and_on_both_is_not() -> None:
    found = difference([math.nan, 1.0], [1.0, 1.0])
    assert found is not None
    assert (found.problem, found.max_abs, found.max_ulp) == ("nan", None, None)
    assert difference([math.nan], [math.nan]) is None


def test_infinity_has_no_distance_but_is_a_difference() -> None:
    found = difference([math.inf], [1.0])
    assert found is not None
    assert (found.problem, found.mismatched, found.max_abs) == ("value", 1, None)


def test_tolerance_is_absolute_plus_relative_to_the_right() -> None:
    assert difference([100.0], [100.1], Tolerance(rtol=1e-2)) is None
    assert difference([100.0], [100.1], Tolerance(atol=1e-2)) is not None


def test_shape_and_dtype_differ_whatever_the_tolerance() -> None:
    loose = Tolerance(atol=1e9)
    found = compare_tensor("w", "here", torch.zeros(2), torch.zeros(3), loose)
    assert found is not None
    assert (found.problem, found.detail) == ("shape", "[2] against [3]")
    found = compare_tensor("w", "here", torch.zeros(2), torch.zeros(2, dtype=torch.bfloat16), loose)
    assert found is not None
    assert (found.problem, found.detail) == ("dtype", "float32 against bfloat16")


def test_integers_are_compared_without_ulp() -> None:
    found = difference([1, 2], [1, 5], dtype=torch.int64)
    assert found is not None
    assert (found.max_abs, found.max_ulp) == (3.0, None)


def test_mappings_report_what_only_one_side_has() -> None:
    left, right = {"a": torch.zeros(1), "b": torch.zeros(1)}, {"b": torch.ones(1), "c": torch.zeros(1)}
    found = compare_mappings(left, right, lambda name: f"place of {name}", EXACT)
    assert [(entry.name, entry.problem, entry.place) for entry in found] == [
        ("a", "missing", "place of a"),
        ("b", "value", "place of b"),
        ("c", "extra", "place of c"),
    ]


def test_without_a_tolerance_values_are_not_looked_at() -> None:
    assert compare_mappings({"a": torch.zeros(1)}, {"a": torch.ones(1)}, str, None) == []
    assert compare_mappings({"a": torch.zeros(1)}, {"a": torch.ones(2)}, str, None)[0].problem == "shape"


def test_digest_sees_names_shapes_dtypes_and_bits() -> None:
    base = {"a": torch.tensor([1.0, 2.0])}
    others = [
        {"b": torch.tensor([1.0, 2.0])},
        {"a": torch.tensor([[1.0, 2.0]])},
        {"a": torch.tensor([1.0, 2.0], dtype=torch.float64)},
        {"a": torch.nextafter(torch.tensor([1.0, 2.0]), torch.tensor(9.0))},
    ]
    assert digest(base) == digest({"a": torch.tensor([2.0, 1.0]).flip(0)})
    assert len({digest(base), *map(digest, others)}) == 5
