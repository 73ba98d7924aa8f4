"""Nested things as a checkpoint: names, values and objects; what refers to itself, or again and again, is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from workbench.checkpoint.buffers import MemoryBuffer
from workbench.checkpoint.reading.pickles import Inert, Made
from workbench.checkpoint.reading.structure import flattened, settled
from workbench.checkpoint.reading.torch_globals import Leaf, storage
from workbench.checkpoint.tensors import contiguous
from workbench.errors import WorkbenchError

TENSOR = contiguous(MemoryBuffer(np.zeros(4, np.uint8)), 0, (4,), "uint8")


def stand_in(name: str, *arguments: Any, state: Any = None) -> Any:
    made = type(name, (Inert,), {"__slots__": (), "origin": ("somewhere", name)})(*arguments)
    if state is not None:
        made.__setstate__(state)
    return made


def test_names_are_joined_with_dots():
    parts = flattened({"a": {"b": TENSOR, "c": [TENSOR, (TENSOR,)]}, 5: {"x": TENSOR}})
    assert list(parts.tensors) == ["a.b", "a.c.0", "a.c.1.0", "5.x"]


def test_what_holds_no_tensor_is_one_value():
    parts = flattened(
        {"args": {"a": {"b": 1}}, "state": {0: {"t": TENSOR, "n": 2, "more": {"x": []}}}, "e": {}, "l": [1]}
    )
    assert parts.values == {"args": {"a": {"b": 1}}, "state.0.n": 2, "state.0.more": {"x": []}, "e": {}, "l": [1]}


def test_bytes_are_objects():
    parts = flattened({"a": {"raw": b"12", "n": 1}, "b": bytearray(b"3")})
    assert {name: held.read() for name, held in parts.objects.items()} == {"a.raw": b"12", "b": b"3"}
    assert parts.values == {"a.n": 1}


@pytest.mark.parametrize("first", [TENSOR, b"x", 1])
@pytest.mark.parametrize("second", [TENSOR, b"x", 1])
def test_two_of_one_name(first, second):
    with pytest.raises(WorkbenchError, match=r"two things in it are called 'a\.b'"):
        flattened({"a": {"b": first, "t": TENSOR}, "a.b": second})
    with pytest.raises(WorkbenchError, match="two things in it are called '0'"):
        flattened({0: first, "0": second})


def test_stand_ins():
    found = settled(
        [
            stand_in("Namespace", state=Made({"a": stand_in("Mode", 3)})),
            stand_in("PosixPath", "/", "a", "b"),
            stand_in("PosixPath"),
            stand_in("device", "cuda", 1),
            stand_in("BytesIO", state=(b"ab", 0, None)),
            stand_in("complex", 1.0, 2),
            stand_in("Other", [1], "x" * 100),
            Leaf(TENSOR),
            type("T", (Inert,), {"__slots__": (), "origin": ("torch", "int8")}),
        ]
    )
    others = ["/a/b", ".", "cuda:1", b"ab", 1 + 2j, f"Other(a list, '{'x' * 60}')", TENSOR, "torch.int8"]
    assert found == [{"a": "Mode(3)"}, *others]


def test_keys():
    assert settled(Made({1: "a", (stand_in("Mode", 1), 2): "b", stand_in("Mode", 2): "c"})) == {
        1: "a",
        ("Mode(1)", 2): "b",
        "Mode(2)": "c",
    }


def test_what_is_shared_stays_shared():
    shared = [1]
    found = settled({"a": shared, "b": shared})
    assert found["a"] is found["b"]


def test_what_refers_to_itself():
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(WorkbenchError, match="it holds something that holds itself"):
        settled(loop)


@pytest.mark.parametrize("kind", [list, tuple, lambda entries: Made(enumerate(entries))])
def test_a_thing_that_is_referred_to_in_layers(kind):
    """Forty lines that would be spelled out as a million million."""
    bomb = kind([1, 1])
    for _ in range(40):
        bomb = kind([bomb, bomb])
    with pytest.raises(WorkbenchError, match="a memory bomb"):
        settled(bomb)


def test_too_deep():
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    assert settled(deep) == deep
    with pytest.raises(WorkbenchError, match="more than 100 deep"):
        settled([deep])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (storage(MemoryBuffer(np.zeros(4, np.uint8)), 0, 4, "uint8"), "it holds a bare storage"),
        (2**5000, "it holds a whole number of 5001 bits"),
        (object(), "it holds a object"),
    ],
)
def test_what_has_no_place(value, said):
    with pytest.raises(WorkbenchError, match=said):
        settled({"a": [value]})


def test_texts_that_cannot_be_printed():
    assert settled(["\ud800", "é", Made({"\udfff": 1})]) == ["\\ud800", "é", {"\\udfff": 1}]
