"""PyTorch DCP folders: a `.metadata` that says where every shard lies, and data files that hold each as a small torch.save file.

Opening reads the `.metadata` and the sizes of the data files, nothing in them: a large checkpoint has a hundred thousand shards.
What a shard's own file says is read when the shard is first looked at, and must be what `.metadata` said of it. numpy only.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from workbench.checkpoint.buffers import Buffer
from workbench.checkpoint.dtypes import Array, dtype_of
from workbench.checkpoint.reading.dcp_metadata import Entry, Metadata, Place, Shape, read_metadata
from workbench.checkpoint.reading.torch_file import read_torch
from workbench.checkpoint.reading.uncollected import uncollected
from workbench.checkpoint.source import Checkpoint, StoredObject
from workbench.checkpoint.tensors import Piece, StoredTensor, check_covered, row_major
from workbench.errors import WorkbenchError


def open_dcp(folder: str | Path) -> Checkpoint:
    """What `torch.distributed.checkpoint.save` wrote, by any number of ranks and with any sharding.

    Names are those of the flattened state dict, values that are no tensors are `objects`. Raises `WorkbenchError` when the
    folder is no whole checkpoint (a shard or a file is missing, a file is too short), `UnsafeCheckpoint` when its pickle asks
    for what no checkpoint needs.
    """
    folder = Path(folder)
    check_is_folder(folder, "a PyTorch DCP checkpoint is a folder with a .metadata")
    metadata = read_metadata(folder)
    return Checkpoint(
        where=str(folder),
        format="dcp",
        tensors=stored_tensors(metadata),
        objects={name: StoredObject(*place) for name, place in metadata.objects.items()},
        notes=leftovers(folder, metadata),
    )


def check_is_folder(path: Path, expected: str) -> None:
    """Raise `WorkbenchError`, which says what was expected, unless `path` is a folder."""
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise WorkbenchError(f"{path} {what}: {expected}")


def stored_tensors(metadata: Metadata) -> dict[str, StoredTensor]:
    """Every tensor of a folder, made up of its shards; `WorkbenchError` where one is missing or two overlap."""
    with uncollected():
        return {name: _tensor(name, entry) for name, entry in metadata.tensors.items()}


def leftovers(folder: Path, metadata: Metadata) -> tuple[str, ...]:
    """A note on data files that `.metadata` does not name: those of another save into the same folder."""
    extra = sorted({path.name for path in folder.glob("*.distcp")} - metadata.files.keys())
    if not extra:
        return ()
    shown = ", ".join(extra[:3]) + (", …" if len(extra) > 3 else "")
    return (f"{len(extra)} data file(s) that .metadata does not name were not looked at: {shown}",)


class ShardBuffer:
    """The numbers of one shard in row-major order, whose place in its file is found when they are first looked at."""

    __slots__ = ("_found", "_name", "_place", "dtype", "shape")

    def __init__(self, name: str, place: Place, shape: Shape, dtype: str) -> None:
        self._name, self._place, self.shape, self.dtype = name, place, shape, dtype
        self._found: StoredTensor | None = None

    @property
    def place(self) -> Place:
        """Where its record lies in the data file."""
        return self._place

    @property
    def where(self) -> str:
        """The data file and the tensor's name."""
        return f"{self._place.file.path}: {self._name}"

    @property
    def size(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * dtype_of(self.dtype).bytes

    def view(self, start: int, length: int) -> Array:
        """`length` bytes from `start` on; `WorkbenchError` unless the shard is what `.metadata` says it is."""
        assert 0 <= start <= start + length <= self.size, "the numbers lie outside of the shard"
        if (run := self.run) is not None:
            data, first = run
            return data.view(first + start, length)
        assert self._found is not None, "run has looked"
        return _flat(self._found, start, length)

    @property
    def run(self) -> tuple[Buffer, int] | None:
        """(buffer, first byte) of the numbers in the data file; None where they lie there in another order."""
        if self._found is None:
            self._found = self._look()
        return self._found.run

    def _look(self) -> StoredTensor:
        file, start, length = self._place
        found = read_torch(file, start, length, self.where)
        if not isinstance(found, StoredTensor):
            raise WorkbenchError(
                f"{self.where} is a {type(found).__name__} at byte {start}, where .metadata puts a tensor"
            )
        if (found.shape, found.dtype) != (self.shape, self.dtype):
            raise WorkbenchError(
                f"{self.where} is {list(found.shape)} {found.dtype} at byte {start}, and .metadata says "
                f"{list(self.shape)} {self.dtype}: the place or the shape is wrong"
            )
        return found

    def __repr__(self) -> str:
        return f"ShardBuffer({self.where!r})"


def _tensor(name: str, entry: Entry) -> StoredTensor:
    shape, dtype, shards = entry
    pieces = tuple(
        Piece(ShardBuffer(name, place, size, dtype), 0, offset, size, row_major(size)) for offset, size, place in shards
    )
    tensor = StoredTensor(shape, dtype, pieces)
    if len(pieces) != 1 or shards[0].shape != shape or any(shards[0].offset):
        check_covered(name, tensor)
    return tensor


def _flat(tensor: StoredTensor, start: int, length: int) -> Array:
    """Bytes of a tensor in row-major order that is stored in another (a transposed one); a copy of no more rows than needed."""
    width = dtype_of(tensor.dtype).bytes
    axis = next(axis for axis, size in enumerate(tensor.shape) if size > 1)
    row = math.prod(tensor.shape[axis + 1 :]) * width
    first, last = start // row, -(-(start + length) // row)
    rows = np.ascontiguousarray(tensor.narrow(axis, first, last - first).bits())
    return rows.reshape(-1).view(np.uint8)[start - first * row : start + length - first * row]
