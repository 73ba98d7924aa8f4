"""safetensors: what the real library writes and reads is read the same; every rule of the format is held to."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from workbench.checkpoint.dtypes import DTYPES
from workbench.checkpoint.reading.safetensors_file import CODE_OF, open_safetensors
from workbench.errors import WorkbenchError

ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
DATA = np.arange(6, dtype=np.float32).tobytes()


def some(dtype: str, shape: tuple[int, ...] = (3, 4)) -> torch.Tensor:
    count = int(np.prod(shape))
    if dtype == "bool":
        return torch.arange(count).remainder(3).eq(0).reshape(shape)
    seed = torch.Generator().manual_seed(len(dtype))
    bits = torch.randint(0, 256, (count * DTYPES[dtype].bytes,), dtype=torch.uint8, generator=seed)
    return bits.view(getattr(torch, dtype)).reshape(shape)


def check_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert torch.equal(*(each.contiguous().reshape(-1).view(torch.uint8) for each in (found, expected)))


def written(path: Path, header: Any, data: bytes = DATA, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(WorkbenchError) as caught:
        open_safetensors(path)
    assert path.name in str(caught.value)
    return str(caught.value)


# ---- what the library writes ----------------------------------------------------------------------------


def test_every_type(tmp_path):
    tensors = {dtype: some(dtype) for dtype in DTYPES if dtype != "complex128"}
    file = tmp_path / "model.safetensors"
    save_file(tensors, file, {"format": "pt", "<script>": "x"})
    opened = open_safetensors(file)
    assert (opened.where, opened.format) == (str(file), "safetensors")
    assert opened.values == {"format": "pt", "<script>": "x"}
    with safe_open(file, "pt") as expected:
        assert set(opened.names) == set(expected.keys())
        for name in opened.names:
            check_same(opened.read(name), expected.get_tensor(name))
            check_same(opened.read(name), tensors[name])


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (1, 1, 1, 1, 1, 5), (7, 3)])
def test_every_shape(tmp_path, shape):
    save_file({"a": some("bfloat16", shape), "b": some("int64", shape)}, tmp_path / "a")
    opened = open_safetensors(tmp_path / "a")
    check_same(opened.read("a"), some("bfloat16", shape))
    check_same(opened.read("b"), some("int64", shape))


def test_a_type_that_the_library_does_not_write(tmp_path):
    """complex128 has a name in no release so far; a file with it is read all the same."""
    file = written(tmp_path / "a", {"a": {"dtype": "C128", "shape": [1], "data_offsets": [0, 16]}}, bytes(16))
    assert open_safetensors(file).dtype("a") == "complex128"


def test_no_tensor_at_all(tmp_path):
    save_file({}, tmp_path / "a", {"only": "this"})
    opened = open_safetensors(tmp_path / "a")
    assert (opened.names, opened.values) == ((), {"only": "this"})


def test_every_type_has_a_code():
    assert set(CODE_OF) == set(DTYPES)


@given(st.dictionaries(st.text(min_size=1, max_size=9), st.sampled_from(["float32", "int8", "bool"]), max_size=8))
def test_any_names(tmp_path_factory, names):
    file = tmp_path_factory.mktemp("names") / "a"
    names.pop("__metadata__", None)
    tensors = {name: some(dtype, (2,)) for name, dtype in names.items()}
    save_file(tensors, file)
    opened = open_safetensors(file)
    assert set(opened.names) == set(names)
    for name, tensor in tensors.items():
        check_same(opened.read(name), tensor)


# ---- the format's rules ---------------------------------------------------------------------------------


def entry(**changed: Any) -> dict[str, Any]:
    return {"a": ENTRY | changed}


WRONG: dict[str, tuple[Any, str]] = {
    "unknown type": (entry(dtype="F33"), "a is of type 'F33'; known are F64, F32"),
    "type of another kind": (entry(dtype=5), "a is of type '5'"),
    "shape against place": (entry(shape=[2, 4]), "a of [2, 4] float32 takes 32 bytes, and its place 24"),
    "negative size": (entry(shape=[-2, -3]), "the shape or place of a is not made of whole numbers of 0 and more"),
    "size that is no number": (entry(shape=["2", 3]), "the shape or place of a is not made of whole numbers"),
    "size that is a fraction": (entry(shape=[2.0, 3]), "the shape or place of a is not made of whole numbers"),
    "size that is a truth": (entry(shape=[True, 6]), "the shape or place of a is not made of whole numbers"),
    "absurd size": (entry(shape=[2**40, 2**40]), "a: a tensor of 2 axes, [1099511627776, 1099511627776], is larger"),
    "absurd empty size": (entry(shape=[0, 2**62], data_offsets=[0, 0]), "is larger than any can be"),
    "enormous number": (entry(shape=[10**30]), "the shape or place of a is not made of whole numbers"),
    "too many axes": (entry(shape=[1] * 65 + [6]), "a: a tensor of 66 axes"),
    "place before the data": (entry(data_offsets=[-24, 0]), "the shape or place of a is not made of whole numbers"),
    "place backwards": (entry(data_offsets=[24, 0]), "takes 24 bytes, and its place -24"),
    "place beyond the end": (
        entry(data_offsets=[2**50, 2**50 + 24]),
        "a at byte 1125899906842624 leaves a hole behind",
    ),
    "hole": (entry(data_offsets=[4, 28]), "a at byte 4 leaves a hole behind the header, which ends at byte 0"),
    "three offsets": (entry(data_offsets=[0, 24, 24]), "a has no dtype, shape and two data_offsets"),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 24]}}, "a has no dtype, shape and two data_offsets"),
    "something more": (entry(strides=[1]), "the shape or place of a is not made of whole numbers"),
    "no entry": ({"a": 5}, "a has no dtype, shape and two data_offsets"),
    "shape of none": (entry(shape=None), "a has no dtype, shape and two data_offsets"),
    "overlap": (entry() | {"b": ENTRY}, "b at byte 0 overlaps with a, which ends at byte 24"),
    "overlap by a byte": (entry() | {"b": ENTRY | {"data_offsets": [23, 47]}}, "b at byte 23 overlaps with a"),
    "half a 4-bit pair": (entry(dtype="F4", shape=[3, 3]), "a of [3, 3] 4-bit numbers does not fill whole bytes"),
    "a list": ([], "its header is no JSON object"),
    "not JSON": (b"{", "its header cannot be read: "),
    "not UTF-8": (b'{"\xff":1}', "its header cannot be read: "),
    "deep": (b"[" * 100_000, "its header cannot be read: "),
    "twice": (b'{"a":1,"b":2,"a":3}', "its header cannot be read: 'a' is in it twice"),
    "twice inside": (b'{"a":{"dtype":"F32","dtype":"F32"}}', "its header cannot be read: 'dtype' is in it twice"),
    "metadata of numbers": (entry() | {"__metadata__": {"a": 1}}, "its __metadata__ is not made of texts"),
    "metadata of none": (entry() | {"__metadata__": []}, "its __metadata__ is not made of texts"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_header_that_is_wrong(tmp_path, case):
    header, said = WRONG[case]
    assert said in refusal(written(tmp_path / "model.safetensors", header))


def test_the_header_by_hand_is_right(tmp_path):
    """So that the cases above fail for what is wrong in them."""
    file = written(tmp_path / "a", entry())
    assert open_safetensors(file).read("a").tolist() == load_file(file)["a"].tolist()
    assert open_safetensors(written(tmp_path / "b", {"__metadata__": None, **entry()})).names == ("a",)


LENIENT = {
    "something more",
    "not UTF-8",
    "absurd empty size",
    "too many axes",
    "twice",
    "twice inside",
    "size that is a fraction",
}


@pytest.mark.parametrize("case", [case for case in WRONG if case not in LENIENT])
def test_the_library_refuses_the_same(tmp_path, case):
    file = written(tmp_path / "a", WRONG[case][0])
    with pytest.raises((SafetensorError, RuntimeError, ValueError, TypeError, OverflowError)):
        load_file(file)


def test_the_end_of_the_file(tmp_path):
    file = tmp_path / "a.safetensors"
    assert refusal(written(file, entry(), DATA[:-1])).startswith(f"{file} is cut short: it has ")
    assert refusal(written(file, entry(), DATA + b"x")).startswith(f"{file} has something behind its last tensor: ")


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 100_000_001, 10**18])
def test_a_header_of_absurd_length(tmp_path, length):
    file = written(tmp_path / "a", entry(), length=length)
    assert refusal(file) == f"{file} is no safetensors file: its header would be {length} bytes long"


def test_a_header_that_is_cut_short(tmp_path):
    file = written(tmp_path / "a", entry(), length=99_999_999)
    assert "is cut short: its header is 99999999 bytes long" in refusal(file)


def test_cut_anywhere(tmp_path):
    save_file({"a": some("float32"), "b": some("int8")}, tmp_path / "a", {"format": "pt"})
    content = (tmp_path / "a").read_bytes()
    for length in range(len(content)):
        (tmp_path / "b").write_bytes(content[:length])
        refusal(tmp_path / "b")


def test_a_file_that_shrinks(tmp_path):
    file = tmp_path / "a"
    save_file({"a": some("float32", (100, 100))}, file)
    opened = open_safetensors(file)
    with file.open("r+b") as stream:
        stream.truncate(1000)
    with pytest.raises(WorkbenchError, match="became shorter while it was read"):
        opened["a"].bits()


def test_a_part_of_a_distributed_checkpoint(tmp_path):
    from torch.distributed.checkpoint import HuggingFaceStorageWriter, save

    writer = HuggingFaceStorageWriter(str(tmp_path), {"a": 1}, save_distributed=True)
    save({"a": torch.ones(4)}, storage_writer=writer, no_dist=True)
    (file,) = tmp_path.glob("**/*.safetensors")
    assert "is one rank's part of a checkpoint of torch.distributed.checkpoint" in refusal(file)


# ---- several files --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file({"a": some("float32"), "b": some("int8")}, tmp_path / "one.safetensors", {"format": "pt"})
    save_file({"c": some("bool")}, tmp_path / "two.safetensors")
    return indexed(tmp_path, {"b": "one.safetensors", "c": "two.safetensors", "a": "one.safetensors"})


def indexed(path: Path, places: Any) -> Path:
    index = {"metadata": {"total_size": 9}, "weight_map": places}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path


def test_a_set(folder):
    for path in (folder, folder / "model.safetensors.index.json"):
        opened = open_safetensors(path)
        assert opened.names == ("b", "c", "a")  # as the index has them
        assert opened.values == {"total_size": 9, "format": "pt"}
        for name, dtype in (("a", "float32"), ("b", "int8"), ("c", "bool")):
            check_same(opened.read(name), some(dtype))


def test_a_folder_with_one_file(folder):
    (folder / "model.safetensors.index.json").unlink()
    (folder / "two.safetensors").unlink()
    assert open_safetensors(folder).where == str(folder / "one.safetensors")


def test_a_folder_with_several_and_no_index(folder):
    (folder / "model.safetensors.index.json").unlink()
    assert refusal(folder) == (
        f"{folder} holds 2 of them (one.safetensors, two.safetensors) and no one index: give one file"
    )


def test_a_folder_with_none(tmp_path):
    assert refusal(tmp_path) == f"{tmp_path} holds no .safetensors file"


def test_a_shard_that_is_missing(folder):
    (folder / "two.safetensors").unlink()
    assert refusal(folder).endswith("model.safetensors.index.json names two.safetensors, which is missing")


def test_a_tensor_that_its_shard_lacks(folder):
    indexed(folder, {"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"})
    assert refusal(folder).endswith("says that b is in two.safetensors, and it is not")


def test_a_tensor_that_the_index_lacks(folder):
    indexed(folder, {"a": "one.safetensors", "c": "two.safetensors"})
    assert refusal(folder) == f"{folder / 'one.safetensors'} holds b, which model.safetensors.index.json does not say"


def test_a_tensor_in_two_shards(folder):
    save_file({"c": some("bool"), "a": some("float32")}, folder / "two.safetensors")
    assert refusal(folder) == f"{folder / 'two.safetensors'} holds a, which model.safetensors.index.json does not say"


@pytest.mark.parametrize(
    "place",
    ["../one.safetensors", "/etc/passwd", "..", ".", "", "sub/one.safetensors", "sub\\one", "a\0b", 5, None, ["a"]],
)
def test_a_place_outside_of_the_folder(folder, place):
    (folder.parent / "one.safetensors").write_bytes((folder / "one.safetensors").read_bytes())
    indexed(folder, {"a": place})
    assert "which is no file of its folder; nothing was read" in refusal(folder)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": []}', "[" * 100_000, "\xff"]
)
def test_an_index_that_is_none(folder, content):
    (folder / "model.safetensors.index.json").write_text(content, "latin1")
    refusal(folder / "model.safetensors.index.json")


def test_an_index_that_says_something_twice(folder):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "one", "a": "two"}}')
    assert refusal(folder).endswith("cannot be read: 'a' is in it twice")


def test_a_link_to_a_file(folder, tmp_path):
    """The cache of the Hub is made of links."""
    linked = tmp_path / "linked"
    linked.mkdir()
    for file in folder.glob("*.*"):
        (linked / file.name).symlink_to(file)
    assert open_safetensors(linked).names == ("b", "c", "a")


@pytest.mark.parametrize("empty", [b"{},", b"[],"])
def test_a_header_of_brackets_is_refused_before_it_is_read(tmp_path: Path, empty: bytes) -> None:
    """Each would be an object of 60 bytes and more in memory."""
    header = b'{"a":[' + empty * (3 * 2**20) + b"0]}"
    path = tmp_path / "brackets.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(WorkbenchError, match="little else than brackets"):
        open_safetensors(path)
