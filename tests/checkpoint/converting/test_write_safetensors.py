"""What is written is read by the real `safetensors` library, and by the reader here, bit for bit."""

from __future__ import annotations

import json

import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoint import stored
from workbench.checkpoint.converting import write_safetensors as writer
from workbench.checkpoint.converting.write_safetensors import CODES, INDEX, write_safetensors, write_sharded
from workbench.checkpoint.reading.safetensors_file import open_safetensors
from workbench.checkpoint.tensors import StoredTensor
from workbench.errors import WorkbenchError


@pytest.fixture(scope="module")
def tensors():
    return {name: tensor for name, tensor in stored.every_kind().items() if tensor.dtype in CODES}


def same(found: torch.Tensor, wanted: StoredTensor) -> bool:
    flat = found.reshape(-1).view(torch.uint8).numpy().tobytes() if found.numel() else b""
    return (str(found.dtype), tuple(found.shape), flat) == (
        f"torch.{wanted.dtype}",
        wanted.shape,
        stored.bytes_of(wanted),
    )


def test_the_real_library_reads_every_type_and_shape(tmp_path, tensors):
    write_safetensors(tmp_path / "a.safetensors", tensors, {"format": "pt", "note": "größer"})
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt", "note": "größer"}
        assert set(opened.keys()) == set(tensors)
        assert [name for name in tensors if not same(opened.get_tensor(name), tensors[name])] == []


def test_the_data_is_aligned_and_without_gaps(tmp_path, tensors):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, tensors)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + length])
    assert "__metadata__" not in entries
    assert length % 8 == 0
    places = sorted(entry["data_offsets"] for entry in entries.values())
    assert [start for start, _ in places] == [0, *(end for _, end in places[:-1])]
    assert 8 + length + places[-1][1] == len(data)
    for name, entry in entries.items():
        assert entry["data_offsets"][0] % (stored.DTYPES[tensors[name].dtype].bytes) == 0


def test_as_the_real_library_writes_it(tmp_path):
    # The same order and the same bytes, so that a digest of the file is a digest of the content.
    tensors = {
        "b": stored.in_memory((3,), "float32"),
        "a": stored.in_memory((2, 2), "bfloat16"),
        "c": stored.in_memory((1,), "float32"),
    }
    write_safetensors(tmp_path / "ours.safetensors", tensors, {"format": "pt"})
    with safetensors.safe_open(tmp_path / "ours.safetensors", "pt") as opened:
        loaded = {name: opened.get_tensor(name) for name in list(opened.keys())}
    save_file(loaded, tmp_path / "theirs.safetensors", {"format": "pt"})
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


def test_no_tensors(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", {})
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as opened:
        assert list(opened.keys()) == []


def test_a_set_with_an_index(tmp_path, tensors):
    told: list[int] = []
    written = write_sharded(tmp_path, tensors, {"format": "pt"}, told.append, shard_bytes=600)
    assert [file.name for file in written.files][-1] == INDEX
    assert len(written.files) > 3
    assert sum(told) == sum(tensor.nbytes for tensor in tensors.values()) == written.copied + written.gathered
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(told)
    found = {}
    for file in written.files[:-1]:
        loaded = load_file(file)
        assert all(index["weight_map"][name] == file.name for name in loaded)
        found |= loaded
        assert (
            sum(tensors[name].nbytes for name in index["weight_map"] if index["weight_map"][name] == file.name) <= 600
        )
    assert found.keys() == index["weight_map"].keys() == tensors.keys()
    assert [name for name in tensors if not same(found[name], tensors[name])] == []
    assert open_safetensors(tmp_path).tensors.keys() == tensors.keys()


def test_one_file_is_enough(tmp_path, tensors):
    assert [file.name for file in write_sharded(tmp_path, tensors).files] == ["model.safetensors"]


@pytest.mark.parametrize("sharded", [True, False])
def test_what_the_format_cannot_hold_is_said_before_anything_is_written(tmp_path, sharded):
    tensors = {"fine": stored.in_memory((2,)), "x": stored.in_memory((2,), "complex128")}
    write = write_sharded if sharded else write_safetensors
    with pytest.raises(WorkbenchError, match=r"^x is complex128, which a safetensors file cannot hold \(1 such tensor"):
        write(tmp_path if sharded else tmp_path / "a.safetensors", tensors)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "said"), [("__metadata__", "called __metadata__"), ("\ud800", "a name that is no text")]
)
def test_names_that_the_format_cannot_hold(tmp_path, name, said):
    with pytest.raises(WorkbenchError, match=said):
        write_safetensors(tmp_path / "a.safetensors", {name: stored.in_memory((2,))})
    assert list(tmp_path.iterdir()) == []


def test_a_header_that_no_reader_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "MOST_HEADER", 100)
    tensors = {f"name {number}": stored.in_memory((2,)) for number in range(4)}
    with pytest.raises(WorkbenchError, match="give a folder, which gets several"):
        write_safetensors(tmp_path / "a.safetensors", tensors)


def test_a_set_keeps_its_headers_short(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_MOST_NAMES", 2)
    tensors = {f"name {number}": stored.in_memory((2,)) for number in range(5)}
    assert len(write_sharded(tmp_path, tensors).files) == 4
    assert open_safetensors(tmp_path).tensors.keys() == tensors.keys()
