"""A checkpoint's folder: written whole or not at all, replaced only on request, read with nothing of a stranger's run."""

from __future__ import annotations

import io
import os
import pickle
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from megatron.core import dist_checkpointing

from tests.fusion.checkpoints import Training, differing, listing
from workbench.checkpoint.converting import placing
from workbench.checkpoint.reading.pickles import UnsafeCheckpoint
from workbench.errors import WorkbenchError
from workbench.fusion import checkpoint_files
from workbench.fusion.checkpointing import (
    load_checkpoint,
    save_checkpoint,
    stored_shapes,
    stored_tensors,
    stored_values,
)

READERS = [stored_shapes, stored_tensors, stored_values]


@pytest.fixture(scope="module")
def training():
    return Training("[M-]").train(0, 1)


@pytest.fixture
def saved(training, tmp_path):
    return save_checkpoint(tmp_path / "c", training.model, training.optimizer)


def refused(training, path, kind: type[WorkbenchError] = WorkbenchError) -> str:
    """Loading is refused with this message, and neither model nor optimizer are changed by it."""
    before, step = training.weights(), [value.clone() for value in training.steps()]
    with pytest.raises(kind) as caught:
        load_checkpoint(path, training.model, training.optimizer)
    assert differing(before, training.weights()) == []
    assert step == training.steps()
    assert str(path) in str(caught.value)
    return str(caught.value)


# -- writing


def test_an_existing_path_is_refused(training, saved):
    before = listing(saved)
    with pytest.raises(WorkbenchError) as caught:
        save_checkpoint(saved, training.model)
    assert str(caught.value) == f"{saved} exists; give another path, or force=True to replace it"
    assert listing(saved) == before


def test_force_replaces_and_leaves_nothing_beside(training, saved):
    save_checkpoint(saved, training.model, iteration=8, force=True)
    assert load_checkpoint(saved, training.model).iteration == 8
    assert [entry.name for entry in saved.parent.iterdir()] == ["c"]


