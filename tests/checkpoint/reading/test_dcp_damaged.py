"""What is wrong or hostile in a PyTorch DCP folder is named; nothing in it is run."""

from __future__ import annotations

import io
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.distributed.checkpoint._extension import StreamTransformExtension
from torch.distributed.checkpoint.filesystem import SerializationFormat, _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
)

from tests.checkpoint.dcp_folders import save
from tests.checkpoint.strangers import Call
from workbench.checkpoint.reading.dcp import open_dcp
from workbench.checkpoint.reading.dcp_metadata import read_metadata
from workbench.checkpoint.reading.pickles import UnsafeCheckpoint
from workbench.errors import WorkbenchError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(5, dtype=torch.bfloat16), "step": 3}
    return save({"model": state}, tmp_path_factory.mktemp("dcp") / "small")


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copied"))


@pytest.fixture
def edited(copied: Path) -> Callable[[Callable[[Metadata], None]], Path]:
    """The folder after a change to its metadata."""

    def edit(change: Callable[[Metadata], None]) -> Path:
        metadata = pickle.loads((copied / ".metadata").read_bytes())
        change(metadata)
        (copied / ".metadata").write_bytes(pickle.dumps(metadata))
        return copied

    return edit


def place_of(metadata: Metadata, name: str) -> _StorageInfo:
    return next(info for index, info in metadata.storage_data.items() if index.fqn == name)


def refusal(path: Path, name: str | None = None) -> str:
    """Why a folder is not opened, or a tensor of it, which is, not read."""
    opened = open_dcp(path) if name is not None else None
    with pytest.raises(WorkbenchError) as caught:
        open_dcp(path) if opened is None or name is None else opened.read(name)
    return str(caught.value)


def test_opening_looks_at_no_data(copied):
    """Data files of zeros: names and shapes are there, reading says what is not."""
    for file in copied.glob("*.distcp"):
        file.write_bytes(bytes(file.stat().st_size))
    opened = open_dcp(copied)
    assert opened.shape("model.a") == (3, 4)
    with pytest.raises(WorkbenchError, match=r"__0_0\.distcp: model\.a cannot be read"):
        opened.read("model.a")


def test_replicas_in_the_metadata_are_one(edited):
    def repeat(metadata: Metadata) -> None:
        chunks = metadata.state_dict_metadata["model.a"].chunks
        chunks.append(chunks[0])

    assert len(open_dcp(edited(repeat))["model.a"].pieces) == 1


def test_leftovers_of_another_save_are_noted(copied):
    (copied / "__7_0.distcp").write_bytes(b"old")
    assert open_dcp(copied).notes == ("1 data file(s) that .metadata does not name were not looked at: __7_0.distcp",)


# -- what is wrong


def test_what_is_no_folder(tmp_path):
    assert (
        refusal(tmp_path / "x")
        == f"{tmp_path / 'x'} does not exist: a PyTorch DCP checkpoint is a folder with a .metadata"
    )
    (tmp_path / "__0.metadata").touch()
    assert refusal(tmp_path) == (
        f"{tmp_path} is no whole checkpoint: it has no .metadata; __0.metadata are of single ranks, and say nothing about the whole"
    )


def test_a_missing_shard(edited):
    def shrink(metadata: Metadata) -> None:
        metadata.state_dict_metadata["model.a"].chunks[0].sizes = torch.Size([2, 4])

    assert refusal(edited(shrink)) == "model.a has 12 elements, and its shards hold 8: a shard is missing"


def test_a_shard_outside(edited):
    def move(metadata: Metadata) -> None:
        offset = torch.Size([1, 0])
        metadata.state_dict_metadata["model.a"].chunks[0].offsets = offset
        info = metadata.storage_data.pop(MetadataIndex("model.a", torch.Size([0, 0])))
        metadata.storage_data[MetadataIndex("model.a", offset)] = info

    assert refusal(edited(move)) == "model.a is [3, 4], and a shard of it lies outside of that"


def test_a_shard_that_is_stored_nowhere(edited):
    path = edited(lambda metadata: metadata.storage_data.pop(MetadataIndex("model.a", torch.Size([0, 0]))))
    assert refusal(path) == (
        f"{path / '.metadata'} does not say where model.a is stored: its shard at [0, 0] is missing"
    )


