"""Files of torch.save, both forms: every tensor is what torch reads, bit by bit; what cannot be read says why."""

from __future__ import annotations

import argparse
import io
import pickle
import struct
import subprocess
import sys
import types
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.checkpoint.strangers import HANDMADE, gadgets
from workbench.checkpoint.buffers import FileBuffer, MemoryBuffer
from workbench.checkpoint.dtypes import DTYPES
from workbench.checkpoint.pickles import UnsafeCheckpoint
from workbench.checkpoint.tensors import StoredTensor
from workbench.checkpoint.torch_file import open_torch, read_torch
from workbench.errors import WorkbenchError

FORMS = {"zip": True, "legacy": False}
BASE = torch.arange(24.0).reshape(4, 6)
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


# ---- what torch writes ----------------------------------------------------------------------------------


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


class Colour(torch.Tensor):
    pass


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


# ---- what cannot be read --------------------------------------------------------------------------------


def quantized() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda: torch.eye(2).to_sparse(), "it holds a sparse tensor, which is not a box of bytes"),
        (lambda: torch.eye(2).to_sparse_csr(), "it holds a sparse tensor, which is not a box of bytes"),
        (quantized, "it holds a quantized tensor of torch's own kind"),
        (lambda: torch.ones(2, device="meta"), "it holds a tensor on the meta device, which has a shape and no values"),
        (lambda: torch.ones(2, dtype=torch.complex64).conj(), "it holds a tensor that is the conjugate or negative"),
        (
            lambda: torch.ones(2, dtype=torch.complex64).conj().imag,
            "it holds a tensor that is the conjugate or negative",
        ),
        (lambda: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), "it holds a nested tensor"),
        (lambda: torch.ones(3).untyped_storage(), "it holds a bare storage"),
        (lambda: np.array([None, "a"]), "it holds a numpy array of objects"),
        (lambda: np.arange(3, dtype=">i4"), "it holds a numpy array of type 'i4', byte order '>'"),
        (lambda: np.array(["text"]), "it holds a numpy array of type 'U4'"),
        (lambda: 10**5000, "it holds a whole number of 16610 bits"),
    ],
)
def test_what_has_no_bytes_of_its_own(tmp_path, what, said):
    file = save(tmp_path / "a.pt", {"a": what()})
    assert refusal(file).startswith(f"{file} cannot be read: {said}")


def test_a_subclass_of_tensor(tmp_path):
    file = save(tmp_path / "a.pt", {"a": torch.ones(2).as_subclass(Colour)})
    with pytest.raises(UnsafeCheckpoint, match=r"asks for tests\.checkpoint\.test_torch_file\.Colour"):
        open_torch(file)


def test_a_sharded_tensor(tmp_path):
    from torch.distributed.tensor import DTensor

    data = b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\n"
    data += f"c{DTensor.__module__}\nDTensor\n".encode() + b")}tR."
    file = rewritten(tmp_path, data)
    assert "it holds a torch.distributed.tensor.DTensor, which is more than its bytes" in refusal(file)


