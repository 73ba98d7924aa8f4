"""One way to open everything: formats are told from what is in a file or folder; what is none is called what it is."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import sqlite3
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save, save_file

from workbench.checkpoint.opening import open_checkpoint
from workbench.checkpoint.reading.foreign import foreign
from workbench.checkpoint.reading.pickles import UnsafeCheckpoint
from workbench.errors import WorkbenchError

STATE = {"layers.0.weight": torch.arange(6.0).reshape(2, 3), "layers.0.bias": torch.ones(2)}
TORCH_OPTIONS: dict[str, dict[str, Any]] = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}}


def torch_bytes(what: Any = STATE, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(what, stream, **options)
    return stream.getvalue()


def check_opens(what: Any, kind: str) -> tuple[str, ...]:
    opened = open_checkpoint(what)
    assert opened.format == kind
    assert set(opened.names) == set(STATE)
    assert all(torch.equal(opened.read(name), STATE[name]) for name in STATE)
    return opened.notes


def refusal(what: Any) -> str:
    with pytest.raises(WorkbenchError) as caught:
        open_checkpoint(what)
    return str(caught.value)


# ---- what opens -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a", "a.bin", "a.txt", "a.pkl", "config.json"])
def test_a_file_of_safetensors_by_any_name(tmp_path, name):
    (tmp_path / name).write_bytes(save(STATE))
    misleading = name in ("a.pt", "a.bin")
    expected = (f"it is called {name} and is a safetensors file",) if misleading else ()
    assert check_opens(tmp_path / name, "safetensors") == expected
    assert check_opens(str(tmp_path / name), "safetensors") == expected


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.PTH", "a", "a.bin", "a.zip"])
@pytest.mark.parametrize("form", TORCH_OPTIONS)
def test_a_file_of_torch_by_any_name(tmp_path, name, form):
    (tmp_path / name).write_bytes(torch_bytes(**TORCH_OPTIONS[form]))
    misleading = name == "a.safetensors"
    expected = (f"it is called {name} and is a file of torch.save",) if misleading else ()
    assert check_opens(tmp_path / name, "torch") == expected


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("form", TORCH_OPTIONS)
def test_every_protocol_of_torch(tmp_path, form, protocol):
    (tmp_path / "a").write_bytes(torch_bytes(pickle_protocol=protocol, **TORCH_OPTIONS[form]))
    check_opens(tmp_path / "a", "torch")


def test_a_folder_with_one_file(tmp_path):
    (tmp_path / "model.pt").write_bytes(torch_bytes())
    (tmp_path / "notes.txt").write_text("x")
    assert check_opens(tmp_path, "torch") == (f"model.pt was read, the only checkpoint in {tmp_path}",)


def hub(path: Path) -> Path:
    path.mkdir()
    save_file(STATE, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return path


def test_a_hugging_face_folder(tmp_path):
    folder = hub(tmp_path / "hub")
    check_opens(folder, "hugging_face")
    check_opens(folder / "config.json", "hugging_face")
    check_opens(folder / "model.safetensors", "safetensors")


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_indexed_sets(tmp_path, kind):
    first, second = STATE
    stem, suffix = ("model", "safetensors") if kind == "safetensors" else ("pytorch_model", "bin")
    places = {first: f"1.{suffix}", second: f"2.{suffix}"}
    for name, file in places.items():
        part = {name: STATE[name]}
        (tmp_path / file).write_bytes(save(part) if kind == "safetensors" else torch_bytes(part))
    index = tmp_path / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    check_opens(index, kind)
    check_opens(tmp_path, kind)
    (tmp_path / "config.json").write_text("{}")
    check_opens(tmp_path, "hugging_face")


def test_a_dcp_folder(tmp_path):
    dcp.save(dict(STATE), checkpoint_id=tmp_path / "step", no_dist=True)
    check_opens(tmp_path / "step", "dcp")
    (tmp_path / "step" / ".metadata").unlink()
    assert ".metadata" in refusal(tmp_path / "step")


def test_iterations(tmp_path):
    """Megatron's folder of iterations, with one rank's files in them: the note says which was taken."""
    for number in (5, 20, 100):
        rank = tmp_path / f"iter_{number:07d}" / "mp_rank_00"
        rank.mkdir(parents=True)
        (rank / "model_optim_rng.pt").write_bytes(torch_bytes({"model": STATE, "iteration": number}))
    assert open_checkpoint(tmp_path).values["iteration"] == 100
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("20\n")
    opened = open_checkpoint(tmp_path)
    assert opened.values["iteration"] == 20
    assert "iter_0000020 was read, which latest_checkpointed_iteration.txt names" in opened.notes
    assert open_checkpoint(tmp_path / "iter_0000005").values["iteration"] == 5


def test_live_things_and_one_that_is_open():
    module = torch.nn.Sequential(torch.nn.Linear(3, 2))
    opened = open_checkpoint(module)
    assert (opened.format, opened.names) == ("module", ("0.weight", "0.bias"))
    assert open_checkpoint(opened) is opened
    check_opens(STATE, "mapping")
    assert open_checkpoint(torch.optim.SGD(module.parameters(), 1e-3)).format == "optimizer"
    assert "a int is no checkpoint: give a path" in refusal(5)


def test_links(tmp_path):
    (tmp_path / "a.pt").write_bytes(torch_bytes())
    (tmp_path / "link").symlink_to("a.pt")
    check_opens(tmp_path / "link", "torch")
    (tmp_path / "broken").symlink_to("nowhere")
    assert f"{tmp_path / 'broken'} does not exist" in refusal(tmp_path / "broken")


# ---- what does not --------------------------------------------------------------------------------------


def test_nothing_there(tmp_path):
    assert refusal(tmp_path / "model.pt") == f"{tmp_path / 'model.pt'} does not exist"
    (tmp_path / "model.pth").touch()
    assert refusal(tmp_path / "model.pt") == f"{tmp_path / 'model.pt'} does not exist; there is model.pth"
    assert refusal(tmp_path / "no" / "model.pt") == f"{tmp_path / 'no' / 'model.pt'} does not exist"


def test_a_name_that_is_none(tmp_path):
    assert refusal("a\0b") == "'a\\x00b' is no path: it has a NUL in it"
    assert "File name too long" in refusal("x" * 5000)
    assert "is neither a file nor a folder" in refusal("/dev/null")
    assert "Not a directory" in refusal(__file__ + "/model.pt")


def test_an_empty_file_and_an_empty_folder(tmp_path):
    (tmp_path / "a.pt").touch()
    assert refusal(tmp_path / "a.pt") == f"{tmp_path / 'a.pt'} is an empty file"
    (tmp_path / "b").mkdir()
    assert refusal(tmp_path / "b") == f"{tmp_path / 'b'} is an empty folder"
    assert refusal(tmp_path).startswith(f"{tmp_path / 'a.pt'} is an empty file")


def test_no_permission(tmp_path, monkeypatch):
    """Root may read everything, so the refusal is made."""
    (tmp_path / "a.pt").write_bytes(torch_bytes())

    def refused(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    assert refusal(tmp_path / "a.pt") == f"{tmp_path / 'a.pt'} cannot be read: Permission denied"
    monkeypatch.setattr(Path, "iterdir", refused)
    assert refusal(tmp_path) == f"{tmp_path} cannot be read: Permission denied"


def test_several_candidates(tmp_path):
    for name in ("a.pt", "b.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    hub(tmp_path / "hub")
    assert refusal(tmp_path) == f"{tmp_path} is no checkpoint and holds hub, a.pt, b.safetensors: give one of these"


def test_a_folder_of_checkpoints(tmp_path):
    hub(tmp_path / "hub")
    shutil.copytree(tmp_path / "hub", tmp_path / "other")
    assert refusal(tmp_path) == f"{tmp_path} is no checkpoint and holds hub, other: give one of these"


def test_a_folder_of_something_else(tmp_path):
    for number in range(8):
        (tmp_path / f"{number}.txt").touch()
    assert refusal(tmp_path) == (
        f"{tmp_path} holds no checkpoint that is known here; it holds 0.txt, 1.txt, 2.txt, 3.txt, 4.txt, 5.txt and 2 more"
    )


def test_a_config_without_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert "has a config.json and no weights" in refusal(tmp_path)


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.arange(3))
    return stream.getvalue()


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.arange(3))
    return stream.getvalue()


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return stream.getvalue()


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.txt", "a")
    return stream.getvalue()


FOREIGN: dict[str, tuple[bytes, str]] = {
    "lfs.safetensors": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "it is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`",
    ),
    "page.bin": (b"\n<!DOCTYPE html>\n<html>", "it is a web page: a login or error page was saved in the file's place"),
    "page.pt": (b"\xef\xbb\xbf<html lang='en'>", "it is a web page"),
    "a.gguf": (b"GGUF\3\0\0\0", "it is a GGUF file of llama.cpp"),
    "a.npz": (npz(), "it is a file of numpy arrays (.npz): give a mapping of names to them"),
    "a.npy": (npy(), "it is one numpy array (.npy)"),
    "a.h5": (b"\x89HDF\r\n\x1a\n\0", "it is an HDF5 file of Keras"),
    "a.onnx": (b"\x08\x08\x12\x07pytorch\x1a\x051.1.0", "it is an ONNX graph"),
    "a.pb": (b"\x08\x01\x12\x02ab", "it is a file of TensorFlow"),
    "a.tflite": (b"\x1c\0\0\0TFL3", "it is a file of TensorFlow"),
    "model.ckpt.data-00000-of-00001": (b"\x01\x02\xff", "it is a file of TensorFlow"),
    "a.nemo": (tar(), "it is a tar archive: unpack it first (a .nemo file is one)"),
    "a.pt.gz": (gzip.compress(b"x"), "it is compressed with gzip: unpack it first"),
    "a.zip": (zipped(), "it is a zip archive, and not one that torch.save wrote"),
    "a.pkl": (pickle.dumps({"a": 1}), "it is a pickle, and not one that torch.save wrote"),
    "zeros.pt": (bytes(5000), "it begins with nothing but zeros: it was not written to its end"),
    "a.txt": ("grüß dich\n".encode(), "it is text, and begins 'grüß dich\\n'"),
    "cut.txt": (b"x" * 1023 + "é".encode(), "it is text, and begins 'xxx"),
    "random": (
        b"\xfe\xdc\xba\x98\x00\x01\x02\x03\x04",
        "its first bytes (fe dc ba 98 00 01 02 03) are those of no format",
    ),
    "picture.pt": (b"\x89PNG\r\n\x1a\n", "it is a picture"),
    "program": (b"\x7fELF\2\1", "it is a program"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_checkpoint(tmp_path, name):
    content, said = FOREIGN[name]
    (tmp_path / name).write_bytes(content)
    message = refusal(tmp_path / name)
    assert message.startswith(
        (f"{tmp_path / name} is no checkpoint that can be read: {said}", f"{tmp_path / name} cannot be read: {said}")
    )
    assert foreign(content[:4096], tmp_path / name).startswith(said)


def test_a_zip_whose_entries_are_in_another_order(tmp_path):
    """As other tools pack it: what is first in the archive says nothing."""
    with zipfile.ZipFile(io.BytesIO(torch_bytes())) as archive, zipfile.ZipFile(tmp_path / "a", "w") as other:
        for name in reversed(archive.namelist()):
            other.writestr(name, archive.read(name))
    check_opens(tmp_path / "a", "torch")


def test_a_database(tmp_path):
    with sqlite3.connect(tmp_path / "a.pt") as connection:
        connection.execute("create table a (b)")
    assert "is no checkpoint that can be read: " in refusal(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["tokenizer.json", "a.index.json.json"])
def test_json_of_another_sort(tmp_path, name):
    (tmp_path / name).write_text("{}")
    assert refusal(tmp_path / name) == f"{tmp_path / name} is JSON, and no index of a checkpoint"


def test_a_stranger_in_a_pickle(tmp_path):
    canary = tmp_path / "canary"

    class Stranger:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(canary),)

    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.pt").write_bytes(torch_bytes({"a": Stranger()}))
    for path in (folder, folder / "a.pt"):
        with pytest.raises(UnsafeCheckpoint):
            open_checkpoint(path)
    assert not canary.exists()


@pytest.mark.parametrize("content", [save(STATE), torch_bytes(), torch_bytes(**TORCH_OPTIONS["legacy"])])
def test_a_file_cut_anywhere_is_an_error(tmp_path, content):
    file = tmp_path / "a"
    for length in (*range(min(200, len(content))), *range(200, len(content), 37), len(content) - 1):
        file.write_bytes(content[:length])
        assert str(file) in refusal(file)


def test_an_empty_path_is_not_the_current_folder():
    """A shell's unset variable."""
    with pytest.raises(WorkbenchError, match="its path is empty"):
        open_checkpoint("")
