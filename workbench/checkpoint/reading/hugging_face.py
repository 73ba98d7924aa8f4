"""Hugging Face folders: a `config.json` beside safetensors or `pytorch_model.bin`, one file or an indexed set. numpy only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.arch.reading import naming, read_json
from workbench.checkpoint.reading.safetensors_file import read_file, read_indexed
from workbench.checkpoint.reading.torch_file import open_torch
from workbench.checkpoint.reading.uncollected import uncollected
from workbench.checkpoint.source import Checkpoint
from workbench.checkpoint.tensors import StoredTensor
from workbench.errors import WorkbenchError

CONFIG = "config.json"
# In the order in which transformers looks for them (`transformers/modeling_utils.py`, `_get_resolved_checkpoint_files`).
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def open_hugging_face(folder: str | Path) -> Checkpoint:
    """A folder that `save_pretrained` wrote. `values["config"]` is its `config.json`.

    Raises `WorkbenchError` that names the file where the config or the weights are missing or wrong.
    """
    folder = Path(folder)
    config = _config(folder / CONFIG)
    name = next((name for name in WEIGHTS if (folder / name).exists()), None)
    if name is None:
        raise WorkbenchError(f"{folder} has a {CONFIG} and no weights: none of {', '.join(WEIGHTS)} is there")
    read = read_file if ".safetensors" in name else _read_torch
    file = folder / name
    with uncollected():
        tensors, said = read_indexed(file, read) if name.endswith(".json") else read(file)
    return Checkpoint(str(folder), "hugging_face", tensors, values={**said, "config": config})


def open_indexed_torch(index: str | Path) -> Checkpoint:
    """The files that a `pytorch_model.bin.index.json` names."""
    tensors, said = read_indexed(Path(index), _read_torch)
    return Checkpoint(str(index), "torch", tensors, values=said)


# ------------------------------------------------------------------------------------------------------


def _read_torch(path: Path) -> tuple[dict[str, StoredTensor], dict[str, Any]]:
    found = open_torch(path)
    return dict(found.tensors), dict(found.values)


def _config(file: Path) -> dict[str, Any]:
    with naming(file):
        found = read_json(file)
    if not isinstance(found, dict):
        raise WorkbenchError(f"{file}: it holds no JSON object")
    return found
