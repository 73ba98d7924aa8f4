"""Files of torch.save, both forms: every tensor is what torch reads, bit by bit."""

from __future__ import annotations

import argparse
import io
import pickle
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.checkpoint.torch_files import BASE, FORMS, check_same, refusal, save
from workbench.checkpoint.buffers import FileBuffer
from workbench.checkpoint.dtypes import DTYPES
from workbench.checkpoint.reading.torch_file import open_torch, read_torch
from workbench.checkpoint.tensors import StoredTensor

# torch before 1.6 has no such types, and its form cannot be read back by torch itself where they are saved in it.
NEWER = [name for name in DTYPES if name.startswith(("float8", "float4", "uint")) and name != "uint8"]


def some(dtype: str) -> torch.Tensor:
    """Sixteen elements of any type, of random bits."""
    kind = getattr(torch, dtype)
    if dtype == "bool":
        return torch.arange(16).remainder(3).eq(0)
    bits = torch.randint(
        0, 256, (16 * DTYPES[dtype].bytes,), dtype=torch.uint8, generator=torch.Generator().manual_seed(7)
    )
    return bits.view(kind).reshape(2, 8)


TENSORS: dict[str, torch.Tensor] = {
    "whole": BASE,
    "the same again": BASE,
    "transposed": BASE.t(),
    "a part": BASE[1:3, 2:5],
    "every second": BASE[::2, 1::3],
    "one row": BASE[2],
    "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 5),
    "windows": torch.arange(10.0).unfold(0, 4, 1),
    "empty": torch.empty(0, 3),
    "empty part": BASE[4:],
    "scalar": torch.tensor(3),
    "one": torch.tensor([2.5], dtype=torch.bfloat16),
    "parameter": torch.nn.Parameter(torch.randn(3)),
    "buffer": torch.nn.Buffer(torch.randn(3)),
    "twelve axes": torch.arange(2.0).reshape((1,) * 11 + (2,)),
    **{dtype: some(dtype) for dtype in DTYPES if dtype not in NEWER},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_tensor(tmp_path, form):
    opened = open_torch(save(tmp_path / "a.pt", TENSORS, form))
    assert (opened.format, opened.names, opened.values, dict(opened.objects)) == ("torch", tuple(TENSORS), {}, {})
    for name, tensor in TENSORS.items():
        check_same(opened.read(name), tensor)


@pytest.mark.parametrize("dtype", NEWER)
def test_newer_types(tmp_path, dtype):
    check_same(open_torch(save(tmp_path / "a.pt", {"a": some(dtype)})).read("a"), some(dtype))


def test_tensors_share_their_bytes(tmp_path):
    opened = open_torch(save(tmp_path / "a.pt", {"a": BASE, "b": BASE, "c": BASE[1]}))
    (a, start), (b, same), (c, later) = (opened[name].run or (None, 0) for name in "abc")
    assert a is b is c
    assert (same, later) == (start, start + 24)


def test_a_region(tmp_path):
    opened = open_torch(save(tmp_path / "a.pt", {"a": BASE.t()}))
    assert torch.equal(opened.read("a", (slice(1, 4), slice(2, None))), BASE.t()[1:4, 2:])


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("form", FORMS)
def test_every_protocol(tmp_path, form, protocol):
    opened = open_torch(save(tmp_path / "a.pt", {"a": BASE, "n": np.arange(3)}, form, pickle_protocol=protocol))
    check_same(opened.read("a"), BASE)
    assert opened.read("n").tolist() == [0, 1, 2]


def nested() -> dict[str, Any]:
    from megatron.core.transformer.enums import AttnBackend

    module = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return {
        "model": {**module.state_dict(), "decoder._extra_state": io.BytesIO(b"state"), "none._extra_state": None},
        "args": argparse.Namespace(
            hidden_size=64,
            params_dtype=torch.bfloat16,
            backend=AttnBackend.flash,
            save=Path("/a/b"),
            inner=argparse.Namespace(rate=1e-3),
            chosen={3},
            simple=types.SimpleNamespace(a=1),
        ),
        "optimizer": optimizer.state_dict(),
        "iteration": 7,
        "rng_state": [
            {"np": np.arange(4, dtype=np.uint32), "python": (3, (1, 2), None), "torch": torch.arange(3).byte()}
        ],
        "raw": b"abc",
        "size": torch.Size((2, 3)),
        "device": torch.device("cuda:1"),
        "numbers": {"f": np.float32(1.5), "i": np.int64(-3), "b": np.bool_(True), "c": 1 + 2j},
        "none": {},
    }


@pytest.mark.parametrize("form", FORMS)
def test_a_training_checkpoint(tmp_path, form):
    what = nested()
    opened = open_torch(save(tmp_path / "a.pt", what, form))
    assert opened.names == (
        "model.weight",
        "model.bias",
        *(f"optimizer.state.{number}.{name}" for number in (0, 1) for name in ("step", "exp_avg", "exp_avg_sq")),
        "rng_state.0.np",
        "rng_state.0.torch",
    )
    check_same(opened.read("optimizer.state.1.exp_avg"), what["optimizer"]["state"][1]["exp_avg"])
    assert {name: held.read() for name, held in opened.objects.items()} == {
        "model.decoder._extra_state": b"state",
        "raw": b"abc",
    }
    assert opened.values["args"] == {
        "hidden_size": 64,
        "params_dtype": "torch.bfloat16",
        "backend": "AttnBackend(1)",
        "save": "/a/b",
        "inner": {"rate": 1e-3},
        "chosen": [3],
        "simple": {"a": 1},
    }
    (group,) = opened.values["optimizer.param_groups"]
    assert (group["betas"], group["params"]) == ((0.9, 0.999), [0, 1])
    assert opened.values["rng_state.0.python"] == (3, (1, 2), None)
    assert {
        name: opened.values[name] for name in ("iteration", "model.none._extra_state", "size", "device", "none")
    } == {
        "iteration": 7,
        "model.none._extra_state": None,
        "size": (2, 3),
        "device": "cuda:1",
        "none": {},
    }
    assert opened.values["numbers"] == {"f": 1.5, "i": -3, "b": True, "c": 1 + 2j}


def test_torch_is_not_imported(tmp_path):
    save(tmp_path / "a.pt", {"a": BASE})
    code = (
        "import sys; from workbench.checkpoint.opening import open_checkpoint; "
        f"assert open_checkpoint({str(tmp_path / 'a.pt')!r})['a'].bits().shape == (4, 6); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_slice_of_a_larger_file(tmp_path):
    inner = save(tmp_path / "inner", {"a": BASE, "n": 5}).read_bytes()
    file = tmp_path / "outer"
    file.write_bytes(b"x" * 101 + inner + b"PK\5\6 and more" * 30)
    found = read_torch(FileBuffer(file), 101, len(inner), "shard")
    assert found["n"] == 5
    assert found["a"].bits().view(np.float32).tolist() == BASE.tolist()


@pytest.mark.parametrize("what", [5, "text", None, [1, 2], BASE, [BASE, BASE], (BASE,), {}])
def test_a_file_of_something_else(tmp_path, what):
    opened = open_torch(save(tmp_path / "a.pt", what))
    if what is BASE:
        assert opened.names == ("value",)
    elif isinstance(what, list | tuple):
        assert [*opened.tensors, *opened.values] == [str(number) for number in range(len(what))]
    elif what != {}:
        assert opened.values == {"value": what}


def test_two_things_of_one_name(tmp_path):
    file = save(tmp_path / "a.pt", {"a.b": BASE, "a": {"b": BASE}})
    assert refusal(file) == (
        f"{file} cannot be read: two things in it are called 'a.b' once their names are joined with dots"
    )


def test_a_name_that_cannot_be_printed(tmp_path):
    assert open_torch(save(tmp_path / "a.pt", {"\ud800é": BASE})).names == ("\\ud800é",)


def test_stored_tensors_are_all_there_is(tmp_path):
    found = read_torch(FileBuffer(save(tmp_path / "a.pt", nested())), 0, (tmp_path / "a.pt").stat().st_size, "file")

    def kinds(value: Any) -> set[type]:
        if isinstance(value, dict):
            return {dict}.union(*(kinds(entry) for entry in [*value.values(), *value]))
        if isinstance(value, list | tuple):
            return {type(value)}.union(*map(kinds, value))
        return {type(value)}

    assert kinds(found) <= {dict, list, tuple, str, int, float, bool, complex, bytes, type(None), StoredTensor}
