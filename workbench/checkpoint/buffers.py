"""Where bytes lie: in a file, mapped when they are first looked at, or in memory. numpy only.

Nothing is copied: a view of a file is the file's own pages, which the kernel takes back when it needs the room.
"""

from __future__ import annotations

import mmap
import os
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np

from workbench.checkpoint.dtypes import Array
from workbench.errors import WorkbenchError

# Each mapping holds a file descriptor, of which a process has about a thousand.
_MOST_MAPPED = 256


class Buffer(Protocol):
    """Bytes that can be looked at without being copied."""

    @property
    def where(self) -> str:
        """What to call it in a message."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def view(self, start: int, length: int) -> Array:
        """`length` bytes from `start` on, as a read-only uint8 array."""
        ...


class FileBuffer:
    """The bytes of a file. Its size is taken once; a file that shrank since is an error, not a crash.

    Raises `WorkbenchError` that names the file when it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            found = path.stat()
        except OSError as error:
            raise WorkbenchError(f"{path} cannot be read: {error.strerror or error}") from error
        self._size = found.st_size
        # A file of the same name that was put in its place since is another one.
        self._key = (path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    @property
    def where(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def size(self) -> int:
        """Bytes of the file when it was opened."""
        return self._size

    def view(self, start: int, length: int) -> Array:
        """`length` bytes from `start` on; they stay mapped as long as the array lives."""
        if start < 0 or length < 0 or start + length > self._size:
            raise WorkbenchError(
                f"{self.path} is cut short: it has {self._size} bytes, and {start + length} are needed of it"
            )
        if length == 0:
            return np.empty(0, np.uint8)
        return np.frombuffer(_mapped(self._key), np.uint8, length, start)

    def __repr__(self) -> str:
        return f"FileBuffer({str(self.path)!r})"


class MemoryBuffer:
    """Bytes in memory, such as those of a live tensor; `array` is a flat uint8 array."""

    def __init__(self, array: Array, where: str = "memory") -> None:
        self._array, self._where = array, where

    @property
    def where(self) -> str:
        """What it is called."""
        return self._where

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self._array.size)

    def view(self, start: int, length: int) -> Array:
        """`length` bytes from `start` on."""
        assert 0 <= start <= start + length <= self._array.size, "the tensor lies outside of its memory"
        return self._array[start : start + length]


type _Key = tuple[Path, int, int, int, int]  # path, device, inode, size, time of change

_maps: OrderedDict[_Key, mmap.mmap] = OrderedDict()
_lock = Lock()


def _mapped(key: _Key) -> mmap.mmap:
    with _lock:
        path, device, inode, size, _ = key
        if key in _maps:
            _maps.move_to_end(key)
            # What is mapped beyond a file's end ends the process when it is touched; this asks the file's own size.
            if _maps[key].size() < size:
                raise WorkbenchError(f"{path} became shorter while it was read")
            return _maps[key]
        try:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                found = os.fstat(descriptor)
                if (found.st_dev, found.st_ino) != (device, inode):
                    raise WorkbenchError(f"{path} was replaced while it was read: open it again")
                if found.st_size < size:
                    raise WorkbenchError(f"{path} became shorter while it was read")
                made = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as error:
            if isinstance(error, WorkbenchError):
                raise
            raise WorkbenchError(f"{path} cannot be read: {error}") from error
        _maps[key] = made
        # What is still looked at stays mapped: its array holds the mapping.
        while len(_maps) > _MOST_MAPPED:
            _maps.popitem(last=False)
        return made
