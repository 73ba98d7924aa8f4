"""Where a checkpoint is written: beside its target, and renamed into it once it is whole. Standard library only.

Whenever the process is killed, source and old target are whole, and the new one is there whole or not at all: a file is
replaced by one rename, a folder by an exchange of two names (where the file system cannot exchange, the old one is set
aside first, and the next run puts it back). What a killed run left is removed by the next one to the same target.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workbench.errors import WorkbenchError

_EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h
_HERE = -100  # AT_FDCWD
_PARTS = {".metadata", "metadata.json", "common.pt"}
_SUFFIXES = (".distcp", ".safetensors", ".safetensors.index.json")


@contextmanager
def beside(target: Path, force: bool = False) -> Iterator[Path]:
    """Inside, a path to write a file or a folder to; afterwards it is at `target`, on the disk.

    Raises `WorkbenchError` when the target exists and `force` is not given, or another run is writing to it, or it cannot be
    written; then nothing is left behind. What the block raises goes through, an `OSError` as a `WorkbenchError`.
    """
    check_target(target, force)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        put_back(target)
        check_target(target, force)
        _remove_leftovers(target)
        room = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    except OSError as error:
        raise cannot_write(target, error) from error
    lock = os.open(room, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield room / target.name
        _sync(room / target.name)
        check_target(target, force)
        move_into_place(room / target.name, target)
        _confirm(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(room, ignore_errors=True)
        os.close(lock)


def check_target(target: Path, force: bool) -> None:
    """Raise `WorkbenchError` unless something may be written to `target`; a checkpoint or an empty folder with `force`."""
    if not target.name or "\0" in str(target):
        raise WorkbenchError(
            f"{str(target)!r} is no place for a checkpoint: give a file or folder that is not there yet"
        )
    if not os.path.lexists(target):
        return
    if not force:
        raise WorkbenchError(f"{target} exists; give another path, or --force (force=True) to replace it")
    if target.is_symlink():
        raise WorkbenchError(f"{target} is a symbolic link: give the path that it leads to, or another")
    if target.is_dir() and (foreign := _foreign(target)):
        raise WorkbenchError(
            f"{target} holds {foreign}, which is no part of a checkpoint that is written here, and would be lost: give another path"
        )
    if not target.is_dir() and not target.is_file():
        raise WorkbenchError(f"{target} is neither a file nor a folder: give another path")


def move_into_place(partial: Path, path: Path) -> None:
    """Rename `partial` to `path`; what was there stays whole, at its place or beside it, until that is done."""
    if not os.path.lexists(path) or not (path.is_dir() or partial.is_dir()):
        partial.replace(path)
    elif _exchange(partial, path):
        _remove(partial)
    else:
        _by_way_of(partial, path, _aside(path))


def put_back(target: Path) -> None:
    """Undo what a run that was killed between two renames left: the old target, set aside."""
    aside = _aside(target)
    if not os.path.lexists(aside):
        return
    if os.path.lexists(target):
        _remove(aside)
    else:
        aside.rename(target)


def cannot_write(target: Path, error: OSError) -> WorkbenchError:
    """What a disk that is full, or any other, answered, as an error that names the target."""
    hint = ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = ": free some space, or write to another disk"
    elif error.errno == errno.EFBIG:
        hint = ": larger files are not allowed here"
    return WorkbenchError(f"{target} cannot be written: {error.strerror or error}{hint}; nothing was changed")


# ------------------------------------------------------------------------------------------------------


def _prefix(target: Path) -> str:
    return f".{target.name}.partial-"


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


def _remove_leftovers(target: Path) -> None:
    """A run holds a lock on its folder as long as it lives."""
    start = _prefix(target)
    for entry in os.scandir(target.parent):
        if entry.name.startswith(start) and entry.is_dir(follow_symlinks=False):
            lock = os.open(entry.path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(entry.path)
            except BlockingIOError:
                raise WorkbenchError(
                    f"{target} is being written by another run: wait for it, or give another path"
                ) from None
            finally:
                os.close(lock)


def _by_way_of(partial: Path, path: Path, aside: Path) -> None:
    _remove(aside)
    path.rename(aside)
    try:
        partial.rename(path)
    except OSError:
        aside.rename(path)
        raise
    _remove(aside)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names at once; False where system or file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _foreign(folder: Path) -> str | None:
    """A file or folder that is no part of a safetensors or torch_dist checkpoint."""
    names = sorted(entry.name for entry in os.scandir(folder))
    return next((name for name in names if name not in _PARTS and not name.endswith(_SUFFIXES)), None)


def _sync(path: Path) -> None:
    """Wait until a folder's names are on the disk; a file was waited for when it was closed."""
    if path.is_dir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _confirm(target: Path) -> None:
    try:
        _sync(target.parent)
    except OSError as error:
        raise WorkbenchError(
            f"{target} is in place, whole and compared, and the system could not say that its name is on the disk: "
            f"{error.strerror or error}"
        ) from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            path.unlink()
