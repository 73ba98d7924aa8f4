"""safetensors: one file, an indexed set of files, or a folder with either. numpy only.

A file is 8 bytes (the header's length), a JSON header, and the tensors one behind the other in row-major order. The format's own
rules are all checked: https://huggingface.co/docs/safetensors (format), `safetensors/src/tensor.rs`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workbench.checkpoint.buffers import FileBuffer
from workbench.checkpoint.reading.uncollected import uncollected
from workbench.checkpoint.source import Checkpoint
from workbench.checkpoint.tensors import StoredTensor, bytes_of, contiguous
from workbench.errors import WorkbenchError

MOST_HEADER = 100_000_000  # bytes; the format's limit
# Header bytes that a list or an object takes on average: a tensor has three in 50. Empty ones would be memory for nothing.
_LEAST_OF_A_LIST = 8
_MANY = 2**23  # bytes; from here on it matters
SHARDED_KEY = "DCP_SHARDING_INFO"  # torch's DCP writes pieces of tensors into such files, and says so here

_CODES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
    "BOOL": "bool", "C64": "complex64", "C128": "complex128",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E8M0": "float8_e8m0fnu",
    "F4": "float4_e2m1fn_x2",
}  # fmt: skip
_WHOLE = {int}
CODE_OF: Mapping[str, str] = {name: code for code, name in _CODES.items()}


def open_safetensors(path: str | Path) -> Checkpoint:
    """A `.safetensors` file, a `*.safetensors.index.json`, or a folder that holds one of them.

    The header's `__metadata__` is in `values`. Raises `WorkbenchError` that names the file and the tensor that is wrong.
    """
    path = Path(path)
    if path.is_dir():
        path = _inside(path)
    if path.name.endswith(".json"):
        with uncollected():
            tensors, values = read_indexed(path, read_file)
        return Checkpoint(str(path), "safetensors", tensors, values=values)
    return open_one_file(path)


def open_one_file(path: Path) -> Checkpoint:
    """A file of safetensors, whatever it is called."""
    with uncollected():
        tensors, values = read_file(path)
    return Checkpoint(str(path), "safetensors", tensors, values=values)


def read_file(path: Path) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """The tensors of one file, in its order, and its `__metadata__`."""
    data = FileBuffer(path)
    header, begin = _header(data)
    metadata = header.pop("__metadata__", None)
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise WorkbenchError(f"{path}: its __metadata__ is not made of texts")
    if SHARDED_KEY in metadata:
        raise WorkbenchError(
            f"{path} is one rank's part of a checkpoint of torch.distributed.checkpoint: consolidate the parts first "
            "(torch.distributed.checkpoint.consolidate_hf_safetensors_files)"
        )
    return _tensors(data, header, begin), metadata


def read_indexed(
    path: Path, read: Callable[[Path], tuple[dict[str, StoredTensor], dict[str, Any]]]
) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    """The tensors of a set of files, in the order of its index (`{"metadata": …, "weight_map": {name: file}}`).

    `read` reads one of them. Index and files must agree: every name in its file, and nothing more in the files.
    """
    metadata, places = _index(path)
    shards: dict[str, dict[str, StoredTensor]] = {}
    values: dict[str, Any] = dict(metadata)
    for shard in dict.fromkeys(places.values()):
        if not (path.parent / shard).is_file():
            raise WorkbenchError(f"{path} names {shard}, which is missing")
        shards[shard], said = read(path.parent / shard)
        values = {**said, **values}
    tensors = {}
    for name, shard in places.items():
        if name not in shards[shard]:
            raise WorkbenchError(f"{path} says that {name} is in {shard}, and it is not")
        tensors[name] = shards[shard][name]
    for shard, held in shards.items():
        if more := [name for name in held if places.get(name) != shard]:
            raise WorkbenchError(f"{path.parent / shard} holds {more[0]}, which {path.name} does not say")
    return tensors, values


# ------------------------------------------------------------------------------------------------------


def _inside(folder: Path) -> Path:
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise WorkbenchError(f"{folder} cannot be read: {error.strerror or error}") from error
    for end in (".safetensors.index.json", ".safetensors"):
        found = [name for name in names if name.endswith(end)]
        if len(found) == 1:
            return folder / found[0]
        if found:
            shown = ", ".join(found[:4]) + (", …" if len(found) > 4 else "")
            raise WorkbenchError(f"{folder} holds {len(found)} of them ({shown}) and no one index: give one file")
    raise WorkbenchError(f"{folder} holds no .safetensors file")


def _header(data: FileBuffer) -> tuple[dict[str, Any], int]:
    """The header, and the byte that the tensors begin at."""
    path = data.path
    if data.size < 8:
        raise WorkbenchError(f"{path} is no safetensors file: it has {data.size} bytes")
    length = int.from_bytes(data.view(0, 8).tobytes(), "little")
    if length > MOST_HEADER:
        raise WorkbenchError(f"{path} is no safetensors file: its header would be {length} bytes long")
    if 8 + length > data.size:
        raise WorkbenchError(f"{path} is cut short: its header is {length} bytes long, and the whole file {data.size}")
    text = data.view(8, length).tobytes()
    if length > _MANY and text.count(b"{") + text.count(b"[") > length // _LEAST_OF_A_LIST:
        raise WorkbenchError(
            f"{path}: its header is {length} bytes of little else than brackets, which is no list of tensors"
        )
    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise WorkbenchError(f"{path}: its header cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise WorkbenchError(f"{path}: its header is no JSON object")
    return found, 8 + length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise WorkbenchError(f"{twice!r} is in it twice")
    return found


def _tensors(data: FileBuffer, header: dict[str, Any], begin: int) -> dict[str, StoredTensor]:
    tensors: dict[str, StoredTensor] = {}
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        try:
            kind, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        except (TypeError, KeyError, ValueError) as error:
            raise WorkbenchError(f"{data.path}: {name} has no dtype, shape and two data_offsets") from error
        if not isinstance(kind, str) or kind not in _CODES:
            raise WorkbenchError(f"{data.path}: {name} is of type {str(kind)[:40]!r}; known are {', '.join(_CODES)}")
        numbers = (*shape, start, end)
        if len(entry) != 3 or set(map(type, numbers)) != _WHOLE or min(numbers) < 0 or max(numbers) >= 2**63:
            raise WorkbenchError(
                f"{data.path}: the shape or place of {name} is not made of whole numbers of 0 and more"
            )
        dtype = _CODES[kind]
        shape = _packed(data.path, name, shape) if kind == "F4" else shape
        try:
            nbytes = bytes_of(shape, dtype)
        except WorkbenchError as error:
            raise WorkbenchError(f"{data.path}: {name}: {error}") from error
        if end - start != nbytes:
            raise WorkbenchError(
                f"{data.path}: {name} of {list(shape)} {dtype} takes {nbytes} bytes, and its place {end - start}"
            )
        spans.append((start, end, name))
        tensors[name] = contiguous(data, begin + start, shape, dtype)
    _check_places(data, spans, begin)
    return tensors


def _packed(path: Path, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """4-bit numbers: the shape counts them, and a byte holds two, along the last axis (as torch's dtype of that name)."""
    if not shape or shape[-1] % 2:
        raise WorkbenchError(f"{path}: {name} of {list(shape)} 4-bit numbers does not fill whole bytes")
    return (*shape[:-1], shape[-1] // 2)


def _check_places(data: FileBuffer, spans: list[tuple[int, int, str]], begin: int) -> None:
    """The format's rule: no hole, no overlap, and the last tensor ends where the file does."""
    at, before = 0, "the header"
    for start, end, name in sorted(spans):
        if start != at:
            what = "overlaps with" if start < at else "leaves a hole behind"
            raise WorkbenchError(f"{data.path}: {name} at byte {start} {what} {before}, which ends at byte {at}")
        at, before = end, name
    if begin + at != data.size:
        what = "is cut short" if data.size < begin + at else "has something behind its last tensor"
        raise WorkbenchError(f"{data.path} {what}: it has {data.size} bytes, and its header describes {begin + at}")


def _index(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_HEADER + 1)
        if len(text) > MOST_HEADER:
            raise WorkbenchError(f"{path} is larger than {MOST_HEADER} bytes: it is no index")
        found = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
    except OSError as error:
        raise WorkbenchError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise WorkbenchError(f"{path} cannot be read: {error}") from error
    places = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(places, dict) or not places:
        raise WorkbenchError(f"{path} is no index of a checkpoint: it has no weight_map")
    for name, shard in places.items():
        if not isinstance(shard, str) or shard in ("", ".", "..") or set(shard) & set("/\\\0"):
            raise WorkbenchError(
                f"{path} puts {name} into {str(shard)[:200]!r}, which is no file of its folder; nothing was read"
            )
    metadata = found.get("metadata")
    return metadata if isinstance(metadata, dict) else {}, places
