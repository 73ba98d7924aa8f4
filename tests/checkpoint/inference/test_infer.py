"""Pattern and sizes come back from names and shapes alone: of every preset, and of models at random."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from tests.contracts.architectures import MEDIUM, ODD, OPTIONS, random_cases
from workbench.arch.architecture import Architecture
from workbench.arch.presets import Preset, presets
from workbench.arch.sizes import ModelSizes
from workbench.checkpoint.inference.infer import Inferred, infer
from workbench.checkpoint.inference.recorded import plain_values

PRESETS = [preset for preset in presets() if preset.expressible and preset.sizes and preset.sizes.vocab_size]

# Sizes that no name and no shape depends on.
TRACELESS = {
    *("rotary_base", "norm_epsilon", "initializer_std", "hidden_dropout", "attention_dropout", "dsa_index_topk"),
    *("dsa_index_loss_coeff", "moe_aux_loss_coeff", "moe_topk", "moe_shared_experts"),
}


def shapes_of(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape for tensor in architecture.canonical()}


def seen_pattern(architecture: Architecture) -> str:
    """What a canonical checkpoint shows of a pattern: no brackets, no stages, the depths that have weights."""
    plain = architecture.pattern.unfused()
    depth = f"/{plain.mtp}" if plain.mtp else ""
    return plain.main.replace("|", "") + depth * architecture.built_depths


def check_recovered(architecture: Architecture) -> Inferred:
    """Everything that the issue asks of inference, of one model."""
    shapes = shapes_of(architecture)
    found = infer(shapes)
    true = plain_values(architecture.sizes, architecture.pattern)
    assert str(found.pattern) == seen_pattern(architecture)
    assert found.findings == ()
    # What is known is true.
    assert found.values == {name: true[name] for name in found.values}
    # What is proven besides is true too.
    assert not [equation.text for equation in found.equations if equation.broken(true)]
    # Nothing is left out: every size is known or listed as unknown.
    assert set(found.names) == set(found.values) | {entry.name for entry in found.unknown}
    # The rest from elsewhere gives the same names and shapes.
    completed = found.completed(architecture.sizes)
    assert shapes_of(Architecture(architecture.pattern, completed)) == shapes
    # And so do other sizes, which is why the unknown cannot be known.
    example = found.example()
    assert example is not None
    assert shapes_of(Architecture(found.pattern, example)) == shapes
    # Told the truth, it has nothing to say against it, and knows everything.
    told = found.told(true, "the preset")
    assert told.findings == ()
    assert {entry.name for entry in told.unknown} & set(true) == set()
    return found


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_preset(preset: Preset) -> None:
    check_recovered(preset.architecture())


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("sizes", [{}, ODD, MEDIUM], ids=["tiny", "odd", "medium"])
def test_every_option(option: str, sizes: dict[str, Any]) -> None:
    pattern, fields = OPTIONS[option]
    check_recovered(Architecture(pattern, ModelSizes(**{**sizes, **fields})))


@given(random_cases())
@settings(max_examples=150, deadline=None)
def test_models_at_random(case: tuple[str, dict[str, Any]]) -> None:
    pattern, fields = case
    if "E" not in pattern or not fields["moe_shared_ffn"]:
        fields = {**fields, "shared_expert_gate": False}
    check_recovered(Architecture(pattern, ModelSizes(**fields)))


def test_more_layers_than_any_model_has_spell_no_pattern():
    shapes = {f"decoder.layers.{index}.mixer.A_log": (4,) for index in range(2**16 + 1)}
    found = infer(shapes)
    assert found.pattern is None
    assert any("it has 65,537 sub-layers: no model has more than 65,536" in each for each in found.findings)


def test_a_hundred_thousand_mtp_depths_are_not_gone_through_for_each():
    depths = {f"mtp.layers.{depth}.mtp_model_layer.layers.0.mixer.A_log": (4,) for depth in range(2**16 - 1)}
    assert infer({"decoder.layers.0.mixer.A_log": (4,), **depths}).pattern is None