def test_a_wrong_offset_into_another_tensor(edited):
    path = edited(
        lambda metadata: setattr(place_of(metadata, "model.a"), "offset", place_of(metadata, "model.b").offset)
    )
    said = refusal(path)
    assert said.startswith(f"{path / '.metadata'} puts model.")
    assert said.endswith("into the same bytes of __0_0.distcp: a place is wrong")
    assert "model.a" in said
    assert "model.b" in said


def test_a_wrong_offset_between_tensors(edited):
    def swap(metadata: Metadata) -> None:
        a, b = place_of(metadata, "model.a"), place_of(metadata, "model.b")
        (a.offset, a.length), (b.offset, b.length) = (b.offset, b.length), (a.offset, a.length)

    path = edited(swap)
    assert f"{path / '__0_0.distcp'}: model.a is [5] bfloat16 at byte " in refusal(path, "model.a")
    assert refusal(path, "model.a").endswith("and .metadata says [3, 4] float32: the place or the shape is wrong")


def test_an_offset_that_is_a_byte_off(edited):
    def shift(metadata: Metadata) -> None:
        info = place_of(metadata, "model.a")
        info.offset, info.length = info.offset + 1, info.length - 1

    path = edited(shift)
    assert refusal(path, "model.a").startswith(f"{path / '__0_0.distcp'}: model.a cannot be read: ")


def test_shapes_that_disagree(edited):
    def turn(metadata: Metadata) -> None:
        entry = metadata.state_dict_metadata["model.a"]
        entry.size = entry.chunks[0].sizes = torch.Size([4, 3])

    assert "model.a is [3, 4] float32 at byte" in refusal(edited(turn), "model.a")


def test_types_that_disagree(edited):
    def change(metadata: Metadata) -> None:
        metadata.state_dict_metadata["model.a"].properties.dtype = torch.int32

    assert "and .metadata says [3, 4] int32" in refusal(edited(change), "model.a")


@pytest.mark.parametrize("size", [(2**40, 2**10), (3, 2**50), (2**50, 2**50)])
def test_absurd_shapes_are_refused_before_memory_is_asked_for(edited, size):
    def grow(metadata: Metadata) -> None:
        entry = metadata.state_dict_metadata["model.a"]
        entry.size = entry.chunks[0].sizes = torch.Size(size)

    said = refusal(edited(grow))
    assert "model.a" in said
    assert "are stored of it" in said or "more than any disk holds" in said


def test_an_object_where_a_tensor_should_be(edited):
    def swap(metadata: Metadata) -> None:
        a, b = place_of(metadata, "model.a"), place_of(metadata, "model.step")
        (a.offset, a.length), (b.offset, b.length) = (b.offset, b.length), (a.offset, a.length)

    assert "model.a is a int at byte" in refusal(edited(swap), "model.a")


def test_a_data_file_that_is_missing_or_short(copied):
    file = copied / "__0_0.distcp"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    assert refusal(copied).startswith(
        f"{file} is cut short: it has {len(content) - 1} bytes, and the checkpoint needs "
    )
    file.unlink()
    assert refusal(copied) == f"{file} cannot be read: No such file or directory"


def test_a_file_cut_short_after_it_was_opened(copied):
    opened = open_dcp(copied)
    (copied / "__0_0.distcp").write_bytes(b"short")
    with pytest.raises(WorkbenchError, match=r"__0_0\.distcp"):
        opened.read("model.a")


class Backwards(StreamTransformExtension):
    """A transform that changes nothing; only its name matters."""

    @staticmethod
    def registry_name() -> str:
        return "stream.backwards"

    @staticmethod
    def from_descriptor(version: str) -> Backwards:
        return Backwards()

    def get_descriptor(self) -> str:
        return "stream.backwards/1"

    def transform_to(self, output: Any) -> Any:
        return output

    def transform_from(self, input: Any) -> Any:
        return input


def test_transformed_streams_are_refused(tmp_path):
    path = save({"a": torch.ones(3)}, tmp_path / "c", _extensions=[Backwards()])
    assert "a is stored through ['stream.backwards/1'] (compressed or encrypted), which cannot be read here" in refusal(
        path
    )


