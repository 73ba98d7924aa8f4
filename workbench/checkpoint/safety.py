"""Look at a `torch_dist` folder before anything of it is loaded: its pickle may name known globals only. Pure.

A `.metadata` file is a pickle, and `torch.distributed.checkpoint` unpickles it as it comes (`filesystem.py:938`): whoever
wrote it decides what runs. Here it is read first by an unpickler that knows a short list of names, imports none of them and
calls none of them: each becomes an inert stand-in. The same pass sees where every tensor lies, so a data file that is
missing, cut short or outside the folder is found before a model is touched.

What lies inside the other files (`common.pt`, the objects in `*.distcp`) is read by `torch.load`; whoever calls it forces
`weights_only` (`workbench.fusion.checkpointing`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workbench.checkpoint.pickles import PLAIN, Inert, UnsafeCheckpoint, load
from workbench.errors import WorkbenchError

__all__ = ["ALLOWED", "UnsafeCheckpoint", "check_folder"]

_METADATA = "torch.distributed.checkpoint.metadata"
_PLANNER = "torch.distributed.checkpoint.planner"
_STORAGE_INFO = ("torch.distributed.checkpoint.filesystem", "_StorageInfo")

# Every global that torch and megatron write into a `.metadata`. All of them are data: dataclasses, enums, dtypes.
ALLOWED: frozenset[tuple[str, str]] = frozenset(
    {
        *((_METADATA, name) for name in ("Metadata", "MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING")),
        *((_METADATA, name) for name in ("TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata")),
        (_METADATA, "TensorProperties"),
        *((_PLANNER, name) for name in ("SavePlan", "WriteItem", "WriteItemType", "TensorWriteData")),
        (_PLANNER, "BytesIOWriteData"),
        _STORAGE_INFO,
        ("megatron.core.dist_checkpointing.strategies.torch", "MCoreSavePlan"),
        ("collections", "OrderedDict"),
        ("pathlib", "PosixPath"),
        ("pathlib._local", "PosixPath"),
        ("torch", "Size"),
        ("torch.serialization", "_get_layout"),
        *(("torch", f"float{bits}") for bits in (16, 32, 64)),
        *(("torch", f"int{bits}") for bits in (8, 16, 32, 64)),
        *(("torch", f"uint{bits}") for bits in (8, 16, 32, 64)),
        *(("torch", name) for name in ("bfloat16", "bool", "complex64", "complex128")),
        *(("torch", f"float8_{name}") for name in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz", "e8m0fnu")),
        ("torch", "float4_e2m1fn_x2"),
    }
)


def check_folder(path: Path) -> None:
    """Raise `WorkbenchError`, naming the file, unless `path` is a whole `torch_dist` checkpoint that is safe to unpickle."""
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise WorkbenchError(f"{path} {what}: a torch_dist checkpoint is a folder with a metadata.json")
    _check_backend(path)
    for name, end in _ends(path / ".metadata").items():
        size = _size(path / name)
        if size < end:
            raise WorkbenchError(
                f"{path / name} is cut short: it has {size} bytes, and the checkpoint needs {end} of it"
            )


def _check_backend(path: Path) -> None:
    file = path / "metadata.json"
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        inside = sorted(entry.parent.name for entry in path.glob("*/metadata.json"))
        hint = f"; it holds {', '.join(inside[:3])}: give one of these" if inside else ""
        raise WorkbenchError(f"{path} is no torch_dist checkpoint: it has no metadata.json{hint}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise WorkbenchError(f"{file} cannot be read: {error}") from error
    backend = found.get("sharded_backend") if isinstance(found, dict) else None
    if backend != "torch_dist":
        raise WorkbenchError(f"{file} names the format {backend!r}: only torch_dist can be read")


def _ends(file: Path) -> dict[str, int]:
    """Data file → the byte that the last tensor in it ends before, as a `.metadata` has it."""
    made: list[Inert] = []

    class StorageInfo(Inert):
        __slots__ = ()

        def __new__(cls, *arguments: Any, **keywords: Any) -> Any:
            made.append(super().__new__(cls, *arguments, **keywords))
            return made[-1]

    try:
        with file.open("rb") as stream:
            root = load(stream, file, ALLOWED, {**PLAIN, _STORAGE_INFO: StorageInfo})
    except FileNotFoundError:
        raise WorkbenchError(f"{file.parent} is no whole checkpoint: it has no .metadata") from None
    except OSError as error:
        raise WorkbenchError(f"{file} cannot be read: {error.strerror or error}") from error
    if not isinstance(root, Inert) or root.origin != (_METADATA, "Metadata"):
        raise WorkbenchError(f"{file} cannot be read: it holds no checkpoint metadata")
    ends: dict[str, int] = {}
    for info in made:
        name, end = _extent(info.state, file)
        ends[name] = max(end, ends.get(name, 0))
    return ends


def _extent(state: Any, file: Path) -> tuple[str, int]:
    values = state if isinstance(state, dict) else {}
    name, offset, length = (values.get(key) for key in ("relative_path", "offset", "length"))
    if not (isinstance(offset, int) and isinstance(length, int) and offset >= 0 and length >= 0):
        raise WorkbenchError(f"{file} cannot be read: it puts a tensor at byte {offset!r}, {length!r} bytes long")
    if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise WorkbenchError(f"{file} puts a tensor into {name!r}, which is no file of its folder; nothing was loaded")
    return name, offset + length


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise WorkbenchError(f"{file} cannot be read: {error.strerror or error}") from error
