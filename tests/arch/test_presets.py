"""Presets: every pattern's counts derived again, and looking them up."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from importlib import resources

import pytest

from workbench.arch.presets import DATA, Preset, preset, presets
from workbench.arch.sizes import ModelSizes, SizesError
from workbench.errors import WorkbenchError

NAMES = [entry.name for entry in presets()]
EXPRESSIBLE = [entry.name for entry in presets() if entry.expressible]
SIZED = [name for name in EXPRESSIBLE if (sizes := preset(name).sizes) is not None and sizes.vocab_size is not None]

# name: sub-layers of the main pattern, pairs when everything is fused, blocks then, and the pairs' kinds.
COUNTS = {
    "Nemotron-H-8B": (52, 24, 28, {"M-": 20, "*-": 4}),
    "Nemotron-H-47B": (98, 44, 54, {"M-": 39, "*-": 5}),
    "Nemotron-H-56B": (118, 54, 64, {"M-": 44, "*-": 10}),
    "Nemotron-Nano-9B-v2": (56, 25, 31, {"M-": 21, "*-": 4}),
    "Nemotron-Nano-12B-v2": (62, 28, 34, {"M-": 22, "*-": 6}),
    "Nemotron-3-Nano-30B-A3B": (52, 23, 29, {"ME": 17, "*E": 6}),
    "Nemotron-3.5-Lightning (test config, MTP)": (52, 23, 29, {"ME": 17, "*E": 6}),
    "Nemotron-3-Super-120B-A12B": (88, 40, 48, {"ME": 32, "*E": 8}),
    "Mamba2-hybrid 800M (example)": (48, 20, 28, {"M-": 20}),
    "Megatron test hybrid_mr_mcore_te PP1": (44, 20, 24, {"M-": 16, "*-": 4}),
    "Megatron test hybrid_mr_mcore_te PP4 / PP2xVPP2": (44, 20, 24, {"M-": 16, "*-": 4}),
    "Megatron test mamba_hybrid_2b (inference)": (50, 23, 27, {"M-": 19, "*-": 4}),
    "Megatron test flextron MoE": (13, 5, 8, {"ME": 3, "*E": 2}),
    "Megatron mock nemotron 20L": (20, 8, 12, {"ME": 6, "*E": 2}),
    "Qwen3-Next-80B-A3B": (96, 48, 48, {"GE": 36, "*E": 12}),
    "Qwen3.5-27B (language part)": (128, 64, 64, {"G-": 48, "*-": 16}),
    "Jamba-v0.1": (64, 32, 32, {"M-": 12, "ME": 16, "*-": 4}),
    "Granite-4.0-H-Small": (80, 40, 40, {"ME": 36, "*E": 4}),
    "Granite-4.0-H-Micro": (80, 40, 40, {"M-": 36, "*-": 4}),
    "DeepSeek-V3 / R1": (122, 61, 61, {"+-": 3, "+E": 58}),
    "DeepSeek-V3.2-Exp": (122, 61, 61, {"D-": 3, "DE": 58}),
    "Llama-3 8B": (64, 32, 32, {"*-": 32}),
    "Mixtral-8x7B": (64, 32, 32, {"*E": 32}),
    "gpt-oss-20b": (48, 24, 24, {"*E": 24}),
}

# Where the published descriptions put attention: (main blocks after fusion that hold it, counted from 0).
ATTENTION = {
    "Granite-4.0-H-Small": [5, 15, 25, 35],
    "Granite-4.0-H-Micro": [5, 15, 25, 35],
    "Jamba-v0.1": [4, 12, 20, 28],
    "Qwen3-Next-80B-A3B": list(range(3, 48, 4)),
    "Qwen3.5-27B (language part)": list(range(3, 64, 4)),
}


# -- the list


def test_every_collected_model_is_there():
    assert len(NAMES) == len(set(NAMES)) == 27
    assert [name for name in NAMES if name not in EXPRESSIBLE] == [
        "Kimi-Linear-48B-A3B",
        "Jamba-v0.1",
        "Falcon-H1 (all sizes)",
        "Zamba2-2.7B",
    ]
    assert [name for name in EXPRESSIBLE if name not in SIZED] == [
        "Mamba2-hybrid 800M (example)",
        "Megatron test hybrid_mr_mcore_te PP1",
        "Megatron test hybrid_mr_mcore_te PP4 / PP2xVPP2",
        "Megatron test mamba_hybrid_2b (inference)",
        "Megatron test flextron MoE",
    ]


def test_the_data_is_in_the_package():
    assert resources.files("workbench.arch").joinpath("presets.json").read_text("utf-8") == DATA.read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_says_where_it_comes_from(name):
    entry = preset(name)
    assert entry.sources
    assert all(sentence.endswith(".") for sentence in entry.caveats)
    assert entry.expressible is (entry.reason == "")
    assert entry.exact_parameters is None or entry.sources[-1].startswith("Count: ")


@pytest.mark.parametrize("entry", json.loads(DATA.read_text("utf-8")), ids=lambda entry: entry["name"])
def test_the_fields_are_sizes_as_they_stand(entry):
    assert set(entry) <= {
        "name", "aliases", "pattern", "published", "exact_parameters", "expressible", "reason", "sources", "caveats",
        "fields",
    }  # fmt: skip
    assert entry["expressible"] is ("reason" not in entry)
    if entry["fields"] is None:
        assert entry["name"] == "Falcon-H1 (all sizes)"
    else:
        assert ModelSizes.from_mapping(entry["fields"]) == preset(entry["name"]).sizes


# -- patterns


def test_every_pattern_has_its_counts_here():
    assert list(COUNTS) == [entry.name for entry in presets() if entry.pattern is not None]


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_derived_again(name):
    pattern = preset(name).pattern
    assert pattern is not None
    fused = pattern.fused()
    kinds = Counter(block.symbols for block in fused.blocks if block.fused)
    assert (len(pattern.sublayers), fused.counts["fused"], fused.counts["blocks"], dict(kinds)) == COUNTS[name]
    assert str(pattern.unfused()) == str(pattern)


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_is_where_it_is_published(name):
    pattern = preset(name).pattern
    assert pattern is not None
    assert [block.index for block in pattern.fused().blocks if "*" in block.symbols] == ATTENTION[name]


def test_deepseek_has_three_dense_blocks_and_experts_after_them():
    for name in ("DeepSeek-V3", "DeepSeek-V3.2"):
        pattern = preset(name).pattern
        assert pattern is not None
        assert [layer.symbol for layer in pattern.sublayers if layer.role == "channel mixer"] == ["-"] * 3 + ["E"] * 58


def test_mtp_is_in_the_pattern():
    found = {entry.name: entry.pattern.mtp for entry in presets() if entry.pattern is not None and entry.pattern.mtp}
    assert {name: (str(mtp), mtp.depths) for name, mtp in found.items()} == {
        "Nemotron-3.5-Lightning (test config, MTP)": ("*E", 2),
        "Nemotron-3-Super-120B-A12B": ("*E", 2),
        "Qwen3-Next-80B-A3B": ("*E", 1),
    }


# -- looking up


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("llama-3-8b", "Llama-3 8B"),
        ("LLAMA 3 8B", "Llama-3 8B"),
        ("deepseek-v3", "DeepSeek-V3 / R1"),
        ("DeepSeek-R1", "DeepSeek-V3 / R1"),
        ("deepseekv32exp", "DeepSeek-V3.2-Exp"),
        ("nemotron-3-super-120b-a12b", "Nemotron-3-Super-120B-A12B"),
        ("qwen3.5-27b", "Qwen3.5-27B (language part)"),
    ],
)
def test_names_are_written_in_many_ways(written, name):
    assert preset(written).name == name


@pytest.mark.parametrize("name", NAMES)
def test_every_name_and_alias_finds_itself(name):
    entry = preset(name)
    assert isinstance(entry, Preset)
    assert all(preset(alias) is entry for alias in entry.aliases)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("llama", "no preset is named 'llama': did you mean 'Llama-3 8B'? 'workbench presets' lists all of them"),
        (
            "granite 4 h",
            "no preset is named 'granite 4 h': did you mean 'Granite-4.0-H-Small' or 'Granite-4.0-H-Micro'? "
            "'workbench presets' lists all of them",
        ),
        ("zzz", "no preset is named 'zzz': 'workbench presets' lists all of them"),
        ("", "no preset is named '': 'workbench presets' lists all of them"),
        ("M*-", "no preset is named 'M*-': 'workbench presets' lists all of them"),
    ],
)
def test_unknown_names(written, said):
    with pytest.raises(WorkbenchError) as caught:
        preset(written)
    assert str(caught.value) == said


def test_what_is_not_expressible_says_why():
    with pytest.raises(WorkbenchError) as caught:
        preset("kimi-linear-48b-a3b").architecture()
    assert str(caught.value) == (
        "Kimi-Linear-48B-A3B cannot be written as a pattern: its sequence mixer is Kimi delta attention, symbol K, which "
        "released Megatron Core 0.19 does not have"
    )
    for entry in presets():
        if not entry.expressible:
            with pytest.raises(WorkbenchError, match=re.escape(entry.reason)):
                entry.architecture()


def test_a_vocabulary_that_is_not_published_is_asked_for():
    with pytest.raises(SizesError, match="needs a vocab_size"):
        preset("Megatron test flextron MoE").architecture()


def test_the_dtype_is_passed_on():
    assert preset("Llama-3 8B").architecture("fp32").dtype == "fp32"


# -- how it loads


def test_the_list_is_read_once():
    assert presets() is presets()


def test_loading_reaches_no_framework():
    program = (
        "import sys\n"
        "from workbench.arch.presets import presets\n"
        "presets()\n"
        "print(*({'torch', 'numpy', 'megatron', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("text", ["", "M", "M*-", "MEM*E", "G-*-/*-", "llama"])
def test_a_pattern_is_no_name(text):
    with pytest.raises(WorkbenchError, match="no preset is named"):
        preset(text)
