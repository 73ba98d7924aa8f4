"""`workbench convert`: what it writes, prints and refuses, on real files."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from workbench.cli import main

PREFIX = "decoder.layers"


@pytest.fixture
def fused(tmp_path):
    """The file of a fused [*-], by local names."""
    tensors = {
        "embedding.word_embeddings.weight": (16, 8),
        f"{PREFIX}.0.input_layernorm.weight": (8,),
        f"{PREFIX}.0.self_attention.linear_qkv.weight": (24, 8),
        f"{PREFIX}.0.self_attention.linear_proj.weight": (8, 8),
        f"{PREFIX}.0.pre_mlp_layernorm.weight": (8,),
        f"{PREFIX}.0.mlp.linear_fc1.weight": (32, 8),
        f"{PREFIX}.0.mlp.linear_fc2.weight": (8, 32),
        "decoder.final_norm.weight": (8,),
    }
    random = np.random.default_rng(1)
    save_file(
        {name: random.random(shape, np.float32) for name, shape in tensors.items()}, tmp_path / "fused.safetensors"
    )
    return tmp_path / "fused.safetensors"


CANONICAL = {
    "embedding.word_embeddings.weight",
    f"{PREFIX}.0.self_attention.linear_qkv.layer_norm_weight",
    f"{PREFIX}.0.self_attention.linear_qkv.weight",
    f"{PREFIX}.0.self_attention.linear_proj.weight",
    f"{PREFIX}.1.mlp.linear_fc1.layer_norm_weight",
    f"{PREFIX}.1.mlp.linear_fc1.weight",
    f"{PREFIX}.1.mlp.linear_fc2.weight",
    "decoder.final_norm.weight",
}


def test_it_converts_and_says_so(run, fused, tmp_path):
    done = run("convert", "fused.safetensors", "a.safetensors", "--to", "canonical")
    assert (done.status, done.err) == (0, "")
    assert "✓ CONVERTED: 8 tensors, " in done.out
    assert "layout   fused (state dict, local names)" in done.out
    assert load_file(tmp_path / "a.safetensors").keys() == CANONICAL
    back = run(
        "convert", "a.safetensors", "b.safetensors", "--to", "fused", "--pattern", "[*-]", "--names", "local", "--quiet"
    )
    assert back.out.startswith("✓ CONVERTED: 8 tensors, ")
    assert back.out.count("\n") == 1
    want, found = load_file(fused), load_file(tmp_path / "b.safetensors")
    assert want.keys() == found.keys()
    assert all(np.array_equal(want[name], found[name]) for name in want)


def test_json(run, fused):
    done = run("convert", "fused.safetensors", "a.safetensors", "--to", "canonical", "--json")
    data = json.loads(done.out)
    assert data["schema"] == "workbench.conversion/1"
    assert {entry["name"] for entry in data["mapping"]} == CANONICAL
    assert (data["source"]["pattern"], data["target"]["pattern"], data["verified"]) == ("[*-]", "*-", True)


def test_a_dry_run(run, fused, tmp_path):
    done = run("convert", "fused.safetensors", "a.safetensors", "--to", "canonical", "--dry-run")
    assert (done.status, done.err) == (0, "")
    assert "– DRY RUN: 8 tensors, " in done.out
    assert "decoder.layers.<i>.input_layernorm.weight" in done.out
    assert [entry.name for entry in tmp_path.iterdir()] == ["fused.safetensors"]


def test_another_format(run, fused, tmp_path):
    assert run("convert", "fused.safetensors", "c", "--to", "canonical", "--format", "torch_dist").status == 0
    assert (tmp_path / "c" / ".metadata").exists()
    assert run("convert", "c", "d.safetensors", "--to", "canonical").status == 0
    assert load_file(tmp_path / "d.safetensors").keys() == CANONICAL
    linked = run("convert", "c", "e", "--to", "grouped", "--link", "--json")
    assert json.loads(linked.out)["linked_bytes"] > 0
    assert (tmp_path / "c" / "__0_0.distcp").samefile(tmp_path / "e" / "__0_0.distcp")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "workbench convert needs a source and a target\n"),
        (["fused.safetensors"], "needs a source and a target; where shall fused.safetensors go?"),
        (["a", "b", "c"], "workbench convert takes a source and a target, 3 were given"),
        (["missing.safetensors", "a.safetensors"], "missing.safetensors"),
        (["fused.safetensors", "fused.safetensors"], "exists; give another path, or --force"),
        (["fused.safetensors", "fused.safetensors", "--force"], "is the source: a source is never changed"),
        (["fused.safetensors", "a.pt"], "safetensors and torch_dist are written, nothing else"),
        (["fused.safetensors", "a.safetensors", "--link"], "nothing of it can be linked"),
        (["fused.safetensors", "a.safetensors", "--pattern", "[*-]"], "the canonical layout knows no brackets"),
    ],
)
def test_what_is_refused(run, fused, tmp_path, argv, said):
    done = run("convert", *argv, "--to", "canonical")
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err
    assert [entry.name for entry in tmp_path.iterdir()] == ["fused.safetensors"]


def test_the_layout_must_be_said(run, fused):
    done = run("convert", "fused.safetensors", "a.safetensors")
    assert done.status == 2
    assert "--to" in done.err


def test_a_bar_of_bytes_on_a_terminal(fused, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["convert", "fused.safetensors", "a.safetensors", "--to", "canonical"]) == 0
    assert "converting" in capsys.readouterr().err
    for quiet in (["--quiet"], ["--no-progress"], ["--dry-run"]):
        assert main(["convert", "fused.safetensors", "b.safetensors", "--to", "canonical", "--force", *quiet]) == 0
        assert capsys.readouterr().err == ""
