"""Megatron's `torch_dist` folders: a DCP folder with a `metadata.json`, and the values that belong to no rank alone. numpy only.

Those values (iteration, arguments, optimizer settings) are an object of the DCP folder since megatron-core 0.19, and a
`common.pt` before; both are read as data. Objects that ranks hold in parts get a name for each part. The layers of a
homogeneous model are stored along an axis in front, and stay there: `layouts` knows what they mean.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.checkpoint.buffers import FileBuffer
from workbench.checkpoint.dtypes import decode
from workbench.checkpoint.reading.dcp import check_is_folder, leftovers, open_dcp, stored_tensors
from workbench.checkpoint.reading.dcp_metadata import NAME, Metadata, read_metadata
from workbench.checkpoint.reading.structure import flattened
from workbench.checkpoint.reading.torch_file import read_torch
from workbench.checkpoint.source import Checkpoint, StoredObject
from workbench.errors import WorkbenchError

CONFIG = "metadata.json"
_TRACKER = "latest_checkpointed_iteration.txt"
_COMMON, _COMMON_FILE = "common_state/shard_0_1", "common.pt"
_ITERATION = re.compile(r"iter_(\d{1,12})")
# `ShardedObject.unique_key` (megatron/core/dist_checkpointing/mapping.py): key, offset, and shape of the whole, in parts.
_PART = re.compile(r"(.+)/shard_(\d+(?:\.\d+)*)_(\d+(?:\.\d+)*)")
_EXPECTED = "a torch_dist checkpoint is a folder with a metadata.json"


def open_torch_dist(folder: str | Path) -> Checkpoint:
    """A checkpoint that megatron wrote: an `iter_*` folder, or the one above it (the iteration that its tracker file names, or
    the newest).

    `values` holds what belongs to no tensor. Folders of other backends are read where they hold one of the formats known here
    (PyTorch DCP, one rank's `model_optim_rng.pt`). Raises `WorkbenchError` when it is no whole checkpoint, or of a kind that
    cannot be read, `UnsafeCheckpoint` when one of its pickles asks for what no checkpoint needs.
    """
    folder = Path(folder)
    check_is_folder(folder, _EXPECTED)
    place, notes = iteration_folder(folder)
    opened = _open(place)
    return replace(opened, notes=(*notes, *opened.notes))


def check_folder(path: Path) -> Metadata:
    """What the `.metadata` of a `torch_dist` folder says, which torch may then unpickle.

    Raises `WorkbenchError`, naming the file, unless `path` is a whole checkpoint that is safe to unpickle.
    """
    check_is_folder(path, _EXPECTED)
    _check_backend(path)
    return read_metadata(path)


def iteration_folder(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder that holds the checkpoint: the one given, or an iteration in it, with a note that says which and why."""
    if _holds_checkpoint(folder):
        return folder, ()
    tracker = folder / _TRACKER
    if tracker.is_file():
        name = _tracked(tracker)
        if not (folder / name).is_dir():
            raise WorkbenchError(f"{tracker} names {name}, which is not in {folder}: give the folder of an iteration")
        return folder / name, (f"{name} was read, which {_TRACKER} names",)
    found = {int(match[1]): entry for entry in folder.glob("iter_*") if (match := _ITERATION.fullmatch(entry.name))}
    if not found:
        return folder, ()
    newest = found[max(found)]
    count = f", the newest of {len(found)} iterations" if len(found) > 1 else ""
    return newest, (f"{newest.name} was read{count}: there is no {_TRACKER}",)


# ------------------------------------------------------------------------------------------------------


def _holds_checkpoint(folder: Path) -> bool:
    return (folder / CONFIG).exists() or (folder / NAME).exists() or any(folder.glob("mp_rank_*"))


def _tracked(tracker: Path) -> str:
    try:
        text = tracker.read_bytes()[:64].decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WorkbenchError(f"{tracker} cannot be read: {error}") from error
    if text == "release":
        return text
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise WorkbenchError(f"{tracker} holds {text!r}, which is no iteration: give the folder of one")
    return f"iter_{int(text):07d}"


def _open(folder: Path) -> Checkpoint:
    if not (folder / CONFIG).exists():
        if any(folder.glob("mp_rank_*")):
            from workbench.checkpoint.reading.legacy_megatron import open_rank_folder

            return open_rank_folder(folder)
        if (folder / NAME).exists():
            return open_dcp(folder)
    metadata = check_folder(folder)
    tensors = stored_tensors(metadata)
    objects = {name: StoredObject(*place) for name, place in metadata.objects.items() if name != _COMMON}
    common = flattened(_common(folder, metadata))
    values = dict(common.values)
    for name, tensor in common.tensors.items():
        if tensor.elements == 1:  # the count of an optimizer's steps
            values[name] = decode(tensor.bits(), tensor.dtype).item()
        elif name in tensors:
            raise WorkbenchError(f"{folder} holds {name} twice: among its tensors, and in {_COMMON_FILE}")
        else:
            tensors[name] = tensor
    return Checkpoint(
        where=str(folder),
        format="torch_dist",
        tensors=tensors,
        objects={**_named(objects), **common.objects},
        values=values,
        notes=leftovers(folder, metadata),
    )


def _named(objects: dict[str, StoredObject]) -> dict[str, StoredObject]:
    """Objects by their own name; where several ranks hold one in parts, with the part's place behind it."""
    found = {_object_name(name): held for name, held in objects.items()}
    return found if len(found) == len(objects) else objects


def _object_name(key: str) -> str:
    """What to call an object that is stored under a key.

    >>> _object_name("output_layer._extra_state/shard_0_1"), _object_name("rng_state/shard_0.1_1.2")
    ('output_layer._extra_state', 'rng_state.0.1')
    """
    if (match := _PART.fullmatch(key)) is None:
        return key
    name, place, whole = match.groups()
    alone = place.count(".") == whole.count(".") and all(axis == "1" for axis in whole.split("."))
    return name if alone else f"{name}.{place}"


def _check_backend(folder: Path) -> None:
    file = folder / CONFIG
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        inside = sorted(entry.parent.name for entry in folder.glob(f"*/{CONFIG}"))
        hint = f"; it holds {', '.join(inside[:3])}: give one of these" if inside else ""
        raise WorkbenchError(f"{folder} is no torch_dist checkpoint: it has no {CONFIG}{hint}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise WorkbenchError(f"{file} cannot be read: {error}") from error
    backend = found.get("sharded_backend") if isinstance(found, dict) else None
    if backend != "torch_dist":
        raise WorkbenchError(f"{file} names the format {backend!r}: only torch_dist can be read")


def _common(folder: Path, metadata: Metadata) -> Any:
    """What belongs to no rank alone, in plain values; megatron too takes the file where there is one."""
    file = folder / _COMMON_FILE
    if file.exists():
        data = FileBuffer(file)
        return read_torch(data, 0, data.size, str(file))
    if _COMMON not in metadata.objects:
        return {}
    place = metadata.objects[_COMMON]
    found = read_torch(*place, f"{place.file.path}: {_COMMON}")
    if not isinstance(found, list) or len(found) != 1:
        raise WorkbenchError(f"{place.file.path}: {_COMMON} is not the list of one that megatron writes")
    return found[0]
