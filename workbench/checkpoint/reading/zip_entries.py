"""Where the entries of a zip archive lie, so that they can be mapped instead of extracted. Pure, but for the bytes it is given.

`torch.save` writes archives of uncompressed entries; the archive may be a part of a larger file, as the records of `.distcp`
files are. Anything else that a zip file may be is refused: encrypted entries, entries outside of the archive, two of one name.
Compressed ones, a few bytes of which can claim to be petabytes, are marked. Structures: APPNOTE.TXT 6.3.10, sections 4.3.7
to 4.3.16.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from workbench.checkpoint.buffers import Buffer
from workbench.errors import WorkbenchError

MAGIC = b"PK\x03\x04"

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_MOST_COMMENT = 2**16
_MOST_DIRECTORY = 2**30  # bytes: ten million entries
_IN_ZIP64 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry's bytes as they lie there: the first one, in the buffer, and how many. Compressed ones are for nobody to read."""

    start: int
    length: int
    compressed: bool = False


def entries_of(data: Buffer, start: int, length: int, where: str) -> dict[str, Entry]:
    """Name → place of every entry of the archive that is `length` bytes of `data` from `start` on.

    Raises `WorkbenchError`, which begins with `where`, for an archive that is damaged or not as torch writes them.
    """
    return _Archive(data, start, length, where).entries()


class _Archive:
    def __init__(self, data: Buffer, start: int, length: int, where: str) -> None:
        self.start, self.length, self.where = start, length, where
        self.view = memoryview(data.view(start, length))

    def entries(self) -> dict[str, Entry]:
        count, size, offset = self.directory()
        if size > _MOST_DIRECTORY or count * _CENTRAL.size > size:
            raise self.damage(f"its directory claims {count} entries in {size} bytes")
        directory = self.bytes(offset, size)
        found: dict[str, Entry] = {}
        at = 0
        for _ in range(count):
            name, entry, at = self.entry(directory, at, offset)
            if name in found:
                raise self.damage(f"two entries are called {name!r}")
            found[name] = entry
        return found

    def directory(self) -> tuple[int, int, int]:
        """Entries, bytes and first byte of the central directory."""
        tail_start = max(self.length - _END.size - _MOST_COMMENT, 0)
        tail = self.bytes(tail_start, self.length - tail_start)
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or at + _END.size > len(tail):
            raise self.damage("it is cut short: the directory at its end is missing")
        _, disk, first, here, count, size, offset, comment = _END.unpack_from(tail, at)
        if at + _END.size + comment != len(tail):
            raise self.damage("something follows its end")
        locator = tail_start + at - _LOCATOR.size
        if locator >= 0:
            magic, _, end64, _ = _LOCATOR.unpack(self.bytes(locator, _LOCATOR.size))
            if magic == b"PK\x06\x07":
                magic, _, _, _, disk, first, here, count, size, offset = _END64.unpack(self.bytes(end64, _END64.size))
                if magic != b"PK\x06\x06":
                    raise self.damage("its directory is not where it says")
        if disk or first or here != count:
            raise self.damage("it is one of several volumes")
        return count, size, offset

    def entry(self, directory: bytes, at: int, directory_offset: int) -> tuple[str, Entry, int]:
        if at + _CENTRAL.size > len(directory):
            raise self.damage("its directory is cut short")
        magic, _, _, flags, method, _, _, _, packed, size, names, extras, comments, _, _, _, offset = (
            _CENTRAL.unpack_from(directory, at)
        )
        end = at + _CENTRAL.size + names + extras + comments
        if magic != b"PK\x01\x02" or end > len(directory):
            raise self.damage("its directory is damaged")
        raw = directory[at + _CENTRAL.size : at + _CENTRAL.size + names]
        name = raw.decode("utf-8", "backslashreplace")
        if _IN_ZIP64 in (packed, size, offset):
            extra = directory[at + _CENTRAL.size + names : end - comments]
            size, packed, offset = self.large(name, extra, size, packed, offset)
        if flags & 1:
            raise self.damage(f"{name!r} in it is encrypted")
        header = self.bytes(offset, _LOCAL.size + len(raw))
        magic, *_, name_size, extra_size = _LOCAL.unpack_from(header)
        begin = offset + _LOCAL.size + name_size + extra_size
        if magic != MAGIC or name_size != len(raw) or not header.endswith(raw):
            raise self.damage(f"{name!r} is not where its directory says")
        if begin + packed > directory_offset:
            raise self.damage(
                f"{name!r} in it reaches beyond the archive's data: a size is wrong, or the file is cut short"
            )
        return name, Entry(self.start + begin, packed, bool(method) or packed != size), end

    def large(self, name: str, extra: bytes, *values: int) -> list[int]:
        """Sizes and offset that are too large for 32 bits: each is in the zip64 field, in this order."""
        at = 0
        while at + 4 <= len(extra):
            kind, length = struct.unpack_from("<2H", extra, at)
            if kind == 1:
                field = extra[at + 4 : at + 4 + length]
                wide = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
                found = [next(wide, -1) if value == _IN_ZIP64 else value for value in values]
                if -1 not in found:
                    return found
                break
            at += 4 + length
        raise self.damage(f"the size of {name!r} is missing")

    def bytes(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.length:
            raise self.damage("it is cut short, or says that something lies outside of it")
        return self.view[offset : offset + length].tobytes()

    def damage(self, why: str) -> WorkbenchError:
        return WorkbenchError(f"{self.where} cannot be read: {why}")
