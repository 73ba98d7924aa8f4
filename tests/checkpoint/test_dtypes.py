"""Bits as numbers: every code of every narrow type is what torch says it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.checkpoint.dtypes import DTYPES, decode, dtype_of
from workbench.errors import WorkbenchError

NARROW = [name for name, dtype in DTYPES.items() if dtype.bytes <= 2 and name != "float4_e2m1fn_x2"]
WIDE = [name for name, dtype in DTYPES.items() if dtype.bytes > 2]


def expected(bits: np.ndarray, name: str) -> np.ndarray:
    found = torch.from_numpy(bits.view(np.uint8).copy()).view(getattr(torch, name))
    return found.float().numpy() if DTYPES[name].kind == "float" and name != "float64" else found.numpy()


def check(found: np.ndarray, wanted: np.ndarray) -> None:
    """The same numbers, -0.0 and 0.0 told apart; any NaN is a NaN."""
    assert found.dtype == wanted.dtype
    assert np.array_equal(found, wanted, equal_nan=found.dtype.kind in "fc")
    if found.dtype.kind == "f":
        real = ~np.isnan(found)
        assert np.array_equal(np.signbit(found[real]), np.signbit(wanted[real]))


@pytest.mark.parametrize("name", NARROW)
def test_all_codes_of_a_narrow_type(name):
    width = DTYPES[name].bytes
    codes = np.arange(2 if name == "bool" else 2 ** (8 * width), dtype=np.uint32).astype(f"u{width}")
    check(decode(codes, name), expected(codes, name))


@pytest.mark.parametrize("name", WIDE)
def test_random_codes_of_a_wide_type(name):
    raw = np.random.default_rng(0).integers(0, 256, 4096 * DTYPES[name].bytes, np.uint8)
    bits = raw.view(DTYPES[name].bits)
    check(decode(bits, name), expected(raw, name))


@pytest.mark.parametrize("name", DTYPES)
def test_shapes_stay(name):
    bits = np.zeros((2, 0, 3), DTYPES[name].bits), np.zeros((), DTYPES[name].bits)
    assert [decode(each, name).shape for each in bits] == [(2, 0, 3), ()]


@pytest.mark.parametrize("name", DTYPES)
def test_widths_are_torch_s(name):
    dtype = getattr(torch, name)
    assert DTYPES[name].bytes == dtype.itemsize == DTYPES[name].bits.itemsize
    assert (DTYPES[name].kind == "float") == (dtype.is_floating_point and name != "float4_e2m1fn_x2")
    assert (DTYPES[name].kind == "complex") == dtype.is_complex
    if DTYPES[name].kind == "float":
        # e8m0 has no sign.
        assert DTYPES[name].exponent + DTYPES[name].mantissa + (name != "float8_e8m0fnu") == 8 * dtype.itemsize
        if name != "float8_e5m2fnuz":  # of which torch 2.14 says 1/8; its own codes say 1/4
            assert torch.finfo(dtype).eps == 2.0 ** -DTYPES[name].mantissa


def test_pairs_of_4_bits_stay_bytes():
    assert decode(np.array([0x21], np.uint8), "float4_e2m1fn_x2").tolist() == [0x21]


def test_a_truth_is_any_byte_but_zero():
    assert decode(np.array([0, 1, 2, 255], np.uint8), "bool").tolist() == [False, True, True, True]


@pytest.mark.parametrize("name", ["float128", "qint8", "", "torch.float32"])
def test_an_unknown_type(name):
    with pytest.raises(WorkbenchError) as caught:
        dtype_of(name)
    assert str(caught.value).startswith(f"tensors of type {name!r} cannot be read; known are bfloat16, bool, ")