def test_a_whole_module(tmp_path):
    with pytest.raises(UnsafeCheckpoint, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
        open_torch(save(tmp_path / "a.pt", torch.nn.Linear(2, 2)))
    with pytest.raises(WorkbenchError, match=r"cannot be read|asks for torch\.nn"):
        open_torch(save(tmp_path / "b.pt", torch.nn.Linear(2, 2), "legacy"))


def test_a_script(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "a.pt")
    assert refusal(tmp_path / "a.pt").endswith("it is a TorchScript program; save its state_dict()")


def test_another_byte_order(tmp_path):
    file = rewritten(tmp_path, pickle.dumps({}, 2), byteorder=b"big")
    assert refusal(file) == f"{file} cannot be read: its byte order is 'big', and only little is read"
    legacy = save(tmp_path / "b.pt", {"a": BASE}, "legacy")
    content = legacy.read_bytes()
    legacy.write_bytes(content.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"))
    assert refusal(legacy) == f"{legacy} cannot be read: it is not little-endian"


# ---- strangers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("trick", gadgets(Path()))
def test_no_trick_runs(tmp_path, trick, form):
    canary = tmp_path / "canary"
    file = save(tmp_path / "a.pt", {"a": BASE, "args": argparse.Namespace(x=[gadgets(canary)[trick]])}, form)
    with pytest.raises(UnsafeCheckpoint) as caught:
        open_torch(file)
    assert caught.value.file == str(file)
    assert not canary.exists()


@pytest.mark.parametrize("trick", HANDMADE)
def test_no_way_to_name_a_global_is_overlooked(tmp_path, trick):
    name, data = HANDMADE[trick]
    assert f"asks for {name}, which no checkpoint needs" in refusal(rewritten(tmp_path, data))


def test_the_stranger_may_hide_in_the_machine_s_description(tmp_path):
    """The older form has five pickles, and torch unpickles them all."""
    content = save(tmp_path / "a.pt", {"a": BASE}, "legacy").read_bytes()
    start, end = content.index(b"\x80\x02}q\x00(X\x10"), content.index(b"\x80\x02}q\x00X\x01\0\0\0a")
    for stranger in (b"cos\nsystem\n(S'true'\ntR.", HANDMADE["INST"][1]):
        (tmp_path / "b.pt").write_bytes(content[:start] + stranger + content[end:])
        assert "asks for os.system, which no checkpoint needs" in refusal(tmp_path / "b.pt")
        keys = content.rindex(b"\x80\x02]")
        (tmp_path / "b.pt").write_bytes(content[:keys] + stranger + content[keys:])
        assert "asks for os.system, which no checkpoint needs" in refusal(tmp_path / "b.pt")


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


def test_a_tensor_by_hand(tmp_path):
    assert open_torch(rewritten(tmp_path, tensor((5, 5), (5, 1)))).shape("value") == (5, 5)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (tensor((5, 6), (6, 1)), "a tensor of [5, 6] float32 needs 120 bytes of a storage that has 100"),
        (tensor((5, 5), (5, 1), 1), "a tensor of [5, 5] float32 needs 104 bytes of a storage that has 100"),
        (tensor((2, 2), (2**40, 1)), "needs 4398046511112 bytes of a storage that has 100"),
        (tensor((2**40, 2**21), (2**21, 1)), "a tensor of 2 axes, [1099511627776, 2097152], is larger than any can be"),
        (tensor((2**62,), (0,)), "is larger than any can be"),
        (tensor((2**40,), (0,)), "a tensor of [1099511627776] float32 is made of 100 bytes again and again: too large"),
        (tensor((0, 2**62), (1, 1)), "is larger than any can be"),
        (tensor((1,) * 65, (1,) * 65), "a tensor of 65 axes"),
        (
            tensor((5,), (-1,), 4),
            "a tensor in it has a size, stride or offset that is not made of whole numbers of 0 and more",
        ),
        (tensor((-5,), (1,)), "a tensor in it has a size, stride or offset that is not made of whole numbers"),
        (tensor((5,), (1,), -1), "a tensor in it has a size, stride or offset that is not made of whole numbers"),
        (tensor((True,), (1,)), "a tensor in it has a size, stride or offset that is not made of whole numbers"),
        (tensor((5.0,), (1,)), "a tensor in it has a size, stride or offset that is not made of whole numbers"),
        (tensor((2**70,), (1,)), "a tensor in it has a size, stride or offset that is not made of whole numbers"),
        (tensor(5, (1,)), "a tensor in it has a size, stride or offset that is not made of whole numbers"),
        (tensor((5,), (1, 1)), "a tensor in it has 1 axes and 2 strides"),
        (tensor((5,), (1,), count=26), "storage '0' has 100 bytes, and 104 are needed of it"),
        (tensor((5,), (1,), count=-1), "storage '0' has no size"),
        (tensor((5,), (1,), key="1"), "the bytes of storage '1' are missing"),
        (tensor((5,), (1,), key="../data.pkl"), "the bytes of storage '../data.pkl' are missing"),
        (tensor((5,), (1,), key=0), "it refers to something that is no storage"),
        (tensor((5,), (1,), kind=b"device"), "it has a storage of type torch.device, which is none of torch's"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NK\0))tR.", "a tensor in it has no storage"),
        (b"\x80\x02ctorch._utils\n_rebuild_parameter\nN\x85R.", "a parameter in it holds no tensor"),
        (b"\x80\x02X\1\0\0\0aQ.", "it refers to something that is no storage"),
        (b"\x80\x02" + b"]" * 200 + b"a" * 199 + b".", "it holds things within things, more than 100 deep"),
        (b"\x80\x02]q\0h\0a.", "it holds something that holds itself"),
        (b"\x80\x02]" + b"(22e2" * 0 + b"K\1a" + b"q\0](h\0h\0e" * 60 + b".", "a memory bomb"),
        (b"cargparse\nNamespace\n.", ""),
    ],
)
def test_tensors_that_are_none(tmp_path, data, said):
    file = rewritten(tmp_path, data)
    if not said:
        assert open_torch(file).values == {"value": "argparse.Namespace"}
        return
    message = refusal(file)
    assert message.startswith(f"{file} cannot be read: ")
    assert said in message


