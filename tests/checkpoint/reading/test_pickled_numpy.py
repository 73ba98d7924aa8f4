"""numpy's arrays and numbers in a pickle, read without numpy's own constructors."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from workbench.checkpoint.dtypes import DTYPES
from workbench.checkpoint.reading.pickles import load
from workbench.checkpoint.reading.structure import settled
from workbench.checkpoint.reading.torch_globals import ALLOWED, MEANINGS
from workbench.checkpoint.tensors import StoredTensor
from workbench.errors import WorkbenchError

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)
TYPES = [name for name in DTYPES if not name.startswith(("bfloat", "float8", "float4"))]


def read(data: bytes) -> Any:
    return settled(load(data, "file", ALLOWED, MEANINGS))


def array(dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[Any]]:
    return (np.arange(int(np.prod(shape, dtype=int))).reshape(shape) % 3).astype(dtype)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", TYPES)
def test_arrays_and_scalars(dtype, protocol):
    value = array(dtype, (2, 3))
    found, number = read(pickle.dumps([value, value[0, 1]], protocol))
    assert isinstance(found, StoredTensor)
    assert (found.shape, found.dtype) == ((2, 3), dtype)
    assert found.bits().tobytes() == value.tobytes()
    assert (number, type(number)) == (value[0, 1].item(), type(value[0, 1].item()))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (4,), (2, 3, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_shapes_and_orders(shape, order, protocol):
    value = np.asarray(array("int32", shape), order=order)  # type: ignore[call-overload]
    found = read(pickle.dumps(value, protocol))
    assert found.shape == shape
    assert found.bits().tobytes() == np.ascontiguousarray(value).tobytes()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        np.array([None, "a"]),
        np.array(["text"]),
        np.array([b"bytes"]),
        np.arange(3, dtype=">i4"),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
        np.arange(3, dtype=np.longdouble),
    ],
)
def test_arrays_of_something_else(value, protocol):
    with pytest.raises(WorkbenchError, match=r"it holds a numpy array of|cannot be read"):
        read(pickle.dumps(value, protocol))


def test_a_stranger_among_the_objects():
    class Stranger:
        def __reduce__(self) -> Any:
            return eval, ("1",)

    with pytest.raises(WorkbenchError, match=r"asks for (builtins|__builtin__)\.eval"):
        read(pickle.dumps(np.array([Stranger()], dtype=object)))


def by_hand(shape: Any, data: bytes, dtype: str = "i4") -> bytes:
    value = np.arange(3, dtype=np.int32)
    text = pickle.dumps(value, 2)
    head = text[: text.index(b"K\x01K\x03\x85")] + b"K\x01"
    described = text[text.index(b"cnumpy\ndtype\n") : text.index(b"\x89", text.index(b"cnumpy\ndtype\n") + 40)]
    return (
        head
        + pickle.dumps(shape, 2)[2:-1]
        + described.replace(b"i4", dtype.encode())
        + b"\x89"
        + pickle.dumps(data, 3)[2:-1]
        + b"tb."
    )


@pytest.mark.parametrize("shape", [(2,), (4,), (2**40,), (2**40, 2**40), (-3,), (3.0,), ("3",), (2**70,), (1,) * 65])
def test_shapes_that_are_none(shape):
    assert read(by_hand((3,), bytes(12))).shape == (3,)
    with pytest.raises(WorkbenchError, match=r"numpy array|larger than any can be"):
        read(by_hand(shape, bytes(12)))


@pytest.mark.parametrize(
    "data",
    [
        b"cnumpy.core.multiarray\nscalar\n)R.",
        b"cnumpy._core.multiarray\nscalar\nK\1K\2\x86R.",
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85C\1btR.",  # without content
        b"cnumpy._core.multiarray\n_reconstruct\nK\1\x85R.",
        b"cnumpy._core.numeric\n_frombuffer\n)R.",
    ],
)
def test_parts_that_are_missing(data):
    with pytest.raises(WorkbenchError, match=r"it holds a "):
        read(data)
