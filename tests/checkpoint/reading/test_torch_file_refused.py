"""Files of torch.save that lie, are damaged, or want to run something: an error that names the file, and nothing else."""

from __future__ import annotations

import argparse
import pickle
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.checkpoint.strangers import HANDMADE, gadgets
from tests.checkpoint.torch_files import BASE, FORMS, check_same, refusal, rewritten, save, tensor
from workbench.checkpoint.buffers import MemoryBuffer
from workbench.checkpoint.reading.pickles import UnsafeCheckpoint
from workbench.checkpoint.reading.torch_file import open_torch, read_torch
from workbench.errors import WorkbenchError


class Colour(torch.Tensor):
    pass


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
    with pytest.raises(UnsafeCheckpoint, match=r"asks for tests\.checkpoint\.reading\.test_torch_file_refused\.Colour"):
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
    monkeypatch.setattr("workbench.checkpoint.reading.torch_file._MOST_PICKLE", 2**20)
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
