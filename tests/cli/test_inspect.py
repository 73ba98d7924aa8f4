"""`workbench inspect`: what it prints, writes and refuses, and its exit status."""

from __future__ import annotations

import json
import pickle

import numpy
import pytest
from safetensors.numpy import save_file

from workbench.arch.architecture import Architecture
from workbench.arch.presets import preset
from workbench.arch.sizes import ModelSizes

from ..render.pages import assert_self_contained

PATTERN = "M[*-]M[ME]"


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    tensors = Architecture(PATTERN, ModelSizes()).canonical()
    save_file({tensor.name: numpy.zeros(tensor.shape, numpy.float32) for tensor in tensors}, path)
    return path


def test_it_says_what_it_is(run, saved):
    done = run("inspect", "model.safetensors")
    assert (done.status, done.err) == (0, "")
    assert "✓ UNDERSTOOD: A hybrid model in the canonical layout, 6 sub-layers" in done.out
    assert "M*-MME" in done.out
    assert "mixer.A_log" not in done.out.split("Tensors")[-1]
    assert "mixer.A_log" in run("inspect", "model.safetensors", "--details").out.split("Tensors")[-1]


def test_json_has_the_fields_of_the_design(run, saved):
    data = json.loads(run("inspect", "model.safetensors", "--json").out)
    assert data["schema"] == "workbench.inspect/1"
    assert (data["format"], data["layout"], data["pattern"], data["fused_pattern"]) == (
        "safetensors", "canonical", "M*-MME", PATTERN,
    )  # fmt: skip
    assert data["parameters"]["total"] == Architecture(PATTERN).parameters
    assert data["sizes"]["hidden_size"] == 64
    assert {entry["name"] for entry in data["unknown"]} >= {"moe_topk", "rotary_base"}
    assert data["preflight"] is None
    # What is known goes where --sizes takes it.
    sizes = ModelSizes.from_mapping({**ModelSizes().to_json(), **data["sizes"]})
    assert Architecture(PATTERN, sizes).canonical() == Architecture(PATTERN).canonical()


def test_what_would_load(run, saved, tmp_path):
    (tmp_path / "sizes.json").write_text(json.dumps(ModelSizes().to_json()))
    for against in (["M*-MME"], [PATTERN, "--sizes", "sizes.json"], ["model.safetensors"]):
        done = run("inspect", "model.safetensors", "--against", *against)
        assert done.status == 0, done.out
        assert "✓ WOULD LOAD" in done.out


def test_what_would_not_load(run, saved, tmp_path):
    (tmp_path / "sizes.json").write_text(json.dumps({**ModelSizes().to_json(), "ffn_hidden_size": 96}))
    for against, reason in (
        (["M*-ME"], "the checkpoint has a sub-layer that the model has not"),
        ([PATTERN, "--sizes", "sizes.json"], "ffn_hidden_size is 96 in the model and 128 in the checkpoint"),
        (["nemotron-h-8b"], "hidden_size is 4096 in the model and 64 in the checkpoint"),
    ):
        done = run("inspect", "model.safetensors", "--against", *against)
        assert done.status == 1
        assert "✗ WOULD NOT LOAD" in done.out
        assert reason in done.out


def test_against_what_other_commands_take(run, saved, tmp_path):
    config = {
        "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 100, "hidden_act": "silu",
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "run.sh").write_text(
        "python pretrain_hybrid.py --hybrid-layer-pattern 'M*-MME' --hidden-size 64 --num-attention-heads 4 --vocab-size 128"
        " --num-experts 4 --ffn-hidden-size 128 --swiglu --seq-length 64 --mamba-num-groups 2 --mamba-head-dim 16"
    )
    for against in ("config.json", "run.sh"):
        data = json.loads(run("inspect", "model.safetensors", "--against", against, "--json").out)
        assert data["preflight"]["against"] == against
        assert data["preflight"]["compared"] == "names and shapes"


def test_a_page(run, saved, tmp_path):
    done = run("inspect", "model.safetensors", "--html", "-o", "page.html", "--against", "M-")
    assert (done.status, done.out) == (1, "")
    page = (tmp_path / "page.html").read_text()
    assert_self_contained(page)
    assert "WOULD NOT LOAD" in page
    again = run("inspect", "model.safetensors", "-o", "page.html")
    assert again.status == 2
    assert run("inspect", "model.safetensors", "-o", "page.html", "--force").status == 0


def test_it_never_writes_into_what_it_reads(run, saved):
    before = saved.read_bytes()
    done = run("inspect", "model.safetensors", "-o", "model.safetensors", "--force")
    assert done.status == 2
    assert "belongs to model.safetensors, which is only read" in done.err
    assert saved.read_bytes() == before


class Gadget:
    def __reduce__(self):
        return print, ("this must never run",)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_bytes(b""), "is an empty file"),
        (lambda path: path.write_bytes(b"\x08\0\0\0\0\0\0\0{}      tail"), ""),
        (lambda path: path.write_bytes(pickle.dumps(Gadget())), ""),
        (lambda path: path.mkdir(), ""),
    ],
)
def test_what_is_no_checkpoint(run, tmp_path, make, said):
    make(tmp_path / "x.pt")
    done = run("inspect", "x.pt")
    assert done.status == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert "this must never run" not in done.out + done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "workbench inspect needs a checkpoint"),
        (["a", "b"], "to compare two: workbench diff A B"),
        (["model.safetensors", "--sizes", "x.json"], "give both"),
        (["model.safetensors", "--against", "no such preset"], ""),
        (["model.safetensors", "--against", "M[*"], "unclosed-group"),
        (["model.safetensors", "--against", "jamba-v0.1"], ""),
        (["model.safetensors", "--against", "model.safetensors", "--sizes", "x.json"], "has its own sizes"),
        (["model.safetensors", "--against", "llama-3-8b", "--sizes", "x.json"], "has its own sizes"),
    ],
)
def test_bad_input(run, saved, arguments, said):
    done = run("inspect", *arguments)
    assert done.status == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_bad_input_as_json(run):
    done = run("inspect", "nowhere", "--json")
    assert done.status == 2
    assert json.loads(done.out)["error"].startswith("nowhere does not exist")


def test_a_preset_without_a_vocabulary_says_what_to_give(run, saved):
    from workbench.arch.presets import presets

    named = [entry.name for entry in presets() if entry.expressible and entry.sizes and entry.sizes.vocab_size is None]
    for name in named[:1]:
        done = run("inspect", "model.safetensors", "--against", name)
        assert done.status == 2
        assert "comes without a vocab_size" in done.err
    assert preset("llama-3-8b").sizes.vocab_size
