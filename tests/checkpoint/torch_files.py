"""Files of torch.save for the tests: real ones, and ones with a pickle put into them."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from workbench.checkpoint.reading.torch_file import open_torch
from workbench.errors import WorkbenchError

FORMS = {"zip": True, "legacy": False}
BASE = torch.arange(24.0).reshape(4, 6)


def save(path: Path, what: Any, form: str = "zip", **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(what, path, _use_new_zipfile_serialization=FORMS[form], **options)
    return path


def check_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    flat = [each.detach().contiguous().reshape(-1).view(torch.uint8) for each in (found, expected)]
    assert torch.equal(*flat)


def refusal(path: Path) -> str:
    with pytest.raises(WorkbenchError) as caught:
        open_torch(path)
    return str(caught.value)


def rewritten(folder: Path, data: bytes, storages: int = 100, **entries: bytes) -> Path:
    """A file of the zip form with another `data.pkl`, and a storage "0" of so many bytes."""
    file = folder / "rewritten.pt"
    held = {"data.pkl": data, "byteorder": b"little", "data/0": bytes(range(storages)), "version": b"3\n"} | entries
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in held.items():
            archive.writestr(f"archive/{name}", content)
    return file


def tensor(
    shape: Any, strides: Any, offset: Any = 0, count: Any = 25, key: Any = "0", kind: bytes = b"FloatStorage"
) -> bytes:
    """A pickle of a tensor of float32."""
    with_numbers = [pickle.dumps(value, 2)[2:-1] for value in (key, count, offset, shape, strides)]
    key, count, offset, shape, strides = with_numbers
    reference = b"(X\7\0\0\0storagectorch\n" + kind + b"\n" + key + b"X\3\0\0\0cpu" + count + b"tQ"
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + reference + offset + shape + strides
        + b"\x89ccollections\nOrderedDict\n)RtR."
    )  # fmt: skip
