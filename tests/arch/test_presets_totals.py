"""Presets: every total against the published one, and the figures that caveats name."""

from __future__ import annotations

import re

import pytest

from workbench.arch.architecture import Architecture
from workbench.arch.presets import preset, presets
from workbench.arch.sizes import ModelSizes

SIZED = [entry.name for entry in presets() if entry.expressible and entry.sizes and entry.sizes.vocab_size is not None]


def buffers(model: Architecture) -> int:
    return sum(row.elements for part in model.parts for row in part.rows if not row.trained)


@pytest.mark.parametrize("name", [name for name in SIZED if preset(name).exact_parameters])
def test_exact_counts(name):
    entry = preset(name)
    model = entry.architecture()
    if model.parameters != entry.exact_parameters:
        assert model.parameters + buffers(model) == entry.exact_parameters
        assert any(f"{buffers(model):,} router biases" in sentence for sentence in entry.caveats)


def test_which_have_an_exact_count():
    assert {name: preset(name).exact_parameters for name in SIZED if preset(name).exact_parameters} == {
        "Nemotron-Nano-9B-v2": 8_888_227_328,
        "Nemotron-3-Nano-30B-A3B": 31_577_937_344,
        "Nemotron-3.5-Lightning (test config, MTP)": 32_913_263_168,
        "Nemotron-3-Super-120B-A12B": 123_611_012_096,
        "Qwen3-Next-80B-A3B": 81_324_862_720,
        "Qwen3.5-27B (language part)": 26_895_998_464,
        "Granite-4.0-H-Small": 32_207_337_984,
        "Granite-4.0-H-Micro": 3_191_396_096,
        "DeepSeek-V3 / R1": 671_026_419_200,
        "Llama-3 8B": 8_030_261_248,
        "Mixtral-8x7B": 46_702_792_704,
        "gpt-oss-20b": 20_914_757_184,
    }


def rounds_to(parameters: int, published: str) -> bool:
    """True when a total has the published figure at that figure's own precision: 123.6 billion is "120B"."""
    found = re.match(r"(\d+)([BM])\b", published, re.IGNORECASE)
    assert found, f"{published!r} begins with no figure"
    unit = {"B": 10**9, "M": 10**6}[found[2].upper()]
    digits = len(found[1].rstrip("0"))
    step = unit * 10 ** (len(found[1]) - digits)
    return round(parameters / step) * step == int(found[1]) * unit


@pytest.mark.parametrize("name", [name for name in SIZED if preset(name).published])
def test_totals_round_to_the_published_figure_or_say_why_not(name):
    entry = preset(name)
    assert entry.published is not None
    if entry.published.startswith("8x7B"):
        assert any("8x7B counts experts, not parameters" in sentence for sentence in entry.caveats)
        return
    if not rounds_to(entry.architecture().parameters, entry.published):
        assert any("rounds to" in sentence for sentence in entry.caveats), "a caveat must explain the difference"


def test_the_only_total_that_does_not_round():
    other = [
        name
        for name in SIZED
        if (published := preset(name).published)
        and not published.startswith("8x7B")
        and not rounds_to(preset(name).architecture().parameters, published)
    ]
    assert other == ["DeepSeek-V3.2-Exp"]


def test_rounding_can_fail():
    assert rounds_to(31_577_937_344, "30B total")
    assert not rounds_to(36_000_000_000, "30B")
    assert not rounds_to(671_877_929_216, "671B")


def test_figures_in_caveats():
    """The numbers that sentences name are what the sizes give."""
    super_ = preset("nemotron-3-super-120b-a12b")
    assert super_.sizes is not None
    own = ModelSizes.from_mapping(super_.sizes.to_json() | {"mtp_use_repeated_layer": False})
    assert f"{Architecture(str(super_.pattern), own).parameters:,}" in super_.caveats[0]

    lightning, nano = preset("Nemotron-3.5-Lightning"), preset("Nemotron-3-Nano-30B-A3B")
    added = lightning.architecture().parameters - nano.architecture().parameters
    assert any(f"{added:,}" in sentence for sentence in lightning.caveats)

    deepseek, sparse = preset("DeepSeek-V3"), preset("DeepSeek-V3.2")
    assert deepseek.sizes is not None
    assert sparse.sizes is not None
    with_mtp = Architecture(f"{deepseek.pattern}/+E", deepseek.sizes)
    assert f"{with_mtp.parameters:,}" in deepseek.caveats[0]
    indexer = sparse.architecture().parameters - deepseek.architecture().parameters
    assert f"{indexer:,}" in sparse.caveats[0]
    with_mtp = Architecture(f"{sparse.pattern}/DE", sparse.sizes)
    copies = 2 * sparse.sizes.vocabulary * sparse.sizes.hidden_size
    assert f"{with_mtp.parameters + copies + buffers(with_mtp):,}" in sparse.caveats[1]