def test_a_pickle_that_is_too_large(tmp_path, monkeypatch):
    file = save(tmp_path / "a.pt", {"a": BASE, "text": "x" * 2_000_000})
    legacy = save(tmp_path / "b.pt", {"a": BASE, "text": "x" * 2_000_000}, "legacy")
    monkeypatch.setattr("workbench.checkpoint.torch_file._MOST_PICKLE", 2**20)
    for path in (file, legacy):
        assert "what it says of its tensors takes more than" in refusal(path)


def test_a_long_pickle_of_the_older_form(tmp_path):
    file = save(tmp_path / "a.pt", {"text": "x" * 20_000_000, "a": BASE}, "legacy")
    check_same(open_torch(file).read("a"), BASE)


# ---- damage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_cut_anywhere(tmp_path, form):
    """Never anything but an error that names the file; never a tensor of other values."""
    content = save(tmp_path / "a.pt", {"a": BASE, "n": 5}, form).read_bytes()
    for length in range(len(content)):
        with pytest.raises(WorkbenchError, match="cannot be read: "):
            read_torch(MemoryBuffer(np.frombuffer(content[:length], np.uint8)), 0, length, "file")


def test_a_part_of_a_storage(tmp_path):
    """As torch wrote it before version 1.0: (key, first element, elements) in the older form."""
    content = save(tmp_path / "a.pt", {"a": torch.arange(6.0)[2:5]}, "legacy").read_bytes()
    view = b"X\1\0\0\0vK\2K\4\x87"
    with_view = content.replace(b"K\x06Nt", b"K\x06" + view + b"t").replace(b"QK\x02K\x03\x85", b"QK\x00K\x03\x85")
    assert len(with_view) == len(content) + len(view) - 1
    (tmp_path / "b.pt").write_bytes(with_view)
    assert open_torch(tmp_path / "b.pt").read("a").tolist() == [2, 3, 4]
    (tmp_path / "b.pt").write_bytes(with_view.replace(view, b"X\1\0\0\0vK\2K\5\x87"))
    assert "a part of a storage lies outside of it" in refusal(tmp_path / "b.pt")


def test_the_list_of_storages_must_fit(tmp_path):
    content = save(tmp_path / "a.pt", {"a": BASE}, "legacy").read_bytes()
    keys = content.rindex(b"\x80\x02]")
    for wrong in (b"\x80\x02].", b"\x80\x02]X\1\0\0\0aa.", b"\x80\x02N."):
        end = content.index(b".", keys) + 1
        (tmp_path / "b.pt").write_bytes(content[:keys] + wrong + content[end:])
        assert "cannot be read: " in refusal(tmp_path / "b.pt")
    size = end
    for count in (2**40, 2**63, 25):
        (tmp_path / "b.pt").write_bytes(content[:size] + struct.pack("<Q", count) + content[size + 8 :])
        assert "is cut short" in refusal(tmp_path / "b.pt")
    (tmp_path / "b.pt").write_bytes(content[:size] + struct.pack("<Q", 3) + content[size + 8 :])
    assert "needs 96 bytes of a storage that has 12" in refusal(tmp_path / "b.pt")


def test_nothing_of_torch_save(tmp_path):
    file = tmp_path / "a.pt"
    for content in (b"", b"PK", b"\x80\x02}.", b"x" * 100):
        file.write_bytes(content)
        assert refusal(file) == f"{file} cannot be read: it is not what torch.save writes"


def test_stored_tensors_are_all_there_is(tmp_path):
    found = read_torch(FileBuffer(save(tmp_path / "a.pt", nested())), 0, (tmp_path / "a.pt").stat().st_size, "file")

    def kinds(value: Any) -> set[type]:
        if isinstance(value, dict):
            return {dict}.union(*(kinds(entry) for entry in [*value.values(), *value]))
        if isinstance(value, list | tuple):
            return {type(value)}.union(*map(kinds, value))
        return {type(value)}

    assert kinds(found) <= {dict, list, tuple, str, int, float, bool, complex, bytes, type(None), StoredTensor}
