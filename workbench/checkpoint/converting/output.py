"""A file that is being written: bytes, and tensors block by block in their row-major order. numpy only.

Memory is bounded by a block, whatever the size of a tensor and whatever pieces it is in. A tensor, or a part of it, that is
one run of a file is copied by the kernel, which takes the bytes as they are (and shares them, where the file system can).
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from workbench.checkpoint.buffers import Buffer, FileBuffer
from workbench.checkpoint.dtypes import dtype_of
from workbench.checkpoint.tensors import StoredTensor

type Progress = Callable[[int], None]  # called with the bytes that were written since

BLOCK = 8 * 2**20
_KERNEL = 2**18  # from here on asking the kernel is cheaper than a write
# What says that the kernel does not copy between these two files: another device, or a file system that cannot.
_NO_KERNEL_COPY = {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF, errno.EPERM}


@dataclass(frozen=True)
class Written:
    """The files that were written, and how: bytes taken over as runs of a file, bytes put together from pieces, and bytes that
    are shared with another file."""

    files: tuple[Path, ...]
    copied: int = 0
    gathered: int = 0
    linked: int = 0


class Output:
    """A new file; `position` is its length so far. Closing it waits until it is on the disk.

    `copied` counts the bytes that were taken over as one run of a file, `gathered` those put together from pieces. Raises
    `OSError` where the disk does.
    """

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        self.position = self.copied = self.gathered = 0
        self._progress = progress or (lambda _bytes: None)
        self._pending = bytearray()
        self._sources: dict[Path, int] = {}
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)

    def write(self, data: Any) -> None:
        """Append bytes, or anything that has them in one run."""
        view = memoryview(data).cast("B")
        self.position += len(view)
        if len(view) < _KERNEL:
            self._pending += view
            if len(self._pending) >= BLOCK:
                self._flush()
            return
        self._flush()
        self._write(view)

    def tensor(self, tensor: StoredTensor) -> None:
        """Append the elements of a tensor in row-major order."""
        for part in parts(tensor):
            if isinstance(part, StoredTensor):
                self.gathered += part.nbytes
                self.write(part.bits().tobytes())
                self._progress(part.nbytes)
            else:
                self._run(*part)

    def checked_tensor(self, tensor: StoredTensor) -> int:
        """The same; returns the CRC-32 of the bytes, for which every byte has to be looked at."""
        checksum = 0
        for part in parts(tensor):
            if isinstance(part, StoredTensor):
                block: Any = part.bits().tobytes()
                self.gathered += len(block)
            else:
                data, start, length = part
                block = data.view(start, length)
                self.copied += length
            checksum = zlib.crc32(block, checksum)
            self.write(block)
            self._progress(len(block))
        return checksum

    def file(self, path: Path) -> None:
        """Append a whole file."""
        data = FileBuffer(path)
        for start in range(0, data.size, BLOCK):
            self._run(data, start, min(BLOCK, data.size - start))

    def overwrite(self, at: int, data: bytes) -> None:
        """Put bytes where others were written before."""
        assert at + len(data) <= self.position, "only what was written is overwritten"
        pending = at - (self.position - len(self._pending))
        if pending >= 0:
            self._pending[pending : pending + len(data)] = data
            return
        self._flush()
        while data:
            written = os.pwrite(self._descriptor, data, at)
            data, at = data[written:], at + written

    def pad(self, multiple: int, with_byte: bytes = b"\0") -> None:
        """Append bytes until the position is a multiple."""
        self.write(with_byte * (-self.position % multiple))

    def close(self) -> None:
        """Write what is pending, and wait for the disk."""
        try:
            self._flush()
            os.fsync(self._descriptor)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close without waiting; for a file that will be removed."""
        for descriptor in (self._descriptor, *self._sources.values()):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor, self._sources = -1, {}

    def __enter__(self) -> Output:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    # --------------------------------------------------------------------------------------------------

    def _run(self, data: Buffer, start: int, length: int) -> None:
        self.copied += length
        done = 0
        if (run := getattr(data, "run", None)) is not None:  # a shard knows where in its file it begins
            data, start = run[0], run[1] + start
        if isinstance(data, FileBuffer) and length >= _KERNEL:
            self._flush()
            done = self._by_kernel(data, start, length)
            self.position += done
        if done < length:
            self.write(data.view(start + done, length - done))
        self._progress(length)

    def _by_kernel(self, data: FileBuffer, start: int, length: int) -> int:
        """Bytes that the kernel copied: all, or as many as it would."""
        source = self._sources.get(data.path)
        if source is None:
            if len(self._sources) >= 64:
                os.close(self._sources.pop(next(iter(self._sources))))
            source = self._sources[data.path] = os.open(data.path, os.O_RDONLY)
        done = 0
        while done < length:
            try:
                copied = os.copy_file_range(source, self._descriptor, length - done, start + done)
            except OSError as error:
                if error.errno not in _NO_KERNEL_COPY:
                    raise
                return done
            if copied == 0:
                return done
            done += copied
        return done

    def _flush(self) -> None:
        if self._pending:
            self._write(memoryview(self._pending))
            self._pending = bytearray()

    def _write(self, view: memoryview) -> None:
        while view:
            view = view[os.write(self._descriptor, view) :]


def parts(tensor: StoredTensor) -> Iterator[tuple[Buffer, int, int] | StoredTensor]:
    """A tensor in row-major order, as runs of bytes (buffer, start, length) and as parts to gather, none above a block.

    A tensor is halved along its first axis, where a piece ends if one does, until a part is one or the other: each
    piece is looked at a few times, however many there are.
    """
    stack = [tensor]
    while stack:
        part = stack.pop()
        if part.elements == 0:
            continue
        run = part.run
        if run is not None:
            data, start = run
            for at in range(0, part.nbytes, BLOCK):
                yield data, start + at, min(BLOCK, part.nbytes - at)
            continue
        axis = next((axis for axis, size in enumerate(part.shape) if size > 1), None)
        cut = None if axis is None else _cut(part, axis)
        if axis is None or cut is None:
            yield part
        else:
            stack += [part.narrow(axis, cut, part.shape[axis] - cut), part.narrow(axis, 0, cut)]


def _cut(part: StoredTensor, axis: int) -> int | None:
    """Where to halve: the end of a piece that is nearest to the middle; None for a small part that no piece's end divides."""
    size, small = part.shape[axis], part.nbytes <= BLOCK
    if small and part.nbytes <= 64 * dtype_of(part.dtype).bytes * len(part.pieces):
        return None  # tiny pieces: quicker gathered
    ends = {piece.offset[axis] for piece in part.pieces} - {0}
    if ends:
        return min(ends, key=lambda end: abs(2 * end - size))
    return None if small else size // 2
