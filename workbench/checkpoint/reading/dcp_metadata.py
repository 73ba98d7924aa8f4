"""What the `.metadata` of a PyTorch DCP folder says: every tensor's shape, type and shards, and where in which file each lies.

The file is a pickle, and `torch.distributed.checkpoint` unpickles it as it comes (`filesystem.py:938`): whoever wrote it
decides what runs. Here nothing that it names is imported or called: dataclasses become objects without behaviour, types
become their names. What the pickle then says is checked before anybody uses it: shapes, places, sizes of files. numpy only.
"""

from __future__ import annotations

import math
import reprlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from workbench.checkpoint.buffers import FileBuffer
from workbench.checkpoint.dtypes import DTYPES, dtype_of
from workbench.checkpoint.reading.pickles import PLAIN, Inert, Origin, load, name_of
from workbench.checkpoint.reading.uncollected import uncollected
from workbench.errors import WorkbenchError

type Shape = tuple[int, ...]

NAME = ".metadata"
_MOST_AXES = 32
_MOST_BYTES = 2**60

_METADATA = "torch.distributed.checkpoint.metadata"
_PLANNER = "torch.distributed.checkpoint.planner"
_FILES = "torch.distributed.checkpoint.filesystem"
_OLD = "torch.distributed._shard.sharded_tensor.metadata"  # where torch before 2.3 had the properties of a tensor
_MEGATRON = "megatron.core.dist_checkpointing.strategies.torch"

# Every global that torch and megatron write into a `.metadata`. All of them are data: dataclasses, enums, types, paths.
ALLOWED: frozenset[Origin] = frozenset(
    {
        *((_METADATA, name) for name in ("Metadata", "MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING")),
        *((_METADATA, name) for name in ("TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata")),
        (_METADATA, "TensorProperties"),
        *((_PLANNER, name) for name in ("SavePlan", "WriteItem", "WriteItemType", "TensorWriteData")),
        (_PLANNER, "BytesIOWriteData"),
        *((_FILES, name) for name in ("_StorageInfo", "_StoragePrefix")),
        *((_MEGATRON, name) for name in ("MCoreSavePlan", "MCoreMetadata")),
        *((_OLD, name) for name in ("TensorProperties", "MEM_FORMAT_ENCODING")),
        ("collections", "OrderedDict"),
        ("pathlib", "PosixPath"),
        ("pathlib._local", "PosixPath"),
        ("torch", "Size"),
        ("torch.serialization", "_get_layout"),
        *(("torch", name) for name in DTYPES),
    }
)
_ROOTS = frozenset({(_METADATA, "Metadata"), (_MEGATRON, "MCoreMetadata")})
_PROPERTIES = frozenset({(_METADATA, "TensorProperties"), (_OLD, "TensorProperties")})
_TENSOR, _OBJECT = (_METADATA, "TensorStorageMetadata"), (_METADATA, "BytesStorageMetadata")
_CHUNK, _INDEX, _INFO = (_METADATA, "ChunkStorageMetadata"), (_METADATA, "MetadataIndex"), (_FILES, "_StorageInfo")


class Place(NamedTuple):
    """`length` bytes from `start` on in a file of the folder."""

    file: FileBuffer
    start: int
    length: int


class Shard(NamedTuple):
    """A box of a tensor, `shape` elements at `offset`, and where it is stored."""

    offset: Shape
    shape: Shape
    place: Place


class Entry(NamedTuple):
    """A tensor: its whole shape, the name of its type, and the shards that the folder holds."""

    shape: Shape
    dtype: str
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class Metadata:
    """Tensors and objects by name, in the order of the file, and the data files that any of them lies in."""

    tensors: dict[str, Entry]
    objects: dict[str, Place]
    files: dict[str, FileBuffer]


