"""The element types of stored tensors: their names (torch's), widths, and what their bits mean as numbers. numpy only.

Bits are read as unsigned integers of the same width, because numpy has no bfloat16 or float8. `decode` turns them into
numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from workbench.errors import WorkbenchError

type Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Dtype:
    """`name` as torch has it ("bfloat16"); `bytes` an element; `kind` "float", "int", "uint", "bool" or "complex".

    Floats have `exponent` and `mantissa` bits besides the sign.
    """

    name: str
    bytes: int
    kind: str
    exponent: int = 0
    mantissa: int = 0

    @property
    def bits(self) -> np.dtype[Any]:
        """The numpy type of the raw bits: an unsigned integer, or 16 opaque bytes."""
        return np.dtype(f"u{self.bytes}") if self.bytes <= 8 else np.dtype(f"V{self.bytes}")


DTYPES: dict[str, Dtype] = {
    entry.name: entry
    for entry in (
        Dtype("float64", 8, "float", 11, 52),
        Dtype("float32", 4, "float", 8, 23),
        Dtype("bfloat16", 2, "float", 8, 7),
        Dtype("float16", 2, "float", 5, 10),
        Dtype("float8_e4m3fn", 1, "float", 4, 3),
        Dtype("float8_e4m3fnuz", 1, "float", 4, 3),
        Dtype("float8_e5m2", 1, "float", 5, 2),
        Dtype("float8_e5m2fnuz", 1, "float", 5, 2),
        Dtype("float8_e8m0fnu", 1, "float", 8, 0),
        Dtype("float4_e2m1fn_x2", 1, "uint"),  # two numbers a byte; compared as bytes
        *(Dtype(f"int{8 * width}", width, "int") for width in (1, 2, 4, 8)),
        *(Dtype(f"uint{8 * width}", width, "uint") for width in (1, 2, 4, 8)),
        Dtype("bool", 1, "bool"),
        Dtype("complex64", 8, "complex"),
        Dtype("complex128", 16, "complex"),
    )
}


def dtype_of(name: str) -> Dtype:
    """The type of this name; `WorkbenchError` for one that no checkpoint here has."""
    if name not in DTYPES:
        raise WorkbenchError(f"tensors of type {name!r} cannot be read; known are {', '.join(sorted(DTYPES))}")
    return DTYPES[name]


def decode(bits: Array, name: str) -> Array:
    """Raw bits as numbers: float64 for float64, float32 for every narrower float, integers, booleans and complex as they are.

    >>> decode(np.array([0x3F80, 0xFF80], np.uint16), "bfloat16").tolist()
    [1.0, -inf]
    """
    if name == "bfloat16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    if name == "float16":
        return bits.view(np.float16).astype(np.float32)
    if name.startswith("float8_"):
        return _float8(name)[bits]
    if name == "float4_e2m1fn_x2":
        return bits
    if name == "bool":
        return bits != 0
    return bits.view(np.dtype(name))


@lru_cache
def _float8(name: str) -> Array:
    """All 256 values of an 8-bit float, by their bits (Micikevicius et al. 2022; OCP 8-bit floating point, 2023)."""
    dtype, codes = DTYPES[name], np.arange(256)
    if name == "float8_e8m0fnu":  # a power of two; no sign, no zero; 255 is NaN
        return np.where(codes == 255, np.nan, 2.0 ** (codes - 127.0)).astype(np.float32)
    exponent = (codes & 0x7F) >> dtype.mantissa
    mantissa = codes & ((1 << dtype.mantissa) - 1)
    bias = (1 << (dtype.exponent - 1)) - (0 if name.endswith("fnuz") else 1)
    fraction = mantissa / (1 << dtype.mantissa)
    values = np.where(exponent == 0, fraction * 2.0 ** (1 - bias), (1 + fraction) * 2.0 ** (exponent - float(bias)))
    values = np.where(codes & 0x80, -values, values)
    if name.endswith("fnuz"):  # no negative zero: its place is NaN's
        values[0x80] = np.nan
    elif name == "float8_e4m3fn":
        values[[0x7F, 0xFF]] = np.nan
    else:
        values[exponent == 31] = np.where(
            mantissa[exponent == 31] == 0, np.copysign(np.inf, values[exponent == 31]), np.nan
        )
    return values.astype(np.float32)
