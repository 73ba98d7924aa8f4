"""Bytes in files and in memory: looked at where they are, and an error where they are not."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from workbench.checkpoint import buffers
from workbench.checkpoint.buffers import FileBuffer, MemoryBuffer
from workbench.errors import WorkbenchError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)))
    return path


def test_a_view_of_a_file(file):
    data = FileBuffer(file)
    assert (data.size, data.where, repr(data)) == (200, str(file), f"FileBuffer({str(file)!r})")
    assert data.view(10, 5).tolist() == [10, 11, 12, 13, 14]
    assert data.view(0, 200).tobytes() == file.read_bytes()
    assert data.view(200, 0).size == 0
    assert not data.view(0, 1).flags.writeable


@pytest.mark.parametrize(("start", "length"), [(0, 201), (200, 1), (-1, 2), (5, -1), (2**70, 1)])
def test_outside_of_a_file(file, start, length):
    with pytest.raises(WorkbenchError, match="is cut short: it has 200 bytes"):
        FileBuffer(file).view(start, length)


def test_an_empty_file(file):
    file.write_bytes(b"")
    assert FileBuffer(file).view(0, 0).size == 0


def test_a_file_that_is_not_there(file, tmp_path):
    with pytest.raises(WorkbenchError, match="missing cannot be read: No such file or directory"):
        FileBuffer(tmp_path / "missing")
    data = FileBuffer(file)
    file.unlink()
    with pytest.raises(WorkbenchError, match="cannot be read: "):
        data.view(0, 1)


def test_a_file_that_shrank(file):
    before, mapped = FileBuffer(file), FileBuffer(file)
    os.truncate(file, 100)
    with pytest.raises(WorkbenchError, match="became shorter while it was read"):
        before.view(0, 1)
    os.truncate(file, 200)
    mapped = FileBuffer(file)
    assert mapped.view(0, 1).size == 1
    os.truncate(file, 100)  # now that it is mapped, which a touch beyond the end would not survive
    with pytest.raises(WorkbenchError, match="became shorter while it was read"):
        mapped.view(0, 1)


def test_a_file_that_was_replaced(file, tmp_path):
    old, other = FileBuffer(file), tmp_path / "other"
    other.write_bytes(b"x" * 200)
    kept = FileBuffer(file)
    assert kept.view(0, 1).tolist() == [0]
    other.rename(file)
    assert FileBuffer(file).view(0, 1).tobytes() == b"x"
    assert kept.view(1, 1).tolist() == [1]  # what was opened stays what it was
    buffers._maps.clear()
    with pytest.raises(WorkbenchError, match="was replaced while it was read: open it again"):
        old.view(0, 1)


def test_many_files_take_few_descriptors(tmp_path):
    paths = [tmp_path / str(number) for number in range(600)]
    for number, path in enumerate(paths):
        path.write_bytes(number.to_bytes(2, "little"))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for number, path in enumerate(paths):
        assert FileBuffer(path).view(0, 2).tobytes() == number.to_bytes(2, "little")
    gc.collect()
    assert len(buffers._maps) <= 256
    if before:
        assert len(os.listdir("/proc/self/fd")) - before <= 300


def test_a_view_outlives_its_place_among_the_mapped(file, tmp_path):
    view = FileBuffer(file).view(0, 200)
    for number in range(300):
        (tmp_path / str(number)).write_bytes(b"x")
        FileBuffer(tmp_path / str(number)).view(0, 1)
    assert view.tobytes() == bytes(range(200))


def test_memory():
    data = MemoryBuffer(np.arange(10, dtype=np.uint8), "somewhere")
    assert (data.size, data.where, data.view(3, 2).tolist()) == (10, "somewhere", [3, 4])
    with pytest.raises(AssertionError, match="outside of its memory"):
        data.view(9, 2)
