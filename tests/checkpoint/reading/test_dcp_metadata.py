"""What `.metadata` says is checked before anything uses it: strangers' globals, places outside, files cut short."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex

from tests.checkpoint.strangers import Call
from workbench.checkpoint.reading.dcp_metadata import ALLOWED
from workbench.checkpoint.reading.pickles import UnsafeCheckpoint
from workbench.checkpoint.reading.torch_dist import check_folder
from workbench.errors import WorkbenchError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint"
    path.mkdir()
    (path / "metadata.json").write_text(json.dumps({"sharded_backend": "torch_dist"}))
    (path / "__0_0.distcp").write_bytes(b"\0" * 100)
    write(path, storage())
    return path


def storage(name: Any = "__0_0.distcp", offset: Any = 60, length: Any = 40) -> Metadata:
    return Metadata({}, storage_data={MetadataIndex("a.weight"): _StorageInfo(name, offset, length)})


def write(path: Path, content: Any) -> None:
    (path / ".metadata").write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))


def refusal(path: Path) -> str:
    with pytest.raises(WorkbenchError) as caught:
        check_folder(path)
    return str(caught.value)


def test_a_whole_checkpoint_passes(folder):
    check_folder(folder)


def test_a_call_hidden_in_the_metadata_is_refused_and_not_made(folder, tmp_path):
    trap = tmp_path / "trap"
    write(folder, Metadata({}, planner_data=Call(os.mkdir, str(trap))))
    with pytest.raises(UnsafeCheckpoint) as caught:
        check_folder(folder)
    assert not trap.exists()
    assert (caught.value.file, caught.value.name) == (folder / ".metadata", f"{os.mkdir.__module__}.mkdir")
    assert str(caught.value) == (
        f"{folder / '.metadata'} asks for posix.mkdir, which no checkpoint needs: loading it could run code of whoever "
        "wrote it; nothing was loaded"
    )
    # The trap works: it is torch's way of reading that springs it.
    pickle.loads((folder / ".metadata").read_bytes())
    assert trap.is_dir()


@pytest.mark.parametrize(
    ("name", "pickled"),
    [
        ("builtins.eval", b"cbuiltins\neval\n(S'1'\ntR."),
        ("os.system", b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."),
        ("builtins.getattr", b"cbuiltins\ngetattr\n."),
        ("torch.load", b"ctorch\nload\n."),
        ("torch.serialization.load", b"ctorch.serialization\nload\n."),
        ("torch.Size.__class__", b"\x80\x04\x8c\x05torch\x8c\x0eSize.__class__\x93."),
        ("torch._utils._rebuild_tensor_v2", b"ctorch._utils\n_rebuild_tensor_v2\n."),
    ],
)
def test_every_way_to_name_a_global_is_refused(folder, name, pickled):
    write(folder, pickled)
    assert f"asks for {name}, which no checkpoint needs" in refusal(folder)


def test_an_allowed_class_cannot_be_changed(folder):
    # BUILD on the class itself, not on one made of it.
    write(folder, b"ctorch.distributed.checkpoint.metadata\nMetadata\n}S'__setstate__'\nNsb.")
    assert ".metadata cannot be read: TypeError" in refusal(folder)


def test_only_data_is_allowed():
    assert {module.split(".")[0] for module, _ in ALLOWED} == {"torch", "megatron", "collections", "pathlib"}
    assert not {name for _, name in ALLOWED} & {"load", "eval", "getattr", "system", "Tensor"}


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "", "a\\b", "a\0b", 7, None])
def test_a_place_outside_the_folder_is_refused(folder, name):
    write(folder, storage(name))
    assert refusal(folder) == (
        f"{folder / '.metadata'} puts a tensor into {name!r}, which is no file of its folder; nothing was loaded"
    )


@pytest.mark.parametrize(("offset", "length"), [(-1, 4), (0, -4), ("0", 4), (0, 1.5)])
def test_a_place_that_is_none_is_refused(folder, offset, length):
    write(folder, storage(offset=offset, length=length))
    assert f"it puts a tensor at byte {offset!r}, {length!r} bytes long" in refusal(folder)


def test_a_data_file_that_is_cut_short(folder):
    (folder / "__0_0.distcp").write_bytes(b"\0" * 99)
    assert refusal(folder) == (
        f"{folder / '__0_0.distcp'} is cut short: it has 99 bytes, and the checkpoint needs 100 of it, for a.weight"
    )


def test_a_data_file_that_is_missing(folder):
    (folder / "__0_0.distcp").unlink()
    assert refusal(folder) == f"{folder / '__0_0.distcp'} cannot be read: No such file or directory"


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps(storage())[:-9], b"\x80\x04\x95\xff\xff\xff\xff"])
def test_a_damaged_metadata(folder, content):
    write(folder, content)
    assert refusal(folder).startswith(f"{folder / '.metadata'} cannot be read: ")


@pytest.mark.parametrize("content", [{}, None, 5, []])
def test_a_metadata_that_holds_something_else(folder, content):
    write(folder, content)
    assert refusal(folder) == f"{folder / '.metadata'} cannot be read: it holds no checkpoint metadata"


def test_a_folder_without_metadata(folder):
    (folder / ".metadata").unlink()
    assert refusal(folder) == f"{folder} is no whole checkpoint: it has no .metadata"


def test_what_is_no_folder(tmp_path):
    assert refusal(tmp_path / "nowhere") == (
        f"{tmp_path / 'nowhere'} does not exist: a torch_dist checkpoint is a folder with a metadata.json"
    )
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file").startswith(f"{tmp_path / 'file'} is not a folder: ")


def test_a_folder_of_checkpoints_says_which_it_holds(folder, tmp_path):
    assert refusal(tmp_path) == (
        f"{tmp_path} is no torch_dist checkpoint: it has no metadata.json; it holds checkpoint: give one of these"
    )


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 200_000])
def test_a_damaged_metadata_json(folder, content):
    (folder / "metadata.json").write_bytes(content)
    assert refusal(folder).startswith(f"{folder / 'metadata.json'} cannot be read: ")


@pytest.mark.parametrize(
    ("content", "shown"), [("[]", "None"), ('{"sharded_backend": "zarr"}', "'zarr'"), ("{}", "None")]
)
def test_another_format(folder, content, shown):
    (folder / "metadata.json").write_text(content)
    assert refusal(folder) == f"{folder / 'metadata.json'} names the format {shown}: only torch_dist can be read"
