"""Open any checkpoint: what a path is, is found out from what is in it, never from how it is called alone. numpy only.

A file is known by its first bytes, a folder by the files that only one format has. Whatever else is given is a live object.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.checkpoint.reading import dcp_metadata, hugging_face, torch_dist
from workbench.checkpoint.reading.dcp import open_dcp
from workbench.checkpoint.reading.foreign import foreign
from workbench.checkpoint.reading.legacy_megatron import FILE as RANK_FILE
from workbench.checkpoint.reading.safetensors_file import MOST_HEADER, open_one_file, open_safetensors
from workbench.checkpoint.reading.torch_file import is_legacy, open_torch
from workbench.checkpoint.reading.zip_entries import MAGIC as ZIP_MAGIC
from workbench.checkpoint.source import Checkpoint
from workbench.errors import WorkbenchError

type Opener = Callable[[Path], Checkpoint]

# What the suffixes promise; a file that holds something else is opened as what it is, and a note says so.
_SUFFIXES = {
    ".safetensors": "safetensors",
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt"), "torch"),
}
_NAMES = {"safetensors": "a safetensors file", "torch": "a file of torch.save"}


def open_checkpoint(what: Any) -> Checkpoint:
    """A path of any checkpoint, a torch module, an optimizer, or a mapping of names to tensors; a `Checkpoint` is itself.

    Raises `WorkbenchError`, which says what is there instead, for anything else.
    """
    if isinstance(what, Checkpoint):
        return what
    if not isinstance(what, str | os.PathLike):
        from workbench.checkpoint.reading.live import open_live

        return open_live(what)
    if not os.fspath(what):
        raise WorkbenchError("a checkpoint is asked for, and its path is empty")
    path = Path(what)
    if "\0" in str(path):
        raise WorkbenchError(f"{str(path)!r} is no path: it has a NUL in it")
    try:
        path.stat()
        return _open_folder(path) if path.is_dir() else _open_file(path)
    except FileNotFoundError:
        raise WorkbenchError(f"{path} does not exist{_nearby(path)}") from None
    except OSError as error:
        raise WorkbenchError(f"{path} cannot be read: {error.strerror or error}") from error


# ------------------------------------------------------------------------------------------------------


def _open_file(path: Path) -> Checkpoint:
    if not path.is_file():
        raise WorkbenchError(f"{path} is neither a file nor a folder")
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise WorkbenchError(f"{path} is an empty file")
    found = _format(head, path.stat().st_size)
    if found is None and path.name.endswith(".json"):
        return _open_json(path)
    if found is None:
        raise WorkbenchError(f"{path} is no checkpoint that can be read: {foreign(head, path)}")
    opened = open_one_file(path) if found == "safetensors" else open_torch(path)
    if _SUFFIXES.get(path.suffix.lower(), found) != found:
        return replace(opened, notes=(f"it is called {path.name} and is {_NAMES[found]}", *opened.notes))
    return opened


def _format(head: bytes, size: int) -> str | None:
    if is_legacy(head) or (head.startswith(ZIP_MAGIC) and b".npy" not in head[:512]):
        return "torch"
    length = int.from_bytes(head[:8], "little")
    # An empty header is "{}"; a file that is cut short is safetensors still, and its reader says so.
    if len(head) > 8 and head[8:9] == b"{" and length <= MOST_HEADER and (size > 8 + length or head[9:10] in b'"} '):
        return "safetensors"
    return None


def _open_json(path: Path) -> Checkpoint:
    """An index of files, or the file that gives a folder away."""
    if path.name in (hugging_face.CONFIG, torch_dist.CONFIG):
        return _open_folder(path.parent)
    if path.name.endswith(".bin.index.json"):
        return hugging_face.open_indexed_torch(path)
    if path.name.endswith(".index.json"):
        return open_safetensors(path)
    raise WorkbenchError(f"{path} is JSON, and no index of a checkpoint")


def _open_folder(folder: Path) -> Checkpoint:
    names = sorted(entry.name for entry in folder.iterdir())
    if not names:
        raise WorkbenchError(f"{folder} is an empty folder")
    if (opener := _opener(folder, names)) is not None:
        return opener(folder)
    indices = [name for name in names if name.endswith(".index.json")]
    if len(indices) == 1:
        return _open_json(folder / indices[0])
    files = [name for name in names if Path(name).suffix.lower() in _SUFFIXES and (folder / name).is_file()]
    if len(files) == 1:
        opened = _open_file(folder / files[0])
        return replace(opened, notes=(f"{files[0]} was read, the only checkpoint in {folder}", *opened.notes))
    inside = [name for name in names if (folder / name).is_dir() and _is_checkpoint(folder / name)]
    if len(files) + len(inside) > 1 or inside:
        raise WorkbenchError(f"{folder} is no checkpoint and holds {_listed([*inside, *files])}: give one of these")
    raise WorkbenchError(f"{folder} holds no checkpoint that is known here; it holds {_listed(names)}")


def _opener(folder: Path, names: list[str]) -> Opener | None:
    """The reader of the only format that has files of these names; None where there is none."""
    held = set(names)
    if torch_dist.CONFIG in held:
        return torch_dist.open_torch_dist
    if dcp_metadata.NAME in held:
        return open_dcp
    if hugging_face.CONFIG in held and held & set(hugging_face.WEIGHTS):
        return hugging_face.open_hugging_face
    tracked = torch_dist.iteration_folder(folder)[0] != folder
    if tracked or any((folder / name / RANK_FILE).is_file() for name in names if name.startswith("mp_rank_")):
        return torch_dist.open_torch_dist
    if any(name.endswith(".distcp") for name in names):
        return open_dcp  # which says that the .metadata is missing
    if hugging_face.CONFIG in held and not any(Path(name).suffix.lower() in _SUFFIXES for name in names):
        return hugging_face.open_hugging_face  # which says which weights are missing
    return None


def _is_checkpoint(folder: Path) -> bool:
    try:
        names = sorted(entry.name for entry in folder.iterdir())
        return _opener(folder, names) is not None or any(Path(name).suffix.lower() in _SUFFIXES for name in names)
    except (OSError, WorkbenchError):
        return False


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _nearby(path: Path) -> str:
    """What the folder above has instead, where it is there."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(path.name, names, 3, 0.7)
    return f"; there is {_listed(sorted(close))}" if close else ""
