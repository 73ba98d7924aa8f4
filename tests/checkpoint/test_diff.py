"""Every planted difference is found and named: the tensor, the entry, and what it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.checkpoint.diffing import checkpoint, copied, found
from tests.checkpoint.stored import every_kind, transposed
from workbench.checkpoint.diff import diff
from workbench.checkpoint.source import Checkpoint
from workbench.errors import WorkbenchError

FLOATS = ("float64", "float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2")


def weights() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(3)
    names = [f"model.layers.{layer}.{name}.weight" for layer in range(6) for name in ("q_proj", "k_proj")]
    return {name: generator.standard_normal((16, 16)).astype(np.float32) for name in names} | {
        "norm.weight": np.ones(16, np.float32)
    }


def one(diffed):
    (only,) = diffed.differences
    return only


def test_the_same_is_identical():
    diffed = diff(checkpoint(weights()), checkpoint(weights()))
    assert diffed.identical
    assert diffed.same_names
    assert diffed.differences == ()
    assert diffed.counts["equal"] == diffed.counts["tensors"] == 13
    assert [(group.place, group.name, group.outcome, group.tensors) for group in diffed.groups] == [
        ("model.layers 0–5", "q_proj.weight", "equal", 6),
        ("model.layers 0–5", "k_proj.weight", "equal", 6),
        ("", "norm.weight", "equal", 1),
    ]


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_ulp_in_one_element_of_a_big_tensor(dtype: str, tmp_path: Path):
    kind = getattr(torch, dtype)
    big = torch.randn(1200, 1000, generator=torch.Generator().manual_seed(1)).clamp(-300, 300).to(kind)
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[kind.itemsize]
    other = big.clone()
    other.view(bits)[1100, 7] += 1
    save_file({"small": torch.ones(3), "big": big}, tmp_path / "a.safetensors")
    save_file({"small": torch.ones(3), "big": other}, tmp_path / "b.safetensors")
    only = one(diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors"))
    assert (only.kind, only.name, only.left) == ("value", "big", f"[1200, 1000] {dtype}")
    assert only.metrics is not None
    assert (only.metrics.mismatched, only.metrics.max_ulp, only.metrics.first) == (1, 1, (1100, 7))
    assert (only.metrics.left, only.metrics.right) == (big[1100, 7].item(), other[1100, 7].item())
    assert diff(tmp_path / "a.safetensors", tmp_path / "b.safetensors", ulp=1).identical


def test_what_is_forgiven_is_said():
    other = weights()
    other["norm.weight"] = other["norm.weight"] + np.float32(1e-6)
    diffed = diff(checkpoint(weights()), checkpoint(other), atol=1e-3)
    assert diffed.identical
    assert diffed.tolerance == "atol 0.001, rtol 0"
    assert diffed.sentences == ("1 tensor is not the same bit for bit, and within the tolerance (atol 0.001, rtol 0)",)


def test_nan_against_nan():
    """The same NaN is the same; one of other bits is not, and is called what it is."""
    left = {"w": np.array([1.0, np.nan, 2.0], np.float32)}
    assert diff(checkpoint(left), checkpoint(copied(left))).identical
    other = copied(left)
    other["w"].view(np.uint32)[1] ^= 1
    only = one(diffed := diff(checkpoint(left), checkpoint(other)))
    assert (only.kind, only.detail) == ("value", "NaN against NaN, of other bits")
    assert only.metrics is not None
    assert (only.metrics.mismatched, only.metrics.first, only.metrics.nan) == (1, (1,), (0, 0, 1))
    assert diffed.sentences == ("NaN against NaN, of other bits: w",)
    assert diff(checkpoint(left), checkpoint(other), ulp=1).identical


def test_nan_against_a_number():
    left, right = {"w": np.ones(3, np.float32)}, {"w": np.array([1, np.nan, 1], np.float32)}
    diffed = diff(checkpoint(left), checkpoint(right), rtol=1.0)
    assert one(diffed).metrics.nan == (0, 1, 0)
    assert diffed.sentences == ("1 tensor has NaN on the right where the other side has none: w",)


def test_minus_zero_against_zero():
    left, right = {"w": np.array([0.0, 1.0], np.float32)}, {"w": np.array([-0.0, 1.0], np.float32)}
    only = one(diffed := diff(checkpoint(left), checkpoint(right)))
    assert only.detail == "-0.0 against 0.0: the bits differ, the numbers do not"
    assert (only.metrics.mismatched, only.metrics.max_abs, only.metrics.max_ulp) == (1, 0.0, 0)
    assert not diffed.identical
    assert diff(checkpoint(left), checkpoint(right), atol=1e-9).identical


def test_missing_and_extra():
    right = weights()
    right["more.weight"] = right.pop("norm.weight") + 1
    diffed = diff(checkpoint(weights()), checkpoint(right))
    assert found(diffed) == {"norm.weight": "missing", "more.weight": "extra"}
    assert not diffed.same_names
    assert diffed.sentences == (
        "1 tensor is only on the left: norm.weight",
        "1 tensor is only on the right: more.weight",
    )


def test_a_renamed_tensor_is_known_by_what_it_holds():
    right = weights()
    right["model.layers.2.query.weight"] = right.pop("model.layers.2.q_proj.weight")
    only = one(diffed := diff(checkpoint(weights()), checkpoint(right)))
    assert (only.kind, only.by, only.content) == ("renamed", "content", True)
    assert (only.name, only.other_name) == ("model.layers.2.q_proj.weight", "model.layers.2.query.weight")
    assert diffed.sentences == (
        "model.layers.2.q_proj.weight of the left is called model.layers.2.query.weight on the right",
    )


def test_hundreds_of_renamed_tensors_are_one_sentence():
    right = {name.removeprefix("model."): value for name, value in weights().items()}
    diffed = diff(checkpoint(weights()), checkpoint(right))
    assert diffed.sentences == ("12 tensors have another name: 'model.' is in it on the left only",)
    assert diffed.counts["renamed"] == 12


def test_tensors_of_one_value_are_no_evidence_of_a_name():
    left, right = {"a.bias": np.zeros(4, np.float32)}, {"b.scale": np.zeros(4, np.float32)}
    assert found(diff(checkpoint(left), checkpoint(right))) == {"a.bias": "missing", "b.scale": "extra"}


def test_swapped_layers():
    right = weights()
    for name in ("q_proj", "k_proj"):
        ours, theirs = (f"model.layers.{layer}.{name}.weight" for layer in (1, 4))
        right[ours], right[theirs] = right[theirs], right[ours]
    diffed = diff(checkpoint(weights()), checkpoint(right))
    assert diffed.sentences == ("model.layers 1 and 4 are swapped",)
    assert diffed.counts["value"] == 4
    assert "model.layers.4.q_proj.weight on the right" in diffed.differences[0].detail


def test_swapped_tensors():
    right = weights()
    q, k = "model.layers.1.q_proj.weight", "model.layers.1.k_proj.weight"
    right[q], right[k] = right[k], right[q]
    assert diff(checkpoint(weights()), checkpoint(right)).sentences == (f"{k} and {q} are swapped",)


def test_layers_in_another_order():
    right = weights()
    for layer in range(6):
        for name in ("q_proj", "k_proj"):
            right[f"model.layers.{(layer + 2) % 6}.{name}.weight"] = weights()[f"model.layers.{layer}.{name}.weight"]
    assert diff(checkpoint(weights()), checkpoint(right)).sentences == (
        "model.layers 0–3 of the left are model.layers 2–5 of the right",
        "model.layers 4 and 5 of the left are model.layers 0 and 1 of the right",
    )


def test_a_layer_taken_out_of_the_middle():
    right = weights()
    for layer in range(2, 5):
        for name in ("q_proj", "k_proj"):
            right[f"model.layers.{layer}.{name}.weight"] = right.pop(f"model.layers.{layer + 1}.{name}.weight")
    diffed = diff(checkpoint(weights()), checkpoint(right))
    assert diffed.sentences[0] == (
        "model.layers 3–5 of the left are model.layers 2–4 of the right: 1 place earlier, as if something was removed"
    )


@pytest.mark.parametrize("shape", [(16, 16), (16, 24), (3, 16, 16)])
def test_a_transposed_matrix(shape: tuple[int, ...]):
    left = {"w": np.random.default_rng(1).standard_normal(shape).astype(np.float16)}
    right = {"w": np.ascontiguousarray(left["w"].swapaxes(-1, -2))}
    only = one(diffed := diff(checkpoint(left), checkpoint(right)))
    assert only.kind == ("value" if shape[-1] == shape[-2] else "shape")
    assert diffed.sentences == ("the right is the left transposed: w",)
    right["w"][..., 3, 5] += 1
    assert "transposed" not in " ".join(diff(checkpoint(left), checkpoint(right)).sentences)


def test_a_reshaped_tensor():
    left = {"conv": np.random.default_rng(1).standard_normal((8, 1, 4)).astype(np.float32)}
    only = one(diff(checkpoint(left), checkpoint({"conv": left["conv"].reshape(8, 4)})))
    assert only.kind == "shape"
    assert only.detail == "[8, 1, 4] against [8, 4]; the same numbers one after the other, in another shape"


def test_a_padded_vocabulary():
    left = {"embed_tokens.weight": np.random.default_rng(1).standard_normal((30, 4)).astype(np.float32)}
    right = {"embed_tokens.weight": np.concatenate([left["embed_tokens.weight"], np.zeros((2, 4), np.float32)])}
    said = (
        "the vocabulary has 30 rows on the left and 32 on the right; the 30 that both have are {}: embed_tokens.weight"
    )
    assert diff(checkpoint(left), checkpoint(right)).sentences == (said.format("equal"),)
    right["embed_tokens.weight"][7] = 0
    assert diff(checkpoint(left), checkpoint(right)).sentences == (said.format("not the same"),)


def test_every_dtype_changed():
    right = {name: value.astype(np.float16) for name, value in weights().items()}
    diffed = diff(checkpoint(weights()), checkpoint(right))
    assert diffed.counts["dtype"] == diffed.counts["tensors"] == 13
    assert diffed.sentences == (
        "every tensor is float32 on the left and float16 on the right: the values are the same, or rounded",
    )
    assert one(diff(checkpoint(weights()), checkpoint(right), only=["norm.weight"])).detail == "every value is the same"


def test_a_dtype_that_is_no_cast():
    right = {name: value.astype(np.float16) for name, value in weights().items()}
    right["norm.weight"][3] = 7
    diffed = diff(checkpoint(weights()), checkpoint(right))
    assert diffed.sentences == (
        "every tensor is float32 on the left and float16 on the right: 12 are rounded, 1 is not: norm.weight",
    )
    (norm,) = [each for each in diffed.differences if each.name == "norm.weight"]
    assert (norm.metrics.first, norm.metrics.max_abs) == ((3,), 6.0)


def test_objects_are_compared_by_their_bytes():
    left, right = {"rng": b"abc", "same": b"x", "gone": b"1"}, {"rng": b"abd", "same": b"x"}
    diffed = diff(checkpoint(weights(), left), checkpoint(weights(), right))
    assert found(diffed) == {"rng": "object", "gone": "object"}
    assert diffed.sentences == ("2 objects that are no tensor: rng, gone",)
    assert diff(checkpoint(weights(), left), checkpoint(weights(), right), ignore=["rng", "gone"]).identical


def test_an_extra_state_of_one_side_only_is_a_note():
    diffed = diff(checkpoint(weights(), {"a._extra_state": b""}), checkpoint(weights()))
    assert diffed.identical
    note = "1 _extra_state object that the other side has not: no weights are in them"
    assert note in diffed.left.notes
    assert note not in diffed.right.notes
    changed = diff(checkpoint({}, {"a._extra_state": b"1"}), checkpoint({}, {"a._extra_state": b"2"}))
    assert found(changed) == {"a._extra_state": "object"}


def test_plain_values_are_told_and_make_no_difference():
    left, right = ({"iteration": step, "args": {"lr": 0.1, "other": object()}} for step in (1, 2))
    diffed = diff(checkpoint(weights(), values=left), checkpoint(weights(), values=right))
    assert diffed.identical
    assert diffed.sentences == ("beside the tensors: iteration is 1 and 2",)


def test_only_and_ignore():
    right = {name: value + 1 for name, value in weights().items()}
    sides = checkpoint(weights()), checkpoint(right)
    assert set(found(diff(*sides, only=["*.3.*"]))) == {
        f"model.layers.3.{name}.weight" for name in ("q_proj", "k_proj")
    }
    ignored = diff(*sides, ignore=["model.*"])
    assert set(found(ignored)) == {"norm.weight"}
    assert len(ignored.ignored) == 12
    with pytest.raises(WorkbenchError, match="no tensor of either side is called 'nrom'"):
        diff(*sides, only=["norm.weight", "nrom"])


def test_without_values_nothing_is_identical():
    right = {name: value + 1 for name, value in weights().items()}
    diffed = diff(checkpoint(weights()), checkpoint(right), values=False)
    assert (diffed.identical, diffed.compared, diffed.differences) == (False, False, ())
    assert found(diff(checkpoint(weights()), checkpoint({}), values=False)).keys() == weights().keys()


def test_progress_reaches_its_end():
    told: list[tuple[int, int]] = []
    right = {name: value + 1 for name, value in weights().items()}
    diff(checkpoint(weights()), checkpoint(right), progress=lambda done, total: told.append((done, total)))
    done, total = told[-1]
    assert done == total == 2 * sum(value.nbytes for value in right.values())
    assert [step for step, _ in told] == sorted(step for step, _ in told)


@pytest.mark.parametrize("name", sorted(every_kind().keys() - {"grid"}))  # which holds some bytes twice
def test_one_byte_in_any_kind_of_tensor(name: str):
    """Whatever its pieces: against itself it is equal, and one byte is found in it."""
    left, right = every_kind()[name], every_kind()[name]
    assert diff(Checkpoint("a", "mapping", {"w": left}), Checkpoint("b", "mapping", {"w": right})).identical
    if not left.elements:
        return
    piece = right.pieces[-1]
    array = piece.data.view(piece.start, 1)
    array.flags.writeable = True
    array[0] ^= 1
    only = one(diff(Checkpoint("a", "mapping", {"w": left}), Checkpoint("b", "mapping", {"w": right})))
    assert (only.kind, only.metrics.mismatched, only.metrics.first) == ("value", 1, piece.offset)


def test_a_strided_tensor_equals_its_copy():
    rows = every_kind()["narrowed"]
    turned = transposed(every_kind()["bfloat16"].select(0, 1))
    sides = {"a": rows, "b": turned, "c": every_kind()["grid"]}
    plain = {name: (tensor.bits().copy(), tensor.dtype) for name, tensor in sides.items()}
    assert diff(Checkpoint("a", "mapping", sides), checkpoint(plain)).identical


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_byte_of_a_real_file_is_found_where_it_is(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "corrupted"
    folder.mkdir(exist_ok=True)
    suffix = data.draw(st.sampled_from([".safetensors", ".pt"]))
    tensors = {
        "a.weight": torch.arange(64, dtype=torch.float32).reshape(8, 8),
        "b.weight": torch.arange(64, 128).to(torch.bfloat16).reshape(4, 16),
        "c": torch.arange(7) + 1000,
    }
    clean, broken = folder / f"clean{suffix}", folder / f"broken{suffix}"
    save_file(tensors, clean) if suffix == ".safetensors" else torch.save(tensors, clean)
    name = data.draw(st.sampled_from(sorted(tensors)))
    value = tensors[name].reshape(-1)
    entry = data.draw(st.integers(0, value.numel() - 1))
    raw = value.view(torch.uint8).numpy().tobytes()
    content = bytearray(clean.read_bytes())
    at = content.index(raw) + entry * value.element_size() + data.draw(st.integers(0, value.element_size() - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    broken.write_bytes(content)
    only = one(diff(clean, broken))
    index = tuple(int(axis) for axis in np.unravel_index(entry, tuple(tensors[name].shape)))
    assert (only.kind, only.name, only.metrics.first, only.metrics.mismatched) == ("value", name, index, 1)


def test_a_diff_is_json():
    right = weights()
    right["norm.weight"][2] = np.inf
    diffed = diff(checkpoint(weights()), checkpoint(right))
    told = json.loads(json.dumps(diffed.to_json(), allow_nan=False))
    assert told["schema"] == "workbench.diff/1"
    assert told["differences"][0]["metrics"]["right"] == "inf"


# --------------------------------------------------------------------------------------- a close look


def test_a_close_look_at_one_pair():
    left = {"w": np.zeros((64, 128), np.float32)}
    right = copied(left)
    right["w"][0, 0], right["w"][63, 127], right["w"][40, 5] = 0.5, 0.03, np.nan
    detail = diff(checkpoint(left), checkpoint(right)).look("w")
    assert detail.metrics.mismatched == 3
    assert detail.histogram == ((None, 64 * 128 - 3), (-2, 1), (-1, 1))
    assert (len(detail.heat), len(detail.heat[0]), detail.rows, detail.columns) == (32, 64, 2, 2)
    hot = {(row, column) for row, line in enumerate(detail.heat) for column, share in enumerate(line) if share}
    assert hot == {(0, 0), (31, 63), (20, 2)}
    assert detail.heat[0][0] == 0.25
    assert [entry[0] for entry in detail.sample] == [(40, 5), (0, 0), (63, 127)]
    assert detail.sample[1] == ((0, 0), "0.0", "0.5")


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 5), (33, 65)])
def test_a_heat_map_shows_the_share_that_differs(shape: tuple[int, ...]):
    left = {"w": np.zeros(shape, np.float32)}
    detail = diff(checkpoint(left), checkpoint({"w": left["w"] + np.float32(1)})).look("w")
    assert all(share == 1.0 for line in detail.heat for share in line)
    assert len(detail.heat) <= 32
    assert all(len(line) <= 64 for line in detail.heat)


def test_there_is_nothing_to_look_at():
    diffed = diff(checkpoint(weights()), checkpoint({"norm.weight": np.ones(5, np.float32)}))
    with pytest.raises(
        WorkbenchError, match=r"norm\.weight is \[16\] float32 on the left and \[5\] float32 on the right"
    ):
        diffed.look("norm.weight")
    with pytest.raises(WorkbenchError, match="only on the left: there is nothing to hold it against"):
        diffed.look("model.layers.0.q_proj.weight")
    with pytest.raises(WorkbenchError, match="no tensor that was compared is called 'x'"):
        diffed.look("x")
