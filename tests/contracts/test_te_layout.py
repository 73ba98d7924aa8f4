"""Names, shapes and dtypes of our checkpoints are those of megatron-core's Transformer Engine spec, fused or not.

`data/te_state_dict_keys.json` was obtained by constructing the TE modules themselves (its `about` says how).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from megatron.core import parallel_state

from workbench.arch.sizes import ModelSizes
from workbench.fusion.checkpointing import global_shapes
from workbench.fusion.model import build_model
from workbench.fusion.state import canonical_state_dict
from workbench.pattern.symbols import CHANNEL_MIXERS

ORACLE = json.loads((Path(__file__).parent / "data" / "te_state_dict_keys.json").read_text())

# What the oracle's base configuration and each of its options are in our sizes.
BASE: dict[str, Any] = {"activation": "gelu", "moe_ffn": 32, "moe_shared_ffn": 48, "moe_router_bias": True}
OPTIONS: dict[str, dict[str, Any]] = {
    "qknorm": {"qk_layernorm": True},
    # Shared experts have no biases upstream, and refuse to be asked for them.
    "bias_layernorm": {"normalization": "LayerNorm", "linear_bias": True, "moe_shared_ffn": None},
    "qkvbias": {"qkv_bias": True},
    "output_gate": {"attention_output_gate": True},
    "swiglu": {"activation": "swiglu"},
    "shared_gate": {"shared_expert_gate": True},
    "noqlora": {"q_lora_rank": None},
}
# Upstream builds these from Transformer Engine linears only; the local backend refuses them (tests/fusion/test_config.py).
NEEDS_TE = {"++down_fusion", "E+latent"}
CASES = sorted(ORACLE["tp1"].keys() - NEEDS_TE)


def sizes_of(case: str) -> ModelSizes:
    option = case[2:] if case[1:2] == "+" else ""
    return ModelSizes(**{**BASE, **OPTIONS.get(option, {})})


def fusions_of(pattern: str) -> list[str]:
    """The case as it is, and every block it can be one half of."""
    if len(pattern) > 1:
        return [pattern, "M[*-]E"]
    partners = [f"[M{pattern}]", f"[*{pattern}]", f"[G{pattern}]"]
    return [pattern, *(partners if pattern in CHANNEL_MIXERS else [f"[{pattern}-]", f"[{pattern}E]"])]


def place_of(case: str, fusion: str) -> int:
    """The sub-layer of `fusion` that the case describes."""
    return 1 if case[0] in CHANNEL_MIXERS and len(fusion) > 1 else 0


def weights(entries: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if not name.endswith("_extra_state")}


def expected_state(case: str) -> dict[str, tuple[list[int], str]]:
    return {
        name: (shape, dtype)
        for name, (shape, dtype) in weights(ORACLE["tp1"][case]["state_dict"]).items()
        if name.startswith("layers.")
    }


def found_state(model: torch.nn.Module) -> dict[str, tuple[list[int], str]]:
    return {
        name.removeprefix("decoder."): (list(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in canonical_state_dict(model).items()
        if name.startswith("decoder.layers.")
    }


def of_sublayers(state: dict[str, Any], first: int, count: int) -> dict[str, Any]:
    """The entries of `count` sub-layers from `first` on, renumbered from 0."""
    found = {}
    for name, value in state.items():
        index, _, rest = name.removeprefix("layers.").partition(".")
        if first <= int(index) < first + count:
            found[f"layers.{int(index) - first}.{rest}"] = value
    return found


def stored_shapes_of(model: Any) -> dict[str, list[int]]:
    metadata = {"dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True)}
    return {name: list(shape) for name, shape in global_shapes(model.sharded_state_dict(metadata=metadata)).items()}


def oracle_stored(sharded: dict[str, Any]) -> dict[str, list[int]]:
    return {key: shape for entry in sharded.values() for key, shape in entry["stored"] if "_extra_state" not in key}


@pytest.mark.parametrize("case", CASES)
def test_plain_names_shapes_and_dtypes(case: str) -> None:
    pattern = ORACLE["tp1"][case]["pattern"]
    for fusion in fusions_of(pattern):
        model = build_model(fusion, sizes_of(case), dtype="bf16", backend="local")
        found = of_sublayers(found_state(model), place_of(case, fusion), len(pattern))
        assert found == expected_state(case), fusion


@pytest.mark.parametrize("case", CASES)
def test_stored_keys_and_global_shapes(case: str) -> None:
    pattern = ORACLE["tp1"][case]["pattern"]
    expected = oracle_stored(ORACLE["tp1"][case]["sharded"])
    expected = {name: shape for name, shape in expected.items() if name.startswith("decoder.layers.")}
    for fusion in fusions_of(pattern):
        model = build_model(fusion, sizes_of(case), dtype="bf16", backend="local")
        found = {
            name.removeprefix("decoder."): shape
            for name, shape in stored_shapes_of(model).items()
            if name.startswith("decoder.layers.")
        }
        found = of_sublayers(found, place_of(case, fusion), len(pattern))
        assert {f"decoder.{name}": shape for name, shape in found.items()} == expected, fusion


@pytest.mark.parametrize("fusion", ["M*-E/*E/*E", "M[*-]E/[*E]/[*E]"])
def test_a_whole_model_with_mtp(fusion: str) -> None:
    oracle = ORACLE["hybrid_model_with_mtp"]["M*-E/*E/*E"]
    model = build_model(fusion, ModelSizes(**BASE), dtype="bf16", backend="local")
    state = {
        name: (list(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in canonical_state_dict(model).items()
    }
    assert state == {name: tuple(entry) for name, entry in weights(oracle["state_dict"]).items()}
    assert stored_shapes_of(model) == oracle_stored(oracle["sharded"])


def test_the_comparison_can_fail() -> None:
    model = build_model("[*-]", ModelSizes(**BASE, qk_layernorm=True), dtype="bf16", backend="local")
    assert of_sublayers(found_state(model), 0, 1) != expected_state("*")
    assert of_sublayers(found_state(model), 0, 1) == expected_state("*+qknorm")
