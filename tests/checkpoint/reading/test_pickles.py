"""A stranger's pickle is read and not run: every trick is refused by name, what is allowed keeps what it was given."""

from __future__ import annotations

import argparse
import copyreg
import datetime
import io
import pickle
import struct
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoint.strangers import HANDMADE, gadgets, pickled
from workbench.checkpoint.reading import pickles
from workbench.checkpoint.reading.pickles import PLAIN, Inert, Made, UnsafeCheckpoint, load, load_from, name_of, shown
from workbench.errors import WorkbenchError

NAMESPACE = ("argparse", "Namespace")
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
PLAIN_VALUES = {
    "text": "wörld",
    "numbers": [0, 1, -1, 255, 256, 2**31, -(2**40), 2**100, 1.5, float("inf")],
    "others": (True, False, None, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
    "bytes": b"\0\xff" * 300,
    "long": "x" * 70_000,
    "nested": {"a": {"b": [{}, [], {1: 2, (1, "b"): 3}]}},
    5: OrderedDict(a=1),
}


def refusal(data: bytes, **options: Any) -> str:
    with pytest.raises(WorkbenchError) as caught:
        load(data, "file", **options)
    return str(caught.value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_come_back(protocol):
    data = pickle.dumps(PLAIN_VALUES, protocol)
    assert load(data, "file") == PLAIN_VALUES
    assert load(io.BytesIO(data), "file") == PLAIN_VALUES


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_stands_for_something_else(protocol):
    value = [{1, 2}, frozenset({3}), bytearray(b"12"), defaultdict(list, a=1), OrderedDict(b=2), bytearray()]
    assert load(pickle.dumps(value, protocol), "file") == [[1, 2], [3], b"12", {"a": 1}, {"b": 2}, b""]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_things_that_are_referred_to_twice(protocol):
    shared = [1]
    found = load(pickle.dumps({"a": shared, "b": shared}, protocol), "file")
    assert found["a"] is found["b"]


def test_an_ordered_dict_with_attributes():
    state = torch.nn.Linear(1, 1, bias=False).state_dict()
    state["weight"] = 1  # type: ignore[assignment]
    assert state._metadata  # type: ignore[attr-defined]
    assert load(pickle.dumps(state), "file") == {"weight": 1}


@pytest.mark.parametrize("protocol", PROTOCOLS[2:])
def test_an_allowed_global_keeps_what_it_was_given(protocol):
    found = load(pickle.dumps(argparse.Namespace(a=1, b=[2]), protocol), "file", {NAMESPACE})
    assert isinstance(found, Inert)
    assert not isinstance(found, argparse.Namespace)
    assert (found.origin, found.arguments, found.fields) == (NAMESPACE, (), {"a": 1, "b": [2]})
    assert repr(found) == "<argparse.Namespace>"


def test_a_global_that_is_only_named():
    found = load(pickle.dumps([torch.bfloat16]), "file", {("torch", "bfloat16")})
    assert name_of(found[0]) == "torch.bfloat16"
    assert name_of("torch.bfloat16") is None


def test_a_meaning():
    class Double(Inert):
        __slots__ = ()

        def __new__(cls, value: Any) -> Any:
            return 2 * value

    data = b"cmine\nf\nK\x04\x85R."
    assert load(data, "file", meanings={("mine", "f"): Double}) == 8
    assert refusal(data) == str(UnsafeCheckpoint("file", "mine.f"))


def test_what_lies_elsewhere():
    data = b"\x80\x02X\x01\0\0\0aQ."
    assert load(data, "file", persistent=lambda given: f"<{given}>") == "<a>"
    assert refusal(data) == "file cannot be read: it refers to something outside of itself"


def test_several_pickles_in_a_row():
    data = b"".join(pickle.dumps(value) for value in ("first", {"a": 1}))
    first, end = load_from(data, 0, "file")
    assert (first, load_from(data, end, "file")) == ("first", ({"a": 1}, len(data)))


# ---- strangers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("trick", gadgets(Path()))
def test_no_trick_runs(tmp_path, trick, protocol):
    canary = tmp_path / "canary"
    data = pickled(gadgets(canary)[trick], protocol)
    with pytest.raises(UnsafeCheckpoint, match="which no checkpoint needs: loading it could run code") as caught:
        load(data, tmp_path / "file", {NAMESPACE})
    assert caught.value.file == tmp_path / "file"
    assert not canary.exists()


@pytest.mark.parametrize("trick", gadgets(Path()))
def test_the_tricks_would_run(tmp_path, trick):
    canary = tmp_path / "canary"
    pickle.loads(pickled(gadgets(canary)[trick]))
    assert canary.exists()


@pytest.mark.parametrize("trick", HANDMADE)
def test_no_way_to_name_a_global_is_overlooked(trick):
    name, data = HANDMADE[trick]
    assert f"file asks for {name}, which no checkpoint needs" in refusal(data)


def test_the_first_stranger_is_named_in_the_message():
    assert refusal(b"cos\nsystem\n(S'true'\ntR.") == (
        "file asks for os.system, which no checkpoint needs: loading it could run code of whoever wrote it; nothing was "
        "loaded"
    )


def test_the_extension_registry_is_not_asked():
    """An object of it is handed out past `find_class` once anybody in the process has used it."""
    copyreg.add_extension("os", "getcwd", 77)
    try:
        assert pickle.loads(b"\x82M.") is not None  # now it is in Python's cache
        for data in (b"\x82M.", b"\x83M\0.", b"\x84M\0\0\0."):
            assert "an object of the extension registry" in refusal(data)
    finally:
        copyreg.remove_extension("os", "getcwd", 77)
        copyreg.clear_extension_cache()


@pytest.mark.parametrize(
    "data",
    [
        b"cargparse\nNamespace\n}S'__setstate__'\nNsb.",  # BUILD of the class itself
        b"cargparse\nNamespace\nN}S'__new__'\nNs\x86b.",
        b"cargparse\nNamespace\n)\x81}S'a'\nNsb}S'b'\nNsb.",  # two states
        b"ccollections\nOrderedDict\nN}S'__new__'\nNs\x86b.",
        b"]N}S'__class__'\nNs\x86b.",
        b"cargparse\nNamespace\n)\x81(K\x01e.",  # APPENDS
        b"cargparse\nNamespace\n)\x81K\x01K\x02s.",  # SETITEM
        b"cargparse\nNamespace\n)\x81)R.",  # a call of what was made
        b"}(K\x01e.",
        b"K\x01)R.",
        b"S'text'\n)R.",
        b"ccollections\nOrderedDict\nK\x05\x85R.",
        b"c__builtin__\nset\nK\x05\x85R.",
        b"c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.",  # bytearray(2 billion)
        b"c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.",
        b"c_codecs\nencode\nS'x'\nS'zlib'\n\x86R.",
        b"c_codecs\nencode\nS'x'\nS'rot13'\n\x86R.",
    ],
)
def test_what_is_allowed_cannot_be_bent(data):
    assert refusal(data, allowed={NAMESPACE}).startswith("file cannot be read: ")
    # Nothing that one pickle did is there for the next.
    assert load(pickle.dumps(argparse.Namespace(a=1)), "file", {NAMESPACE}).fields == {"a": 1}
    assert load(pickle.dumps(OrderedDict(a=1)), "file") == {"a": 1}


def test_a_dictionary_drops_its_state():
    found = load(b"}N}S'__class__'\nNs\x86b.", "file")
    assert (found, type(found)) == ({}, Made)


# ---- bombs ----------------------------------------------------------------------------------------------


def deep_key(depth: int) -> bytes:
    return b"\x80\x02})" + b"\x85" * depth + b"Ns."


def wide_key(layers: int) -> bytes:
    return b"\x80\x02}K\x01" + b"2\x86" * layers + b"Ns."  # DUP, TUPLE2


@pytest.mark.parametrize(
    "data", [deep_key(2_000_000), wide_key(100), deep_key(2), b"\x80\x02}(]Nu.", b"\x80\x04}(K\x01\x91Ns."]
)
def test_keys_that_cannot_be_hashed(data):
    """Python's own unpickler dies of the first, and takes for ever for the second."""
    assert "as a key" in refusal(data)


def test_sets_are_lists():
    assert load(b"\x80\x04\x8f(" + b")" + b"\x85" * 100_000 + b"\x90.", "file") is not None


def test_a_deep_value_is_read():
    found = load(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "file")
    assert len(found) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x05\x8e" + struct.pack("<Q", 2**62) + b"abc.",  # BINBYTES8
        b"\x80\x05\x8e" + struct.pack("<Q", 2**40) + b"abc.",
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc.",  # BYTEARRAY8
        b"\x80\x05\x8d" + struct.pack("<Q", 2**63) + b"abc.",  # BINUNICODE8
        b"\x80\x05\x95" + struct.pack("<Q", 2**50) + b"N.",  # FRAME
        b"B\xff\xff\xff\x7fabc.",
        b"X\xff\xff\xff\xffabc.",
        b"T\xff\xff\xff\xffabc.",
        b"\x8b\xff\xff\xff\x7fabc.",
        b"\x8a\xffabc.",
        b"S'abc",
        b"cos\nsystem",
        b"J\0\0",
        b"r\0\0",
        b"N",
        b"",
    ],
)
def test_lengths_that_are_not_there(data):
    assert "it is cut short" in refusal(data)


