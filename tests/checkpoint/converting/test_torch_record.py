"""The small zips that stand for `torch.save`: torch reads them, with `weights_only` and mapped, and so does any zip tool."""

from __future__ import annotations

import io
import zipfile

import pytest
import torch

from tests.checkpoint import stored
from workbench.checkpoint.converting.output import Output
from workbench.checkpoint.converting.torch_record import write_tensor, write_value

VALUES = {"iteration": 3, "x": (1, [2.5, None, "größer"], {"a": True}), "big": 2**70}


@pytest.mark.parametrize("name", stored.every_kind())
def test_torch_reads_a_tensor(tmp_path, name):
    tensor = stored.every_kind()[name]
    with Output(tmp_path / "a.pt") as out:
        assert write_tensor(out, tensor) == (0, out.position)
    for mapped in (True, False):
        found = torch.load(tmp_path / "a.pt", weights_only=True, mmap=mapped)
        assert (str(found.dtype), tuple(found.shape)) == (f"torch.{tensor.dtype}", tensor.shape)
        assert found.is_contiguous()
        data = found.reshape(-1).view(torch.uint8).numpy().tobytes() if found.numel() else b""
        assert data == stored.bytes_of(tensor)


def test_torch_reads_values(tmp_path):
    with Output(tmp_path / "a.pt") as out:
        write_value(out, VALUES)
    assert torch.load(tmp_path / "a.pt", weights_only=True) == VALUES


def test_a_row_of_records_in_one_file(tmp_path):
    # As in a .distcp file: each is a zip of its own, which begins where it is said to.
    tensors = list(stored.every_kind().values())[:6]
    with Output(tmp_path / "a") as out:
        out.write(b"something before")
        places = [write_tensor(out, tensor) for tensor in tensors]
        places.append(write_value(out, VALUES))
    data = (tmp_path / "a").read_bytes()
    for (start, length), tensor in zip(places, tensors, strict=False):
        assert start % 64 == 0
        found = torch.load(io.BytesIO(data[start : start + length]), weights_only=True)
        assert found.view(torch.uint8).numpy().tobytes() == stored.bytes_of(tensor)
    start, length = places[-1]
    assert torch.load(io.BytesIO(data[start : start + length]), weights_only=True) == VALUES


def test_it_is_a_sound_zip_as_torch_writes_it(tmp_path):
    tensor = stored.in_memory((5, 7), "bfloat16")
    with Output(tmp_path / "ours.pt") as out:
        write_tensor(out, tensor)
    torch.save(torch.load(tmp_path / "ours.pt"), tmp_path / "theirs.pt")
    with zipfile.ZipFile(tmp_path / "ours.pt") as ours, zipfile.ZipFile(tmp_path / "theirs.pt") as theirs:
        assert ours.testzip() is None  # every check sum is right
        members = {name.partition("/")[2]: theirs.read(name) for name in theirs.namelist()}
        del members[".data/serialization_id"]  # a digest of torch's own
        mine = {name.partition("/")[2]: ours.read(name) for name in ours.namelist()}
        assert mine.keys() == members.keys()
        assert {name: data for name, data in mine.items() if name != "data.pkl"} == {
            name: data for name, data in members.items() if name != "data.pkl"
        }
        (entry,) = (entry for entry in ours.infolist() if entry.filename.endswith("data/0"))
    raw = (tmp_path / "ours.pt").read_bytes()
    assert raw.index(stored.bytes_of(tensor)) % 64 == 0
    assert entry.compress_type == zipfile.ZIP_STORED


def test_a_record_that_a_zip_cannot_hold(tmp_path):
    tensor = stored.StoredTensor((2**31,), "int16", ())
    with Output(tmp_path / "a") as out, pytest.raises(AssertionError, match="several records"):
        write_tensor(out, tensor)
