"""One value as `torch.save` writes it: a small zip, uncompressed, written block by block. numpy only.

A `.distcp` file is a row of these, a `common.pt` is one. `torch.save` needs the whole tensor in memory, and torch's own writer
of distributed checkpoints keeps all that it has written; here a block is all that is held. The records are those of
`torch/serialization.py`, format version 1: `data.pkl` names a storage, `data/0` holds its bytes.
"""

from __future__ import annotations

import pickle
import struct
import zlib
from typing import Any

from workbench.checkpoint.converting.output import Output
from workbench.checkpoint.dtypes import dtype_of
from workbench.checkpoint.tensors import StoredTensor, row_major

# A zip without its 64-bit extension ends here; nothing is written that comes near.
MOST_BYTES = 2**31

_ALIGNMENT = 64
_FOLDER = "archive"
_UTF8 = 0x800
_DATE = 0x21  # 1980-01-01: the same bytes whenever they are written

# The typed storages of torch; a tensor of another type names an untyped one, and its type.
_STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
}


def write_tensor(output: Output, tensor: StoredTensor) -> tuple[int, int]:
    """Append a tensor; returns (first byte, length) of its record in the file."""
    assert tensor.nbytes <= MOST_BYTES, "a tensor this large is written in several records"
    return _write(output, _tensor_pickle(tensor), tensor)


def write_value(output: Output, value: Any) -> tuple[int, int]:
    """Append plain values: numbers, texts, None, lists, tuples and dicts of them."""
    return _write(output, pickle.dumps(value, protocol=2), None)


# ------------------------------------------------------------------------------------------------------


def _write(output: Output, pickled: bytes, tensor: StoredTensor | None) -> tuple[int, int]:
    output.pad(_ALIGNMENT)
    zipped = _Zip(output)
    zipped.add("data.pkl", pickled)
    zipped.add(".format_version", b"1")
    zipped.add(".storage_alignment", str(_ALIGNMENT).encode())
    zipped.add("byteorder", b"little")
    if tensor is not None:
        zipped.add("data/0", tensor)
    zipped.add("version", b"3\n")
    return zipped.end()


class _Zip:
    """A zip that begins where the output is. The data of each member is aligned, as torch aligns it."""

    def __init__(self, output: Output) -> None:
        self.output, self.start = output, output.position
        self.directory: list[bytes] = []

    def add(self, name: str, data: bytes | StoredTensor) -> None:
        """A member; a tensor's check sum is known once its bytes went by, and put in afterwards."""
        path = f"{_FOLDER}/{name}".encode()
        length = data.nbytes if isinstance(data, StoredTensor) else len(data)
        at = self.output.position
        fill = -(at - self.start + 30 + len(path) + 4) % _ALIGNMENT
        extra = struct.pack("<2sH", b"FB", fill) + b"Z" * fill
        fields = struct.pack("<3H2H", 20, _UTF8, 0, 0, _DATE)
        checksum = 0 if isinstance(data, StoredTensor) else zlib.crc32(data)
        sums = struct.pack("<3I", checksum, length, length)
        names = struct.pack("<2H", len(path), len(extra))
        self.output.write(b"PK\x03\x04" + fields + sums + names + path + extra)
        if isinstance(data, StoredTensor):
            sums = struct.pack("<3I", self.output.checked_tensor(data), length, length)
            self.output.overwrite(at + 14, sums)
        else:
            self.output.write(data)
        self.directory.append(
            b"PK\x01\x02"
            + struct.pack("<H", 20)
            + fields
            + sums
            + struct.pack("<5H2I", len(path), 0, 0, 0, 0, 0, at - self.start)
            + path
        )

    def end(self) -> tuple[int, int]:
        """The directory; returns (first byte, length) of the whole."""
        at, size, count = self.output.position - self.start, sum(map(len, self.directory)), len(self.directory)
        self.output.write(b"".join(self.directory))
        self.output.write(b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, count, count, size, at, 0))
        return self.start, self.output.position - self.start


def _tensor_pickle(tensor: StoredTensor) -> bytes:
    """`_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`, or `v3` with the type behind."""
    typed = _STORAGES.get(tensor.dtype)
    storage = _global("torch", typed) if typed else _global("torch.storage", "UntypedStorage")
    size = tensor.elements if typed else tensor.elements * dtype_of(tensor.dtype).bytes
    pieces = [
        b"\x80\x02",
        _global("torch._utils", "_rebuild_tensor_v2" if typed else "_rebuild_tensor_v3"),
        b"((",
        _text("storage"),
        storage,
        _text("0"),
        _text("cpu"),
        _number(size),
        b"tQ",  # the storage, by its persistent id
        _number(0),
        _numbers(tensor.shape),
        _numbers(row_major(tensor.shape)),
        b"\x89",
        _global("collections", "OrderedDict"),
        b")R",
        b"" if typed else _global("torch", tensor.dtype),
        b"tR.",
    ]
    return b"".join(pieces)


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _number(value: int) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]


def _numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_number, values)) + b"t"