def test_force_replaces_checkpoints_only(training, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    for path in (tmp_path / "home", tmp_path / "file"):
        with pytest.raises(WorkbenchError) as caught:
            save_checkpoint(path, training.model, force=True)
        assert str(caught.value) == f"{path} is no checkpoint: force=True replaces checkpoints only; give another path"
    assert (tmp_path / "home" / "thesis.tex").exists()
    (tmp_path / "empty").mkdir()
    save_checkpoint(tmp_path / "empty", training.model, force=True)


def test_a_path_without_a_name(training):
    with pytest.raises(WorkbenchError, match=r"^/ is no place for a checkpoint"):
        save_checkpoint("/", training.model)


def test_missing_folders_are_made(training, tmp_path):
    save_checkpoint(tmp_path / "a" / "b" / "c", training.model)
    assert stored_shapes(tmp_path / "a" / "b" / "c")


def test_a_place_that_cannot_be_written(training, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WorkbenchError, match=f"^{tmp_path}/file/c cannot be written: NotADirectoryError: "):
        save_checkpoint(tmp_path / "file" / "c", training.model)


@pytest.mark.parametrize("force", [False, True])
def test_a_crash_while_saving_leaves_what_was_there(training, saved, monkeypatch, force):
    def half(state, path, **options):
        (Path(path) / "__0_0.distcp").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    before = listing(saved)
    monkeypatch.setattr(dist_checkpointing, "save", half)
    target = saved if force else saved.with_name("new")
    with pytest.raises(WorkbenchError) as caught:
        save_checkpoint(target, training.model, force=force)
    assert str(caught.value) == f"{target} cannot be written: OSError: [Errno 28] No space left on device"
    assert [entry.name for entry in saved.parent.iterdir()] == ["c"]
    assert listing(saved) == before


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_crash_while_replacing_puts_the_old_one_back(training, saved, monkeypatch, exchanges):
    rename = Path.rename

    def failing(self, target):
        if self.name.endswith(".partial"):
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    def no_exchange(one, other):
        if exchanges:
            raise PermissionError(13, "Permission denied")
        return False

    before = listing(saved)
    monkeypatch.setattr(placing, "_exchange", no_exchange)
    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(WorkbenchError, match="cannot be written: PermissionError"):
        save_checkpoint(saved, training.model, force=True)
    assert [entry.name for entry in saved.parent.iterdir()] == ["c"]
    assert listing(saved) == before


def test_what_a_killed_process_left_is_no_hindrance(training, tmp_path):
    (tmp_path / ".c.partial").mkdir()
    (tmp_path / ".c.partial" / "rubbish").touch()
    save_checkpoint(tmp_path / "c", training.model)
    assert [entry.name for entry in tmp_path.iterdir()] == ["c"]
    assert "rubbish" not in listing(tmp_path / "c")


# -- reading what is damaged


def test_cut_short(training, saved):
    data = saved / "__0_0.distcp"
    data.write_bytes(data.read_bytes()[:-1])
    assert f"{data} is cut short: it has " in refused(training, saved)


def test_overwritten_inside(training, saved):
    # The model comes first in the file; everything up to the damage would have been loaded in place.
    data = saved / "__0_0.distcp"
    content = bytearray(data.read_bytes())
    content[len(content) * 3 // 4 :] = bytes(len(content) - len(content) * 3 // 4)
    data.write_bytes(content)
    assert refused(training, saved).startswith(f"{saved} cannot be read: ")


def test_without_metadata(training, saved):
    (saved / ".metadata").unlink()
    assert refused(training, saved) == f"{saved} is no whole checkpoint: it has no .metadata"


def test_a_garbage_common_pt(training, saved):
    # Megatron before 0.19 wrote it; when it is there, it is read.
    (saved / "common.pt").write_bytes(b"garbage")
    assert refused(training, saved) == (
        f"{saved} cannot be read: UnpicklingError: a part of it holds something else than plain data"
    )


def test_an_older_megatrons_common_pt_is_read(training, saved):
    values = stored_values(saved) | {"iteration": 77}
    torch.save(values, saved / "common.pt")
    assert load_checkpoint(saved, training.model, training.optimizer).iteration == 77


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["nowhere", "file", "folder"])
def test_what_is_no_checkpoint(training, tmp_path, reader, kind):
    path = tmp_path / kind
    if kind == "file":
        path.write_bytes(b"garbage")
    if kind == "folder":
        path.mkdir()
    said = refused(training, path)
    assert said.startswith(
        {
            "nowhere": f"{path} does not exist: ",
            "file": f"{path} is not a folder: ",
            "folder": f"{path} is no torch_dist checkpoint: it has no metadata.json",
        }[kind]
    )
    with pytest.raises(WorkbenchError) as caught:
        reader(path)
    assert str(caught.value) == said


# -- reading what is hostile


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def edit_metadata(path: Path, edit) -> None:
    metadata = pickle.loads((path / ".metadata").read_bytes())
    edit(metadata)
    (path / ".metadata").write_bytes(pickle.dumps(metadata))


def set_metadata_trap(path: Path, trap: Path) -> None:
    edit_metadata(path, lambda metadata: setattr(metadata, "planner_data", Trap(trap)))


def set_common_trap(path: Path, trap: Path) -> None:
    torch.save({"iteration": 1, "args": Trap(trap)}, path / "common.pt")


def set_legacy_common_trap(path: Path, trap: Path) -> None:
    torch.save({"args": Trap(trap)}, path / "common.pt", _use_new_zipfile_serialization=False)


def set_object_trap(path: Path, trap: Path) -> None:
    """Put an object in the place of the values beside the tensors, which torch reads with weights_only=False."""
    content = io.BytesIO()
    torch.save(Trap(trap), content)
    data = path / "__0_0.distcp"
    start = data.stat().st_size
    data.write_bytes(data.read_bytes() + content.getvalue())

    def edit(metadata):
        key = next(name for name in metadata.state_dict_metadata if name.startswith("common_state/"))
        for index, info in metadata.storage_data.items():
            if index.fqn == key:
                info.offset, info.length = start, len(content.getvalue())

    edit_metadata(path, edit)


TRAPS = [set_metadata_trap, set_common_trap, set_legacy_common_trap, set_object_trap]


@pytest.mark.parametrize("set_trap", TRAPS)
def test_nothing_of_a_stranger_runs(training, saved, tmp_path, set_trap, monkeypatch):
    trap = tmp_path / "trap"
    set_trap(saved, trap)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    assert "asks for posix.mkdir, which no checkpoint needs" in refused(training, saved, UnsafeCheckpoint)
    # Shapes are in the .metadata alone.
    for reader in READERS if set_trap is set_metadata_trap else READERS[1:]:
        with pytest.raises(UnsafeCheckpoint):
            reader(saved)
    assert not trap.exists()
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.mark.parametrize("set_trap", [set_metadata_trap, set_object_trap])
def test_the_trap_would_have_worked(saved, tmp_path, set_trap):
    trap = tmp_path / "trap"
    set_trap(saved, trap)
    # What comes after the trap may fail.
    with suppress(*checkpoint_files.ERRORS):
        dist_checkpointing.load_common_state_dict(str(saved))
    assert trap.is_dir()


def test_megatrons_own_objects_are_read(training, saved):
    from argparse import Namespace

    torch.save(stored_values(saved) | {"args": Namespace(num_layers=2)}, saved / "common.pt")
    assert stored_values(saved)["args"].num_layers == 2
    load_checkpoint(saved, training.model, training.optimizer)


def test_values_of_another_type_are_refused(training, saved):
    torch.save(stored_values(saved) | {"workbench": "no record"}, saved / "common.pt")
    assert refused(training, saved).startswith(f"{saved} cannot be read: AttributeError")
