"""Tensors of any pieces go into a file in row-major order, a block at a time, by the kernel where they are runs of a file."""

from __future__ import annotations

import errno
import os
import zlib

import pytest

from tests.checkpoint import stored
from workbench.checkpoint.buffers import MemoryBuffer
from workbench.checkpoint.converting import output
from workbench.checkpoint.converting.output import Output, parts
from workbench.checkpoint.tensors import StoredTensor, concatenated, contiguous

SMALL = 64


@pytest.fixture(params=["small blocks", "as shipped"])
def blocks(request, monkeypatch):
    if request.param == "small blocks":
        monkeypatch.setattr(output, "BLOCK", SMALL)
        monkeypatch.setattr(output, "_KERNEL", 16)


@pytest.mark.parametrize("name", stored.every_kind())
def test_every_tensor_in_row_major_order(tmp_path, blocks, name):
    tensor = stored.every_kind()[name]
    told: list[int] = []
    with Output(tmp_path / "a", told.append) as out:
        out.write(b"head")
        out.tensor(tensor)
        assert out.position == 4 + tensor.nbytes
    assert (tmp_path / "a").read_bytes() == b"head" + stored.bytes_of(tensor)
    assert sum(told) == tensor.nbytes == out.copied + out.gathered


@pytest.mark.parametrize("name", stored.every_kind())
def test_the_check_sum_is_of_the_bytes(tmp_path, blocks, name):
    tensor = stored.every_kind()[name]
    with Output(tmp_path / "a") as out:
        assert out.checked_tensor(tensor) == zlib.crc32(stored.bytes_of(tensor))
    assert (tmp_path / "a").read_bytes() == stored.bytes_of(tensor)


def test_no_part_is_larger_than_a_block(monkeypatch):
    monkeypatch.setattr(output, "BLOCK", SMALL)
    for tensor in stored.every_kind().values():
        sizes = [part.nbytes if isinstance(part, StoredTensor) else part[2] for part in parts(tensor)]
        assert max(sizes, default=0) <= SMALL
        assert sum(sizes) == tensor.nbytes


def test_pieces_that_are_runs_are_not_gathered(tmp_path):
    rows = [stored.in_file(tmp_path / str(number), (300, 400), seed=number) for number in range(3)]
    with Output(tmp_path / "a") as out:
        out.tensor(concatenated(rows))
    assert (out.copied, out.gathered) == (3 * 300 * 400 * 4, 0)
    assert (tmp_path / "a").read_bytes() == b"".join(map(stored.bytes_of, rows))


def test_the_kernel_copies_runs_of_files(tmp_path, monkeypatch):
    tensor = stored.in_file(tmp_path / "source", (1000, 1000))
    monkeypatch.setattr(os, "write", lambda *_: pytest.fail("nothing is written by this process"))
    with Output(tmp_path / "a") as out:
        out.tensor(tensor)
    monkeypatch.undo()
    assert (tmp_path / "a").read_bytes() == stored.bytes_of(tensor)


@pytest.mark.parametrize("answer", [OSError(errno.EXDEV, "another device"), 0])
def test_where_the_kernel_does_not_copy(tmp_path, monkeypatch, answer):
    tensor = stored.in_file(tmp_path / "source", (1000, 1000))

    def refusing(*_arguments):
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(os, "copy_file_range", refusing)
    with Output(tmp_path / "a") as out:
        out.tensor(tensor)
    assert (tmp_path / "a").read_bytes() == stored.bytes_of(tensor)


def test_a_full_disk_is_no_other_device(tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    tensor = stored.in_file(tmp_path / "source", (1000, 1000))
    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(OSError, match="No space left"), Output(tmp_path / "a") as out:
        out.tensor(tensor)


def test_a_whole_file(tmp_path, blocks):
    (tmp_path / "source").write_bytes(stored.random_bytes(1000).tobytes())
    (tmp_path / "empty").touch()
    with Output(tmp_path / "a") as out:
        out.file(tmp_path / "source")
        out.file(tmp_path / "empty")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "source").read_bytes()


def test_overwriting_what_is_pending_and_what_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "BLOCK", 8)
    with Output(tmp_path / "a") as out:
        out.write(b"0123456789")  # written, as it fills a block
        out.write(b"abcd")  # pending
        out.overwrite(2, b"XY")
        out.overwrite(11, b"Z")
        out.pad(8)
    assert (tmp_path / "a").read_bytes() == b"01XY456789aZcd\0\0"


def test_short_writes_are_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    data = stored.random_bytes(100).tobytes()
    with Output(tmp_path / "a") as out:
        out.write(data)
    assert (tmp_path / "a").read_bytes() == data


def test_an_existing_file_is_not_opened(tmp_path):
    (tmp_path / "a").write_bytes(b"kept")
    with pytest.raises(FileExistsError):
        Output(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"kept"


def test_many_pieces_are_looked_at_a_few_times_each(monkeypatch):
    looked, narrow = 0, StoredTensor.narrow

    def counting(self, axis, start, length):
        nonlocal looked
        looked += len(self.pieces)
        return narrow(self, axis, start, length)

    many = 4096
    data = MemoryBuffer(stored.random_bytes(many * 1024))
    tensor = concatenated([contiguous(data, 1024 * (many - 1 - number), (1, 256), "float32") for number in range(many)])
    monkeypatch.setattr(StoredTensor, "narrow", counting)
    assert len(list(parts(tensor))) == many
    assert looked < 40 * many  # each once a halving, twice; not once a piece
