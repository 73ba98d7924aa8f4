"""Where a zip's entries lie: what Python's zipfile finds, and a refusal for everything that an archive can lie about."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

import numpy as np
import pytest

from workbench.checkpoint.buffers import MemoryBuffer
from workbench.checkpoint.reading.zip_entries import Entry, entries_of
from workbench.errors import WorkbenchError

CONTENT = {"a/data.pkl": b"pickle", "a/data/0": bytes(range(256)), "a/é": b"", "a/version": b"3\n"}


def archive(content: dict[str, bytes] = CONTENT, **options: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as made:
        for name, data in content.items():
            made.writestr(name, data)
    return stream.getvalue()


def read(data: bytes, start: int = 0, length: int | None = None) -> dict[str, Entry]:
    held = MemoryBuffer(np.frombuffer(data, np.uint8))
    return entries_of(held, start, len(data) - start if length is None else length, "file")


def refusal(data: bytes) -> str:
    with pytest.raises(WorkbenchError) as caught:
        read(data)
    assert str(caught.value).startswith("file cannot be read: ")
    return str(caught.value)


def contents(data: bytes, entries: dict[str, Entry]) -> dict[str, bytes]:
    return {name: data[entry.start : entry.start + entry.length] for name, entry in entries.items()}


def patched(data: bytes, at: int, format: str, value: int) -> bytes:
    return data[:at] + struct.pack(format, value) + data[at + struct.calcsize(format) :]


def central(data: bytes, entry: int = 0) -> int:
    """Where the directory's record of an entry is."""
    at = data.index(b"PK\1\2")
    for _ in range(entry):
        at = data.index(b"PK\1\2", at + 1)
    return at


def end(data: bytes) -> int:
    return data.rindex(b"PK\5\6")


def test_entries():
    data = archive()
    assert contents(data, read(data)) == CONTENT


def test_a_part_of_something_larger():
    data = archive()
    whole = b"before" + data + b"after"
    assert contents(whole, read(whole, 6, len(data))) == CONTENT


def test_a_comment():
    data = archive()
    data = patched(data, len(data) - 2, "<H", 5) + b"12345"
    assert contents(data, read(data)) == CONTENT


def zip64(data: bytes) -> bytes:
    """The same archive with every size and place of the first entry, and those of the directory, in 64 bits."""
    at, last = central(data), end(data)
    names = struct.unpack_from("<H", data, at + 28)[0]
    packed, size = struct.unpack_from("<2I", data, at + 20)
    offset = struct.unpack_from("<I", data, at + 42)[0]
    field = struct.pack("<2H2H3Q", 7, 0, 1, 24, size, packed, offset)  # an unknown field before it
    record = bytearray(data[at : at + 46 + names])
    struct.pack_into("<2I", record, 20, 2**32 - 1, 2**32 - 1)
    struct.pack_into("<H", record, 30, len(field))
    struct.pack_into("<I", record, 42, 2**32 - 1)
    directory = bytes(record) + field + data[at + 46 + names : last]
    count = struct.unpack_from("<H", data, last + 10)[0]
    record64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), at)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at + len(directory), 1)
    tail = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1, 0)
    return data[:at] + directory + record64 + locator + tail


def test_sizes_in_64_bits():
    data = zip64(archive())
    assert zipfile.ZipFile(io.BytesIO(data)).read("a/data.pkl") == b"pickle"
    assert contents(data, read(data)) == CONTENT
    lacking = data.replace(struct.pack("<2H3Q", 1, 24, 6, 6, 0), struct.pack("<2H3Q", 2, 24, 6, 6, 0))
    assert "the size of 'a/data.pkl' is missing" in refusal(lacking)
    record = data.rindex(b"PK\6\6")
    assert "its directory is not where it says" in refusal(data[:record] + b"PK\6\5" + data[record + 4 :])


def test_a_bomb_is_marked_and_not_unpacked():
    data = archive({"a/data.pkl": b"0" * 10_000_000}, compression=zipfile.ZIP_DEFLATED)
    (entry,) = read(data).values()
    assert entry.compressed
    assert entry.length < 100_000
    stored = archive()
    assert not any(entry.compressed for entry in read(stored).values())
    # The directory claims another size than there is, without a method of compression.
    assert read(patched(stored, central(stored) + 24, "<I", 2**31))["a/data.pkl"].compressed


@pytest.mark.parametrize("size", [2**31, 2**32 - 2])
def test_a_size_that_is_not_there(size):
    data = archive()
    wrong = patched(patched(data, central(data) + 20, "<I", size), central(data) + 24, "<I", size)
    assert "'a/data.pkl' in it reaches beyond the archive's data" in refusal(wrong)


def test_an_entry_reaches_into_the_directory():
    data = archive({"a": b"1234"})
    for wrong in (5, 6):
        longer = patched(patched(data, central(data) + 20, "<I", wrong), central(data) + 24, "<I", wrong)
        assert "reaches beyond the archive's data" in refusal(longer)


@pytest.mark.parametrize("offset", [1, 40, 2**31])
def test_a_place_that_is_none(offset):
    data = archive()
    assert "cannot be read: " in refusal(patched(data, central(data) + 42, "<I", offset))


def test_names_that_disagree():
    data = archive()
    assert "'a/data.pkl' is not where its directory says" in refusal(data.replace(b"a/data.pkl", b"a/data.pkL", 1))


def test_two_of_one_name():
    data = archive({"a": b"1", "b": b"2"}).replace(b"b", b"a")
    assert refusal(data).endswith("two entries are called 'a'")


def test_an_encrypted_entry():
    data = archive()
    assert refusal(patched(data, central(data) + 8, "<H", 1)).endswith("'a/data.pkl' in it is encrypted")


def test_several_volumes():
    data = archive()
    for at in (4, 6, 8):
        assert refusal(patched(data, end(data) + at, "<H", 3)).endswith("it is one of several volumes")


@pytest.mark.parametrize("count", [5, 60_000])
def test_a_count_that_is_not_there(count):
    data = archive()
    wrong = patched(patched(data, end(data) + 8, "<H", count), end(data) + 10, "<H", count)
    assert "director" in refusal(wrong)


@pytest.mark.parametrize("size", [0, 1, 100, 2**31])
def test_a_directory_of_another_size(size):
    data = archive()
    refusal(patched(data, end(data) + 12, "<I", size))


@pytest.mark.parametrize("offset", [0, 7, 2**31])
def test_a_directory_elsewhere(offset):
    data = archive()
    refusal(patched(data, end(data) + 16, "<I", offset))


def test_something_behind_the_end():
    assert refusal(archive() + b"x").endswith("something follows its end")


def test_cut_anywhere():
    data = archive()
    for length in range(len(data)):
        refusal(data[:length])
    for length in range(len(data)):
        with pytest.raises(WorkbenchError):
            read(data, 0, length)


def test_an_archive_of_many():
    content = {f"a/data/{number}": b"x" for number in range(70_000)}  # more than 16 bits count
    data = archive(content)
    assert contents(data, read(data)) == content