def read_metadata(folder: Path) -> Metadata:
    """What a folder's `.metadata` says, once it is known to be safe, and true of the sizes of its data files.

    Raises `UnsafeCheckpoint` where it names what no checkpoint needs, and `WorkbenchError`, which names file and tensor,
    where it is damaged, a data file is missing or too short, or two tensors lie in the same bytes.
    """
    file = folder / NAME
    with uncollected():
        fields = _load(file)
        files: dict[str, FileBuffer] = {}
        places = _places(file, fields.get("storage_data"), files)
        _check_apart(file, places)
        tensors: dict[str, Entry] = {}
        objects: dict[str, Place] = {}
        for name, entry in _items(file, fields.get("state_dict_metadata")):
            if not isinstance(name, str):
                raise _damaged(file, f"it calls a tensor {name!r}")
            if (kind := _origin(entry)) == _TENSOR:
                tensors[name] = _entry(file, name, entry.fields, places)
            elif kind == _OBJECT:
                objects[name] = _place(file, name, None, places)
            else:
                raise _damaged(file, f"{name} is neither a tensor nor an object in it")
    return Metadata(tensors, objects, files)


# ------------------------------------------------------------------------------------------------------


type _Places = dict[tuple[str, Shape | None], Place]


def _places(file: Path, stored: Any, files: dict[str, FileBuffer]) -> _Places:
    """(name, offset of the shard, None for an object) → where it lies."""
    found: _Places = {}
    for index, info in _items(file, stored):
        if _origin(index) != _INDEX or _origin(info) != _INFO:
            raise _damaged(file, "what it says about places is of another kind")
        at = index.fields
        name, offset = at.get("fqn"), at.get("offset")
        if not isinstance(name, str):
            raise _damaged(file, f"it calls a tensor {name!r}")
        found[name, None if offset is None else _shape(file, name, offset)] = _stored(file, name, info.fields, files)
    return found


def _stored(file: Path, name: str, info: Mapping[str, Any], files: dict[str, FileBuffer]) -> Place:
    path, start, length = (info.get(key) for key in ("relative_path", "offset", "length"))
    if not (_whole(start) and _whole(length)):
        raise _damaged(file, f"it puts a tensor at byte {start!r}, {length!r} bytes long")
    if not isinstance(path, str) or path in ("", ".", "..") or set(path) & set("/\\\0"):
        raise WorkbenchError(f"{file} puts a tensor into {path!r}, which is no file of its folder; nothing was loaded")
    if transforms := info.get("transform_descriptors"):
        raise WorkbenchError(
            f"{file}: {name} is stored through {transforms!r} (compressed or encrypted), which cannot be read here: load it "
            "with the torch that wrote it, and save it without extensions"
        )
    if path not in files:
        files[path] = FileBuffer(file.parent / path)
    data = files[path]
    if start + length > data.size:
        raise WorkbenchError(
            f"{data.path} is cut short: it has {data.size} bytes, and the checkpoint needs {start + length} of it, for {name}"
        )
    return Place(data, start, length)


def _check_apart(file: Path, places: _Places) -> None:
    """No two stored things share a byte: a place that is wrong mostly points into another's."""
    within: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for (name, _), (data, start, length) in places.items():
        within[data.path.name].append((start, start + length, name))
    for path, taken in within.items():
        taken.sort()
        for (_, end, name), (start, _, other) in pairwise(taken):
            if start < end:
                why = _why_together(file.parent / path)
                raise WorkbenchError(f"{file} puts {name} and {other} into the same bytes of {path}: {why}")


def _why_together(data: Path) -> str:
    """torch's writer leaves the places out where it writes safetensors (`SerializationFormat.SAFETENSORS`)."""
    with data.open("rb") as stream:
        head = stream.read(9)
    if head[8:] != b"{":
        return "a place is wrong"
    return (
        "it is a safetensors file, and .metadata does not say what is where in it: consolidate the folder first "
        "(torch.distributed.checkpoint.consolidate_hf_safetensors_files)"
    )


