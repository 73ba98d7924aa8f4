"""Folders that transformers wrote: what is in them is what safetensors and torch read; what is missing is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoint.hugging_face_models import CONFIGS, save
from workbench.checkpoint.reading.hugging_face import open_hugging_face, open_indexed_torch
from workbench.checkpoint.reading.pickles import UnsafeCheckpoint
from workbench.checkpoint.source import Checkpoint
from workbench.errors import WorkbenchError


def contents(folder: Path) -> dict[str, torch.Tensor]:
    """What the libraries themselves read."""
    found: dict[str, torch.Tensor] = {}
    for file in folder.glob("*.safetensors"):
        found |= load_file(file)
    for file in folder.glob("*.bin"):
        found |= torch.load(file, weights_only=True)
    return found


def check_same(opened: Checkpoint, expected: dict[str, torch.Tensor]) -> None:
    assert set(opened.names) == set(expected)
    for name, tensor in expected.items():
        assert (opened.shape(name), opened.dtype(name)) == (
            tuple(tensor.shape),
            str(tensor.dtype).removeprefix("torch."),
        )
        assert torch.equal(opened.read(name), tensor)


def refusal(folder: Path) -> str:
    with pytest.raises(WorkbenchError) as caught:
        open_hugging_face(folder)
    return str(caught.value)


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_in_one_file(tmp_path, family):
    opened = open_hugging_face(save(family, tmp_path))
    assert (opened.where, opened.format) == (str(tmp_path), "hugging_face")
    assert opened.values["config"] == json.loads((tmp_path / "config.json").read_text())
    assert opened.values["format"] == "pt"
    check_same(opened, contents(tmp_path))


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_in_several_files(tmp_path, family):
    folder = save(family, tmp_path, max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    check_same(open_hugging_face(folder), contents(folder))


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A folder as transformers wrote it before safetensors: the same weights in pytorch_model.bin files."""
    save("llama", tmp_path)
    weights = contents(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    names = list(weights)
    parts = {"pytorch_model-00001-of-00002.bin": names[:5], "pytorch_model-00002-of-00002.bin": names[5:]}
    for file, held in parts.items():
        torch.save({name: weights[name] for name in held}, tmp_path / file)
    write_index(tmp_path, {name: file for file, held in parts.items() for name in held})
    return tmp_path


def write_index(folder: Path, places: dict[str, Any]) -> None:
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def test_files_of_torch_with_an_index(older):
    check_same(open_hugging_face(older), contents(older))
    index = open_indexed_torch(older / "pytorch_model.bin.index.json")
    assert index.format == "torch"
    check_same(index, contents(older))


def test_one_file_of_torch(older):
    weights = contents(older)
    for file in [*older.glob("*.bin"), *older.glob("*.index.json")]:
        file.unlink()
    torch.save(weights, older / "pytorch_model.bin")
    check_same(open_hugging_face(older), weights)


def test_a_stranger_in_one_of_the_files(older, tmp_path):
    torch.save({"a": torch.nn.Linear(2, 2)}, older / "pytorch_model-00002-of-00002.bin")
    with pytest.raises(UnsafeCheckpoint, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
        open_hugging_face(older)


def test_weights_that_are_missing(tmp_path):
    save("llama", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert refusal(tmp_path) == (
        f"{tmp_path} has a config.json and no weights: none of model.safetensors, model.safetensors.index.json, "
        "pytorch_model.bin, pytorch_model.bin.index.json is there"
    )


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000])
def test_a_damaged_config(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    assert refusal(tmp_path).startswith(f"{tmp_path / 'config.json'}: ")


def test_no_config(tmp_path):
    assert refusal(tmp_path) == f"{tmp_path / 'config.json'}: No such file or directory"
