"""Folders that megatron wrote are read as megatron reads them, bit for bit, and nothing in them is run."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoint.megatron_checkpoints import GPT_KINDS, KINDS, SPLITS, plain_tensors
from tests.checkpoint.sparse_checkpoints import half_a_trillion, write_sparse
from tests.checkpoint.strangers import Call, gadgets
from workbench.checkpoint.reading.pickles import UnsafeCheckpoint
from workbench.checkpoint.reading.torch_dist import open_torch_dist
from workbench.errors import WorkbenchError


def assert_reads_as_megatron(folder: Path) -> None:
    """The same names, shapes, types and bits; a region of each too."""
    opened, expected = open_torch_dist(folder), plain_tensors(folder)
    assert set(opened.names) == expected.keys()
    for name, tensor in expected.items():
        assert (opened.shape(name), opened.dtype(name)) == (tuple(tensor.shape), str(tensor.dtype)[6:])
        read = opened.read(name)
        assert read.view(torch.uint8).equal(tensor.contiguous().view(torch.uint8)) if tensor.dim() else read == tensor
        part = tuple(slice(size // 3, size // 3 + (size + 1) // 2) for size in tensor.shape)
        assert torch.equal(opened.read(name, part), tensor[part])


@pytest.fixture
def copied(megatron_saves, tmp_path) -> Path:
    return Path(shutil.copytree(megatron_saves("fused"), tmp_path / "copied"))


@pytest.mark.parametrize("kind", [*KINDS, *GPT_KINDS])
def test_what_megatron_wrote_is_read_as_megatron_reads_it(megatron_saves, kind):
    assert_reads_as_megatron(megatron_saves(kind))


@pytest.mark.ranks
@pytest.mark.parametrize("case", SPLITS)
def test_what_two_ranks_wrote_is_read_as_megatron_reads_it(ranked_saves, case):
    folder = ranked_saves(case)
    assert_reads_as_megatron(folder)
    # Replicas of data-parallel ranks are written by the first.
    writers = {path.name[:4] for path in folder.glob("*.distcp")}
    assert writers == ({"__0_"} if case == "data" else {"__0_", "__1_"})
    if case in ("tensor", "expert"):
        assert max(len(tensor.pieces) for tensor in open_torch_dist(folder).tensors.values()) > 1


def test_what_it_says_of_itself(megatron_saves):
    opened = open_torch_dist(megatron_saves("fused"))
    assert (opened.format, opened.where, opened.notes) == ("torch_dist", str(megatron_saves("fused")), ())
    assert opened.values["iteration"] == 1
    assert opened.values["workbench"] == {"pattern": "M*-MEG/*-", "extra": {"note": "fused"}}
    assert opened.values["optimizer.state.common_step"] == 1.0
    assert "optimizer.state.exp_avg.decoder.layers.1.self_attention.linear_qkv.weight" in opened.names
    assert not [name for name in opened.objects if "/" in name or name.startswith("common_state")]
    start = "decoder.layers.4.mlp.experts.experts.linear_fc1._extra_state"
    assert [name for name in opened.objects if name.startswith(start)] == [f"{start}.{expert}" for expert in range(4)]
    content = opened.objects["output_layer._extra_state"].read()
    assert torch.load(io.BytesIO(content), weights_only=True) == [None]


def test_layers_and_experts_along_axes(megatron_saves):
    opened = open_torch_dist(megatron_saves("gpt in layers"))
    assert opened.shape("decoder.layers.self_attention.linear_proj.weight") == (3, 64, 64)
    assert "decoder.layers.self_attention.linear_proj._extra_state.2" in opened.objects
    experts = open_torch_dist(megatron_saves("gpt experts"))
    assert experts.shape("decoder.layers.mlp.experts.experts.linear_fc1.weight") == (3, 4, 128, 64)


# -- where the checkpoint is


def test_the_folder_above_with_a_tracker(megatron_saves, tmp_path):
    shutil.copytree(megatron_saves("weights"), tmp_path / "iter_0000007")
    shutil.copytree(megatron_saves("weights"), tmp_path / "iter_0000009")
    tracker = tmp_path / "latest_checkpointed_iteration.txt"
    tracker.write_text("7\n")
    opened = open_torch_dist(tmp_path)
    assert opened.where == str(tmp_path / "iter_0000007")
    assert opened.notes == ("iter_0000007 was read, which latest_checkpointed_iteration.txt names",)
    tracker.write_text("release")
    with pytest.raises(WorkbenchError, match=f"{tracker} names release, which is not in {tmp_path}"):
        open_torch_dist(tmp_path)
    (tmp_path / "iter_0000009").rename(tmp_path / "release")
    assert open_torch_dist(tmp_path).where == str(tmp_path / "release")
    tracker.write_text("../elsewhere")
    with pytest.raises(WorkbenchError, match=r"holds '\.\./elsewhere', which is no iteration"):
        open_torch_dist(tmp_path)


def test_the_folder_above_without_a_tracker(megatron_saves, tmp_path):
    shutil.copytree(megatron_saves("weights"), tmp_path / "iter_0000010")
    (tmp_path / "iter_0000009").mkdir()
    opened = open_torch_dist(tmp_path)
    assert opened.where == str(tmp_path / "iter_0000010")
    assert opened.notes == (
        "iter_0000010 was read, the newest of 2 iterations: there is no latest_checkpointed_iteration.txt",
    )


def test_other_backends_are_refused(tmp_path):
    (tmp_path / "metadata.json").write_text(json.dumps({"sharded_backend": "zarr"}))
    with pytest.raises(WorkbenchError, match="names the format 'zarr': only torch_dist can be read"):
        open_torch_dist(tmp_path)


def test_a_folder_of_plain_dcp_is_read_as_that(megatron_saves, tmp_path):
    shutil.copytree(megatron_saves("weights"), tmp_path / "iter_0000001")
    (tmp_path / "iter_0000001" / "metadata.json").unlink()
    opened = open_torch_dist(tmp_path)
    assert opened.format == "dcp"
    assert "common_state/shard_0_1" in opened.objects


# -- older megatron's common.pt


def test_an_older_megatrons_arguments_are_plain_values(copied):
    from workbench.checkpoint.reading.dcp_metadata import read_metadata

    arguments = argparse.Namespace(
        num_layers=2, params_dtype=torch.bfloat16, path=Path("/data/tokens"), nested=[(1, "a")]
    )
    torch.save({"iteration": 77, "args": arguments, "seen": torch.arange(3)}, copied / "common.pt")
    opened = open_torch_dist(copied)
    assert opened.values["iteration"] == 77
    assert opened.values["args"] == {
        "num_layers": 2,
        "params_dtype": "torch.bfloat16",
        "path": "/data/tokens",
        "nested": [(1, "a")],
    }
    assert torch.equal(opened.read("seen"), torch.arange(3))
    assert set(opened.names) == {*read_metadata(copied).tensors, "seen"}


def test_a_tensor_that_is_there_twice(copied):
    name = open_torch_dist(copied).names[0]
    torch.save({name: torch.arange(3)}, copied / "common.pt")
    with pytest.raises(WorkbenchError, match=f"holds {name} twice"):
        open_torch_dist(copied)


# -- what is hostile


def saved_bytes(value: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def replace_object(folder: Path, key: str, content: bytes) -> None:
    """Put other bytes in the place of a stored object."""
    data = folder / "__0_0.distcp"
    start = data.stat().st_size
    data.write_bytes(data.read_bytes() + content)
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    for index, info in metadata.storage_data.items():
        if index.fqn == key:
            info.offset, info.length = start, len(content)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_common_pt_is_not_run(copied, tmp_path, zipped):
    torch.save(
        {"args": Call(os.mkdir, str(tmp_path / "trap"))}, copied / "common.pt", _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(UnsafeCheckpoint, match=r"common\.pt asks for posix\.mkdir"):
        open_torch_dist(copied)
    assert not (tmp_path / "trap").exists()
    torch.load(copied / "common.pt", weights_only=False)
    assert (tmp_path / "trap").exists()  # it works, where it is run


def test_common_state_is_not_run(copied, tmp_path):
    replace_object(
        copied, "common_state/shard_0_1", saved_bytes([{"iteration": Call(os.mkdir, str(tmp_path / "trap"))}])
    )
    with pytest.raises(UnsafeCheckpoint, match=r"__0_0\.distcp: common_state/shard_0_1 asks for posix\.mkdir"):
        open_torch_dist(copied)
    assert not (tmp_path / "trap").exists()


def test_extra_states_are_bytes(copied, tmp_path):
    content = saved_bytes([Call(os.mkdir, str(tmp_path / "trap"))])
    replace_object(copied, "output_layer._extra_state/shard_0_1", content)
    assert open_torch_dist(copied).objects["output_layer._extra_state"].read() == content
    assert not (tmp_path / "trap").exists()


def test_a_tensor_is_not_run(copied, tmp_path):
    """The slice of a tensor holds another pickle: opening does not look, reading refuses."""
    metadata = pickle.loads((copied / ".metadata").read_bytes())
    index, info = next(
        (index, info)
        for index, info in metadata.storage_data.items()
        if index.fqn == "embedding.word_embeddings.weight"
    )
    content = saved_bytes(Call(os.mkdir, str(tmp_path / "trap")))
    data = bytearray((copied / info.relative_path).read_bytes())
    data[info.offset : info.offset + info.length] = content.ljust(info.length, b"\0")
    (copied / info.relative_path).write_bytes(data)
    opened = open_torch_dist(copied)
    # The zip ends before the slice does, so that it is refused before its pickle is looked at; then with its own length.
    with pytest.raises(WorkbenchError, match=r"__0_0\.distcp: embedding\.word_embeddings\.weight cannot be read"):
        opened.read(index.fqn)
    assert not (tmp_path / "trap").exists()


def hide_in_metadata(folder: Path, what: Any) -> None:
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    metadata.planner_data = what
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


def hide_in_common_pt(folder: Path, what: Any) -> None:
    torch.save({"iteration": 1, "args": argparse.Namespace(hidden=what)}, folder / "common.pt")


def hide_in_common_state(folder: Path, what: Any) -> None:
    replace_object(folder, "common_state/shard_0_1", saved_bytes([{"args": what}]))


def hide_in_extra_state(folder: Path, what: Any) -> None:
    replace_object(folder, "output_layer._extra_state/shard_0_1", saved_bytes([what]))


@pytest.mark.parametrize("gadget", gadgets(Path("canary")))
@pytest.mark.parametrize("hide", [hide_in_metadata, hide_in_common_pt, hide_in_common_state, hide_in_extra_state])
def test_no_gadget_runs_wherever_it_hides(copied, tmp_path, gadget, hide):
    canary = tmp_path / "canary"
    hide(copied, gadgets(canary)[gadget])
    if hide is hide_in_extra_state:  # bytes, which are handed on and never loaded
        assert open_torch_dist(copied).objects["output_layer._extra_state"].read()
    else:
        with pytest.raises(UnsafeCheckpoint, match="loading it could run code of whoever wrote it; nothing was loaded"):
            open_torch_dist(copied)
    assert not canary.exists()


@pytest.mark.parametrize("value", [{}, [1, 2], {"iteration": 1}, 5])
def test_a_common_state_of_another_form(copied, value):
    replace_object(copied, "common_state/shard_0_1", saved_bytes(value))
    with pytest.raises(WorkbenchError, match="common_state/shard_0_1 is not the list of one"):
        open_torch_dist(copied)


# -- what is large


def test_550_billion_parameters_are_opened_without_a_look_at_them(tmp_path):
    """More data than the disk has room for, in holes: names, shapes and counts are there, and not a block of data is."""
    path = write_sparse(tmp_path / "large", half_a_trillion())
    opened = open_torch_dist(path)
    assert opened.elements > 548 * 10**9
    assert opened.nbytes == 2 * opened.elements
    assert opened.shape("decoder.layers.59.mlp.experts.experts.linear_fc2.weight") == (512, 4096, 2176)
    assert len(opened["decoder.layers.59.mlp.experts.experts.linear_fc2.weight"].pieces) == 64
    assert opened.values["iteration"] == 1000
    assert sum(file.stat().st_blocks for file in path.glob("*.distcp")) == 0
    with pytest.raises(WorkbenchError, match=r"distcp: decoder\.layers\.0\.mixer\.small0\.weight cannot be read"):
        opened.read("decoder.layers.0.mixer.small0.weight")