def _entry(file: Path, name: str, entry: Mapping[str, Any], places: _Places) -> Entry:
    shape = _shape(file, name, entry.get("size"))
    dtype = _dtype(file, name, entry.get("properties"))
    width = dtype_of(dtype).bytes
    if math.prod(shape) * width > _MOST_BYTES:
        raise _damaged(file, f"{name} is {list(shape)} {dtype} in it, more than any disk holds")
    chunks = entry.get("chunks")
    if not isinstance(chunks, list):
        raise _damaged(file, f"{name} has no list of shards in it")
    shards: dict[tuple[Shape, Shape], Shard] = {}  # a replica is listed again, and stored once
    for chunk in chunks:
        if _origin(chunk) != _CHUNK:
            raise _damaged(file, f"{name} has shards of another kind in it")
        offset, size = (_shape(file, name, chunk.fields.get(key)) for key in ("offsets", "sizes"))
        if len(offset) != len(shape) or len(size) != len(shape):
            raise _damaged(file, f"{name} is {list(shape)} in it, with a shard of {list(size)} at {list(offset)}")
        place = _place(file, name, offset, places)
        needed = math.prod(size) * width
        if needed > place.length:
            raise WorkbenchError(
                f"{file}: a shard of {name} is {list(size)} {dtype}, {needed} bytes, and only {place.length} are stored of it "
                f"in {place.file.path.name}"
            )
        if needed or 0 in shape:  # a rank beyond the last row stores nothing, and torch writes that down
            shards[offset, size] = Shard(offset, size, place)
    return Entry(shape, dtype, tuple(shards.values()))


def _place(file: Path, name: str, offset: Shape | None, places: _Places) -> Place:
    found = places.get((name, offset))
    if found is None:
        what = "it" if offset is None else f"its shard at {list(offset)}"
        raise WorkbenchError(f"{file} does not say where {name} is stored: {what} is missing")
    return found


def _dtype(file: Path, name: str, properties: Any) -> str:
    state = properties.state if _origin(properties) in _PROPERTIES else None
    dtype = (name_of(state[0]) or "").removeprefix("torch.") if isinstance(state, tuple) and state else ""
    if dtype not in DTYPES:
        raise _damaged(file, f"{name} has no element type in it")
    return dtype


def _shape(file: Path, name: str, value: Any) -> Shape:
    if type(value) is tuple and len(value) <= _MOST_AXES:
        for each in value:
            if type(each) is not int or not 0 <= each <= _MOST_BYTES:
                break
        else:
            return value
    raise _damaged(file, f"{name} has the shape or offset {reprlib.repr(value)}")


def _whole(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _MOST_BYTES


def _items(file: Path, value: Any) -> Any:
    if not isinstance(value, dict):
        raise _damaged(file, "it holds no checkpoint metadata")
    return value.items()


def _damaged(file: Path, why: str) -> WorkbenchError:
    return WorkbenchError(f"{file} cannot be read: {why}")


# -- the pickle


class _Size(Inert):
    """Meaning of `torch.Size`: what it was called with, which `_shape` looks at."""

    __slots__ = ()

    def __new__(cls, values: Any = ()) -> Any:
        return values


_MEANINGS = {**PLAIN, ("torch", "Size"): _Size}


def _load(file: Path) -> Mapping[str, Any]:
    """The fields of the `Metadata` in a file."""
    try:
        with file.open("rb") as stream:
            root = load(stream, file, ALLOWED, _MEANINGS)
    except FileNotFoundError:
        raise WorkbenchError(f"{file.parent} is no whole checkpoint: it has no {NAME}{_alone(file.parent)}") from None
    except OSError as error:
        raise _damaged(file, error.strerror or str(error)) from error
    if _origin(root) not in _ROOTS:
        raise _damaged(file, "it holds no checkpoint metadata")
    return root.fields


def _alone(folder: Path) -> str:
    """The hint for a folder in which every rank wrote metadata of its own (`use_collectives=False`)."""
    ranks = sorted(entry.name for entry in folder.glob(f"__*{NAME}"))
    return f"; {', '.join(ranks[:3])} are of single ranks, and say nothing about the whole" if ranks else ""


def _origin(value: Any) -> Origin | None:
    """Which class a value is of; None for a plain value, and for a class itself."""
    return value.origin if isinstance(value, Inert) else None
