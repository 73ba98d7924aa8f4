"""The same content under other names: pairs are proven bit for bit, and names decide where several hold the same."""

from __future__ import annotations

import numpy as np

from tests.checkpoint.diffing import checkpoint
from tests.checkpoint.stored import every_kind
from workbench.checkpoint.comparing.content import Held, digest, is_even, same_content, sample
from workbench.checkpoint.tensors import concatenated


def held(arrays: dict[str, np.ndarray]) -> list[Held]:
    return [Held(name, tensor, at) for at, (name, tensor) in enumerate(checkpoint(arrays).tensors.items())]


def found(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> dict[str, str]:
    return {ours.name: theirs.name for ours, theirs in same_content(held(left), held(right))}


def test_names_decide_among_equals():
    some = np.arange(9, dtype=np.float32)
    left = {"a.norm.weight": some, "a.mlp.weight": some, "a.bias": some}
    right = {"b.mlp.weight": some, "b.norm.weight": some, "c.bias": some}
    assert found(left, right) == {
        "a.norm.weight": "b.norm.weight", "a.mlp.weight": "b.mlp.weight", "a.bias": "c.bias",
    }  # fmt: skip


def test_each_tensor_is_in_one_pair():
    some = np.arange(9, dtype=np.float32)
    assert found({"a": some, "b": some}, {"c": some}) == {"a": "c"}


def test_a_sample_is_no_proof():
    """What agrees wherever it is looked at, and differs in one element elsewhere."""
    left = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    right = left.copy()
    right[50_000] += 1
    ours, theirs = held({"a": left})[0], held({"b": right})[0]
    assert sample(ours.tensor) == sample(theirs.tensor)
    assert found({"a": left}, {"b": right}) == {}
    assert found({"a": left, "c": left}, {"b": right, "d": left}) == {"a": "d"}


def test_shape_and_dtype_belong_to_it():
    some = np.arange(8, dtype=np.int32)
    assert found({"a": some}, {"b": some.reshape(2, 4)}) == {}
    assert found({"a": some}, {"b": some.view(np.float32)}) == {}


def test_tensors_of_one_value_need_the_end_of_their_names():
    ones = np.ones(8, np.float32)
    assert found({"a.norm.weight": ones}, {"b.norm.weight": ones}) == {"a.norm.weight": "b.norm.weight"}
    assert found({"a.norm.weight": ones}, {"b.other.weight": ones}) == {}


def test_pieces_make_no_difference():
    for name, tensor in every_kind().items():
        if not tensor.elements or not tensor.shape:
            continue
        whole = checkpoint({name: (tensor.bits().copy(), tensor.dtype)})[name]
        parts = concatenated([tensor.narrow(0, at, 1) for at in range(tensor.shape[0])])
        assert sample(tensor) == sample(whole) == sample(parts)
        assert digest(tensor) == digest(whole) == digest(parts)


def test_a_tensor_of_one_value():
    even, odd = np.zeros(5000, np.float16), np.zeros(5000, np.float16)
    odd[4321] = 1
    assert is_even(held({"a": even})[0].tensor)
    assert not is_even(held({"a": odd})[0].tensor)
