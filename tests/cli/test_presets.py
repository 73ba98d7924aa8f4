import json

from workbench.arch.presets import presets
from workbench.arch.sizes import ModelSizes


def test_the_list_has_every_preset(run):
    done = run("presets")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"{len(presets())} published architectures\n")
    words = done.out.split()
    assert all(word in words for preset in presets() for word in preset.name.split())
    assert "Not expressible" in done.out


def test_one_preset_with_its_sizes_and_sources(run):
    done = run("presets", "LLAMA-3 8b")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("Llama-3 8B\n\n8,030,261,248 parameters · 8,030,261,248 active\n")
    for said in ("Pattern, folded: (*-)×32:", "ffn_hidden_size", "14336", "Sources"):
        assert said in done.out


def test_one_that_cannot_be_said(run):
    done = run("presets", "falcon-h1")
    assert (done.status, done.err) == (0, "")
    assert "✗ NOT EXPRESSIBLE: attention and Mamba run side by side" in done.out


def test_a_name_that_nearly_is_one(run):
    done = run("presets", "llama-3-7b")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("workbench: error: no preset is named 'llama-3-7b': did you mean 'Llama-3 8B'")


def test_json(run):
    data = json.loads(run("presets", "--json").out)
    assert data["schema"] == "workbench.presets/1"
    assert [entry["name"] for entry in data["presets"]] == [preset.name for preset in presets()]
    llama = next(entry for entry in data["presets"] if entry["name"] == "Llama-3 8B")
    assert llama["parameters"] == {"total": 8030261248, "main": 8030261248, "active": 8030261248}
    assert llama["fused_pattern"] == "[*-]" * 32
    assert ModelSizes.from_mapping(llama["sizes"]).hidden_size == 4096


def test_json_of_one_that_cannot_be_said(run):
    (entry,) = json.loads(run("presets", "zamba2-2.7b", "--json").out)["presets"]
    assert (entry["expressible"], entry["parameters"]) == (False, None)
    assert entry["reason"]
