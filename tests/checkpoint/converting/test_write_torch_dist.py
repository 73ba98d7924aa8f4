"""A folder written here is read by torch's DCP, by megatron's own loader, and by the reader here, bit for bit."""

from __future__ import annotations

import json

import pytest
import torch
from torch.distributed import checkpoint as dcp

from tests.checkpoint import stored
from tests.checkpoint.megatron_checkpoints import plain_tensors
from workbench.checkpoint.buffers import FileBuffer
from workbench.checkpoint.converting.extra_states import sharded_axes
from workbench.checkpoint.converting.write_torch_dist import write_torch_dist
from workbench.checkpoint.reading.torch_dist import open_torch_dist
from workbench.checkpoint.source import StoredObject
from workbench.checkpoint.tensors import StoredTensor, stacked

LAYERS = "decoder.layers.mlp.experts.experts.linear_fc1.weight"


@pytest.fixture
def tensors():
    layers = stacked(
        [stacked([stored.in_memory((6, 4), seed=10 * layer + expert) for expert in range(3)]) for layer in range(2)]
    )
    return stored.every_kind() | {LAYERS: layers}


def data_of(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


@pytest.mark.parametrize("sizes", [{}, {"record_bytes": 40, "file_bytes": 3000}, {"record_bytes": 1}])
def test_torch_reads_it(tmp_path, tensors, sizes):
    told: list[int] = []
    written = write_torch_dist(tmp_path, tensors, sharded_axes=sharded_axes, progress=told.append, **sizes)
    assert sum(told) == sum(tensor.nbytes for tensor in tensors.values()) == written.copied + written.gathered
    state = {name: torch.empty(each.shape, dtype=getattr(torch, each.dtype)) for name, each in tensors.items()}
    dcp.load(state, storage_reader=dcp.FileSystemReader(tmp_path), no_dist=True)
    assert [name for name, each in tensors.items() if data_of(state[name]) != stored.bytes_of(each)] == []


def test_megatron_reads_it(tmp_path, tensors):
    write_torch_dist(tmp_path, tensors, common={"iteration": 5}, sharded_axes=sharded_axes)
    found = plain_tensors(tmp_path)
    assert [name for name, each in tensors.items() if data_of(found[name]) != stored.bytes_of(each)] == []
    assert json.loads((tmp_path / "metadata.json").read_text()) == {
        "sharded_backend": "torch_dist",
        "sharded_backend_version": 1,
    }


def test_the_reader_here_reads_it(tmp_path, tensors):
    write_torch_dist(tmp_path, tensors, common={"iteration": 5}, sharded_axes=sharded_axes, record_bytes=100)
    found = open_torch_dist(tmp_path)
    assert (found.values["iteration"], found.notes) == (5, ())
    assert list(found.tensors) == list(tensors)
    assert [name for name, each in tensors.items() if found[name].bits().tobytes() != stored.bytes_of(each)] == []


def test_an_entry_of_a_layer_or_expert_axis_is_a_record(tmp_path, tensors):
    write_torch_dist(tmp_path, tensors, sharded_axes=sharded_axes)
    chunks = dcp.FileSystemReader(tmp_path).read_metadata().state_dict_metadata[LAYERS].chunks
    assert [tuple(chunk.sizes) for chunk in chunks] == [(1, 1, 6, 4)] * 6
    assert [tuple(chunk.offsets)[:2] for chunk in chunks] == [
        (layer, expert) for layer in range(2) for expert in range(3)
    ]


def test_large_tensors_are_cut_along_the_first_axis_that_can_be(tmp_path):
    write_torch_dist(tmp_path, {"a": stored.in_memory((5, 10))}, record_bytes=100)
    chunks = dcp.FileSystemReader(tmp_path).read_metadata().state_dict_metadata["a"].chunks
    assert [tuple(chunk.sizes) for chunk in chunks] == [(2, 10), (2, 10), (1, 10)]
    (tmp_path / "rows").mkdir()
    write_torch_dist(tmp_path / "rows", {"a": stored.in_memory((2, 30))}, record_bytes=100)
    chunks = dcp.FileSystemReader(tmp_path / "rows").read_metadata().state_dict_metadata["a"].chunks
    assert [tuple(chunk.sizes) for chunk in chunks] == [(1, 25), (1, 5), (1, 25), (1, 5)]


def test_objects_are_carried_as_bytes(tmp_path):
    torch.save([{"scale": 2.0}], tmp_path / "object")
    data = FileBuffer(tmp_path / "object")
    objects = {"a._extra_state/shard_0_1": StoredObject(data, 0, data.size), "b._extra_state/shard_0_1": None}
    folder = tmp_path / "c"
    folder.mkdir()
    write_torch_dist(folder, {"a.weight": stored.in_memory((2,))}, objects=objects)
    found = open_torch_dist(folder).objects
    assert [entry.read() == (tmp_path / "object").read_bytes() for entry in found.values()] == [True, False]
    state = dict.fromkeys(objects)
    dcp.load(state, storage_reader=dcp.FileSystemReader(folder), no_dist=True)
    assert list(state.values()) == [[{"scale": 2.0}], [None]]


def test_a_common_file_as_it_was(tmp_path):
    torch.save({"iteration": 9, "args": None}, tmp_path / "common.pt")
    data = FileBuffer(tmp_path / "common.pt")
    folder = tmp_path / "c"
    folder.mkdir()
    write_torch_dist(folder, {}, common=StoredObject(data, 0, data.size))
    assert (folder / "common.pt").read_bytes() == (tmp_path / "common.pt").read_bytes()


def test_a_failure_leaves_no_open_file(tmp_path):
    broken = StoredTensor((2, 2), "no such type", ())
    with pytest.raises(ValueError, match="no such type"):
        write_torch_dist(tmp_path, {"fine": stored.in_memory((2,)), "broken": broken})
    assert not (tmp_path / ".metadata").exists()
