"""Tensors into a `torch_dist` folder that megatron's `dist_checkpointing` and torch's `distributed.checkpoint` read.

Memory is bounded by a block. torch is imported to write `.metadata`, whose classes are torch's. What megatron-core 0.19.2
expects, from `dist_checkpointing/strategies/torch.py`: a tensor that is sharded over layers or experts is stored with these
axes kept, one entry of them a record; an object is a list in a record, under a key that says its place.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.checkpoint.converting.output import Output, Progress, Written
from workbench.checkpoint.converting.torch_record import write_tensor, write_value
from workbench.checkpoint.source import StoredObject
from workbench.checkpoint.tensors import StoredTensor

METADATA, FORMAT, COMMON = ".metadata", "metadata.json", "common.pt"
RECORD_BYTES = 2**30
FILE_BYTES = 5 * 10**9


@dataclass(frozen=True)
class Record:
    """Where a shard (`shape` elements at `offset`) or an object lies: `length` bytes from `start` on in a file of the folder."""

    file: str
    start: int
    length: int
    offset: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A tensor of `.metadata`."""

    shape: tuple[int, ...]
    dtype: str
    records: tuple[Record, ...]


def write_torch_dist(
    folder: Path,
    tensors: Mapping[str, StoredTensor],
    *,
    objects: Mapping[str, StoredObject | None] | None = None,
    common: Mapping[str, Any] | StoredObject | None = None,
    sharded_axes: Callable[[str], int] = lambda _name: 0,
    progress: Progress | None = None,
    record_bytes: int = RECORD_BYTES,
    file_bytes: int = FILE_BYTES,
) -> Written:
    """Write a checkpoint into an empty folder.

    `objects` by their whole key ("…_extra_state/shard_0_1"), their bytes as they are, None for an empty one. `common` are the
    plain values that go into `common.pt`, or that file as it was. `sharded_axes` says how many leading axes of a tensor are
    layers or experts. Raises `OSError` where the disk does.
    """
    writer = _Files(folder, progress, file_bytes)
    try:
        places = {name: writer.object(data) for name, data in (objects or {}).items()}
        entries = {
            name: Entry(
                tensor.shape,
                tensor.dtype,
                tuple(
                    writer.tensor(offset, shard) for offset, shard in _shards(tensor, sharded_axes(name), record_bytes)
                ),
            )
            for name, tensor in tensors.items()
        }
        writer.close()
    finally:
        writer.abandon()
    extra = [folder / name for name in (METADATA, FORMAT)]
    if common is not None:
        _write_common(folder / COMMON, common)
        extra.append(folder / COMMON)
    write_metadata(folder, entries, places)
    return Written((*writer.files, *extra), writer.copied, writer.gathered)


def write_metadata(folder: Path, tensors: Mapping[str, Entry], objects: Mapping[str, Record]) -> None:
    """Write `.metadata` and `metadata.json` for data files that are there."""
    with Output(folder / METADATA) as output:
        output.write(pickle.dumps(_metadata(tensors, objects), protocol=4))
    with Output(folder / FORMAT) as output:
        output.write(json.dumps({"sharded_backend": "torch_dist", "sharded_backend_version": 1}).encode())


# ------------------------------------------------------------------------------------------------------


class _Files:
    """The data files, each closed once it is large enough; `copied` and `gathered` as in `Output`."""

    def __init__(self, folder: Path, progress: Progress | None, file_bytes: int) -> None:
        self.folder, self.progress, self.most = folder, progress, file_bytes
        self.files: list[Path] = []
        self.copied = self.gathered = 0
        self.output: Output | None = None

    def tensor(self, offset: tuple[int, ...], shard: StoredTensor) -> Record:
        output = self._with_room(shard.nbytes)
        start, length = write_tensor(output, shard)
        return Record(self.files[-1].name, start, length, offset, shard.shape)

    def object(self, data: StoredObject | None) -> Record:
        output = self._with_room(0 if data is None else data.length)
        if data is None:
            start, length = write_value(output, [None])
        else:
            start, length = output.position, data.length
            output.write(data.read())
        return Record(self.files[-1].name, start, length)

    def _with_room(self, wanted: int) -> Output:
        if self.output is not None and self.output.position and self.output.position + wanted > self.most:
            self.close()
        if self.output is None:
            self.files.append(self.folder / f"__0_{len(self.files)}.distcp")
            self.output = Output(self.files[-1], self.progress)
        return self.output

    def close(self) -> None:
        if self.output is not None:
            self.output.close()
            self.copied += self.output.copied
            self.gathered += self.output.gathered
            self.output = None

    def abandon(self) -> None:
        if self.output is not None:
            self.output.abandon()


def _shards(tensor: StoredTensor, axes: int, most: int) -> Iterator[tuple[tuple[int, ...], StoredTensor]]:
    """(offset, shard): each with one entry of the first `axes`, and no more than `most` bytes or one element."""
    stack = [((0,) * len(tensor.shape), tensor, 0)]
    while stack:
        offset, part, done = stack.pop()
        axis = next((axis for axis in range(done, len(part.shape)) if part.shape[axis] > 1), None)
        if axis is None or part.elements == 0 or (axis >= axes and part.nbytes <= most):
            yield offset, part
            continue
        size = part.shape[axis]
        step = 1 if axis < axes else max(1, size * most // part.nbytes)
        cuts = range(0, size, step)
        stack += [
            (
                (*offset[:axis], at, *offset[axis + 1 :]),
                part.narrow(axis, at, min(step, size - at)),
                axis + (step == 1),
            )
            for at in reversed(cuts)
        ]


def _write_common(path: Path, common: Mapping[str, Any] | StoredObject) -> None:
    with Output(path) as output:
        if isinstance(common, StoredObject):
            output.write(common.read())
        else:
            write_value(output, dict(common))


def _metadata(tensors: Mapping[str, Entry], objects: Mapping[str, Record]) -> Any:
    import torch
    from torch.distributed.checkpoint.filesystem import CURRENT_DCP_VERSION, _StorageInfo
    from torch.distributed.checkpoint.metadata import (
        BytesStorageMetadata,
        ChunkStorageMetadata,
        Metadata,
        MetadataIndex,
        StorageMeta,
        TensorProperties,
        TensorStorageMetadata,
    )

    described: dict[str, Any] = {name: BytesStorageMetadata() for name in objects}
    stored = {
        MetadataIndex(name): _StorageInfo(place.file, place.start, place.length) for name, place in objects.items()
    }
    for name, entry in tensors.items():
        chunks = [ChunkStorageMetadata(torch.Size(each.offset), torch.Size(each.shape)) for each in entry.records]
        properties = TensorProperties(dtype=getattr(torch, entry.dtype))
        described[name] = TensorStorageMetadata(properties, torch.Size(entry.shape), chunks)
        for place in entry.records:
            stored[MetadataIndex(name, place.offset)] = _StorageInfo(place.file, place.start, place.length)
    return Metadata(
        state_dict_metadata=described, storage_data=stored, storage_meta=StorageMeta(), version=CURRENT_DCP_VERSION
    )