def test_data_files_of_safetensors_are_named(tmp_path):
    state = {"a": torch.ones(3), "b": torch.ones(4)}
    path = save(state, tmp_path / "c", serialization_format=SerializationFormat.SAFETENSORS)
    assert "into the same bytes of __0_0.distcp: it is a safetensors file, and .metadata does not say" in refusal(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.state_dict_metadata.__setitem__("model.a", 5), "model.a is neither a tensor nor an object"),
        (lambda m: m.state_dict_metadata.__setitem__(5, m.state_dict_metadata.pop("model.a")), "it calls a tensor 5"),
        (lambda m: setattr(m.state_dict_metadata["model.a"], "chunks", None), "model.a has no list of shards"),
        (lambda m: setattr(m.state_dict_metadata["model.a"], "chunks", [1]), "model.a has shards of another kind"),
        (lambda m: setattr(m.state_dict_metadata["model.a"], "size", (-3, 4)), "has the shape or offset (-3, 4)"),
        (lambda m: setattr(m.state_dict_metadata["model.a"], "size", (True, 4)), "has the shape or offset (True, 4)"),
        (lambda m: setattr(m.state_dict_metadata["model.a"], "size", (1,) * 40), "has the shape or offset (1, 1"),
        (lambda m: setattr(m.state_dict_metadata["model.a"], "size", torch.Size([12])), "with a shard of [3, 4]"),
        (lambda m: setattr(m.state_dict_metadata["model.a"], "properties", 1), "model.a has no element type"),
        (lambda m: setattr(m, "storage_data", [1]), "it holds no checkpoint metadata"),
        (lambda m: setattr(m, "storage_data", {"a": 1}), "what it says about places is of another kind"),
    ],
)
def test_a_metadata_of_another_form(edited, change, said):
    assert said in refusal(edited(change))


def test_overlapping_shards(edited):
    def overlap(metadata: Metadata) -> None:
        entry = metadata.state_dict_metadata["model.b"]
        entry.chunks = [ChunkStorageMetadata(torch.Size([at]), torch.Size([3])) for at in (0, 1)]
        info = metadata.storage_data.pop(MetadataIndex("model.b", torch.Size([0])))
        half = info.length // 2
        for at in (0, 1):
            metadata.storage_data[MetadataIndex("model.b", torch.Size([at]))] = _StorageInfo(
                info.relative_path, info.offset + at * half, half
            )

    assert refusal(edited(overlap)) == "model.b has shards that overlap: which of them holds is not said"


# -- what is hostile


def test_objects_and_tensors_are_not_run(copied, tmp_path):
    """The bytes of an object are handed out as bytes; a tensor's must be a tensor."""
    stream = io.BytesIO()
    torch.save(Call(os.mkdir, str(tmp_path / "trap")), stream)
    metadata = pickle.loads((copied / ".metadata").read_bytes())
    data = copied / "__0_0.distcp"
    at = data.stat().st_size
    data.write_bytes(data.read_bytes() + 2 * stream.getvalue())
    for number, name in enumerate(("model.step", "model.a")):
        info = place_of(metadata, name)
        info.offset, info.length = at + number * len(stream.getvalue()), len(stream.getvalue())
    (copied / ".metadata").write_bytes(pickle.dumps(metadata))
    opened = open_dcp(copied)
    assert opened.objects["model.step"].read() == stream.getvalue()
    with pytest.raises(UnsafeCheckpoint, match=r"__0_0\.distcp: model\.a asks for posix\.mkdir"):
        opened.read("model.a")
    assert not (tmp_path / "trap").exists()
    torch.load(io.BytesIO(stream.getvalue()), weights_only=False)
    assert (tmp_path / "trap").exists()  # it works, where it is run


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_folder_is_refused_or_read_right(folder, tmp_path, data):
    """One byte changed, or a file cut, anywhere: an error of ours, or what was saved where the damage does not reach."""
    target = tmp_path / "damaged"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    file = target / data.draw(st.sampled_from([".metadata", "__0_0.distcp"]))
    content = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if cut := data.draw(st.booleans()):
        del content[at:]
    else:
        content[at] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    try:
        opened = open_dcp(target)
        read = {name: opened.read(name) for name in opened.names}
    except WorkbenchError:
        return
    assert not cut
    if file.suffix == ".distcp":
        whole = open_dcp(folder)
        for name, (_, start, length) in ((name, place(folder, name)) for name in whole.names):
            assert (read[name].shape, read[name].dtype) == (whole.read(name).shape, whole.read(name).dtype)
            assert start <= at < start + length or torch.equal(read[name], whole.read(name))
    else:  # a name or an empty place may have changed; never what there is of numbers
        assert all(tensor.numel() <= 12 for tensor in read.values())


def place(path: Path, name: str) -> tuple[Any, int, int]:
    return read_metadata(path).tensors[name].shards[0].place
