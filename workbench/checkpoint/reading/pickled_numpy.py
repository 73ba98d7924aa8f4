"""numpy's arrays and scalars in a pickle: random states, optimizer steps, now and then a weight. numpy only.

Arrays of numbers only, in this machine's byte order. What a pickle says of an array is checked when the array is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from workbench.checkpoint.buffers import MemoryBuffer
from workbench.checkpoint.dtypes import DTYPES
from workbench.checkpoint.reading.pickles import Inert, Origin, name_of, shown
from workbench.checkpoint.tensors import StoredTensor, bytes_of, contiguous
from workbench.errors import WorkbenchError

_CODE = re.compile(r"[|<=]?([fiucb])(\d{1,2})")
_KINDS = {"f": "float", "i": "int", "u": "uint", "c": "complex", "b": "bool"}


class NumpyType(Inert):
    """`numpy.dtype`: its code, as "f4", and whether its bytes are in this machine's order."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """torch's name of it."""
        code = self.arguments[0] if self.arguments else None
        found = _CODE.fullmatch(code) if isinstance(code, str) else None
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "<"
        if found is not None and order in ("<", "|", "="):
            kind, bits = _KINDS[found[1]], 8 * int(found[2])
            name = "bool" if kind == "bool" else f"{kind}{bits}"
            if name in DTYPES:
                return name
        raise WorkbenchError(
            f"it holds a numpy array of type {shown(code)}, byte order {shown(order)}: only numbers can be read"
        )


class NumpyArray(Inert):
    """`numpy.ndarray` as it is made before it gets its content: the state is (version, shape, dtype, fortran, bytes)."""

    __slots__ = ()

    def stored(self) -> StoredTensor:
        """The array as a tensor in memory."""
        match self.state:
            case (_, tuple() as shape, NumpyType() as dtype, fortran, bytes() as data):
                return _tensor(shape, dtype, bool(fortran), data)
        raise WorkbenchError("it holds a numpy array of objects, or one that is damaged")


class NumpyBuffer(Inert):
    """`numpy._core.numeric._frombuffer`, which protocol 5 writes: (bytes, dtype, shape, order)."""

    __slots__ = ()

    def stored(self) -> StoredTensor:
        """The array as a tensor in memory."""
        match self.arguments:
            case (bytes() | bytearray() as data, NumpyType() as dtype, tuple() as shape, order):
                return _tensor(shape, dtype, order == "F", bytes(data))
        raise WorkbenchError("it holds a numpy array that is damaged")


class Reconstructed(Inert):
    """`numpy.core.multiarray._reconstruct`: an array without content."""

    __slots__ = ()

    def __new__(cls, kind: Any = None, *_rest: Any) -> Any:
        """A `NumpyArray`, to be given its state."""
        if name_of(kind) != "numpy.ndarray":
            raise WorkbenchError(f"it holds a {shown(kind)} as a numpy array")
        return NumpyArray()


class NumpyScalar(Inert):
    """`numpy.core.multiarray.scalar`: (dtype, bytes)."""

    __slots__ = ()

    def value(self) -> Any:
        """The number, as Python's."""
        match self.arguments:
            case (NumpyType() as dtype, bytes() as data):
                tensor = _tensor((), dtype, False, data)
                return tensor.bits().view(np.dtype(tensor.dtype)).item()
        raise WorkbenchError("it holds a numpy scalar that is damaged")


_CORE = ("numpy.core", "numpy._core")
NUMPY: Mapping[Origin, type[Inert]] = {
    ("numpy", "dtype"): NumpyType,
    ("numpy", "ndarray"): NumpyArray,
    **{(f"{core}.multiarray", "_reconstruct"): Reconstructed for core in _CORE},
    **{(f"{core}.multiarray", "scalar"): NumpyScalar for core in _CORE},
    **{(f"{core}.numeric", "_frombuffer"): NumpyBuffer for core in _CORE},
}


def _tensor(shape: tuple[Any, ...], dtype: NumpyType, fortran: bool, data: bytes) -> StoredTensor:
    name = dtype.name
    if not all(type(size) is int and 0 <= size < 2**63 for size in shape):
        raise WorkbenchError("it holds a numpy array whose shape is not made of whole numbers")
    if bytes_of(shape, name) != len(data):
        raise WorkbenchError(f"it holds a numpy array of shape {list(shape)} {name} in {len(data)} bytes")
    bits = np.frombuffer(data, np.uint8)
    if fortran and len(shape) > 1:
        flat = bits.view(DTYPES[name].bits).reshape(shape, order="F")
        bits = np.ascontiguousarray(flat).reshape(-1).view(np.uint8)
    return contiguous(MemoryBuffer(bits), 0, shape, name)