@pytest.mark.parametrize("data", [b"Nr\xff\xff\xff\x7f.", b"Np2147483647\n.", b"Np99999999999\n."])
def test_a_memo_that_would_fill_the_memory(data):
    assert "a memory bomb" in refusal(data)


@pytest.mark.parametrize("data", [b"Np-1\n.", b"Np1e9\n.", b"Np9999999999999\n.", b"Ng5\n.", b"h\x05."])
def test_other_memos(data):
    assert refusal(data).startswith("file cannot be read: ")


def test_a_number_without_end():
    assert refusal(b"I" + b"9" * 100_000 + b"\n.").startswith("file cannot be read: ValueError: ")


def test_a_pickle_that_is_too_large(monkeypatch):
    monkeypatch.setattr(pickles, "MOST_BYTES", 1000)
    assert load(pickle.dumps(b"x" * 900), "file")
    for stream in (pickle.dumps(b"x" * 1000), io.BytesIO(pickle.dumps(b"x" * 1000))):
        assert "a pickle of more than" in refusal(stream)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data", [b"garbage", b"\xff", b"\x80\x02\x99.", b"\x97.", b"\x98.", b".", b"0.", b"t.", b"R.", b"(((.", b"Nb."]
)
def test_garbage(data):
    assert refusal(data).startswith("file cannot be read: ")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_cut_anywhere(protocol):
    data = pickle.dumps(PLAIN_VALUES | {"long": "x"}, protocol)
    for length in range(len(data)):
        assert refusal(data[:length]).startswith("file cannot be read: ")


# ---- the parts ------------------------------------------------------------------------------------------


def test_a_stream_that_cannot_be_read():
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    assert refusal(Broken()) == "file cannot be read: Input/output error"  # type: ignore[arg-type]


def test_shown_never_spells_out_a_container():
    bomb: Any = []
    for _ in range(100):
        bomb = [bomb, bomb]
    assert shown(bomb) == "a list"
    assert [shown(value) for value in ("a" * 100, 5, 10**5000, None)][1:4] == ["5", "a int", "None"]
    assert shown(datetime.date(2020, 1, 1)) == "a date"


def test_made_takes_quick_keys_only():
    made = Made()
    for key in ("a", 1, 1.5, None, True, b"a", (1, "a"), Inert()):
        made[key] = 1
    for key in (2**64, -(2**63) - 1, ((),), (2**64,), frozenset(), datetime.date(2020, 1, 1)):
        with pytest.raises(WorkbenchError, match="as a key"):
            made[key] = 1


def test_plain_holds_stand_ins_only():
    assert all(issubclass(meaning, Inert) for meaning in PLAIN.values())
