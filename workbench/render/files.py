"""Writing a result: beside its target first, then renamed into place, so that a reader never sees half a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from workbench.errors import WorkbenchError


def check_target(path: str | Path, force: bool = False) -> Path:
    """The path, when a file can be written there; else `WorkbenchError`. Call it before the work that fills the file.

    An existing file is refused unless `force`. Nothing is left behind: whether the folder takes a file is found out
    with a temporary one, in the nearest folder that exists.
    """
    target = Path(path)
    if "\0" in str(target):
        raise WorkbenchError("cannot write: a file's name holds no NUL character")
    try:
        if target.is_dir():
            raise WorkbenchError(f"cannot write {target}: it is a folder")
        if target.exists() and not target.is_file():
            raise WorkbenchError(f"cannot write {target}: it is not a regular file")
        if os.path.lexists(target) and not force:
            raise WorkbenchError(f"{target} exists already; choose another name, or --force to replace it")
        folder = target.absolute().parent
        while not os.path.lexists(folder):
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise WorkbenchError(f"cannot write {target}: {_reason(error)}") from error
    return target


def write_text_atomically(path: str | Path, text: str, force: bool = False) -> Path:
    """Write UTF-8 text to `path`, as `write_bytes_atomically` does."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise WorkbenchError(f"cannot write {path}: {error}") from error
    return write_bytes_atomically(path, data, force)


def write_bytes_atomically(path: str | Path, data: bytes, force: bool = False) -> Path:
    """Write bytes to `path`, whole or not at all; its folder is made when missing.

    Raises `WorkbenchError` when the file exists and `force` is false, or when it cannot be written.
    """
    target = check_target(path, force)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(data)
        beside.replace(target)
    except (OSError, ValueError) as error:
        raise WorkbenchError(f"cannot write {target}: {_reason(error)}") from error
    finally:
        beside.unlink(missing_ok=True)
    return target


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
