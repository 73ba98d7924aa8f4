"""What `workbench.arch` predicts is what the real modules hold: names, shapes, dtypes and counts, for every kind and option.

The real models are built by megatron-core's local modules; the Transformer Engine layout is compared with the oracle,
which was made by constructing the TE modules (tests/contracts/test_te_layout.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from tests.contracts.architectures import MEDIUM, ODD, OPTIONS, TINY, random_cases
from tests.contracts.test_te_layout import BASE, NEEDS_TE, oracle_stored, stored_shapes_of, weights
from tests.contracts.test_te_layout import OPTIONS as ORACLE_OPTIONS
from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.arch.stored import stored
from workbench.fusion.model import build_model
from workbench.fusion.state import canonical_state_dict
from workbench.pattern.symbols import CHANNEL_MIXERS, SEQUENCE_MIXERS, SYMBOLS

ORACLE = json.loads((Path(__file__).parent / "data" / "te_state_dict_keys.json").read_text())
PAIRS = [f"[{mixer}{channel}]" for mixer in SEQUENCE_MIXERS for channel in CHANNEL_MIXERS]
SIZES = {"tiny": TINY, "odd": ODD, "medium": MEDIUM}


def real(entries: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    """A state dict without the extra states, which hold no weights."""
    return {
        name: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in entries.items()
        if not name.endswith("_extra_state")
    }


def predicted(tensors: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    found = {tensor.name: (tensor.shape, tensor.dtype) for tensor in tensors}
    assert len(found) == len(tensors), "a name twice"
    return found


def assert_predicts(pattern: str, sizes: ModelSizes, dtype: str) -> None:
    model = build_model(pattern, sizes, dtype=dtype, backend="local")
    architecture = Architecture(pattern, sizes, dtype=dtype)
    assert predicted(architecture.built("local")) == real(model.state_dict())
    assert predicted(architecture.canonical()) == real(canonical_state_dict(model))
    assert architecture.parameters == sum(parameter.numel() for parameter in model.parameters())
    trained = {tensor.name for tensor in architecture.built("local") if tensor.trained}
    assert trained == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pattern", [*SYMBOLS, *PAIRS, "M[*-]M[ME]|M-*-/[*-]", "M*-E/*E/*E"])
def test_every_kind_and_pair_at_three_sizes(pattern: str, size: str) -> None:
    assert_predicts(pattern, ModelSizes(**SIZES[size]), "bf16")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_at_three_sizes(option: str, size: str) -> None:
    pattern, fields = OPTIONS[option]
    assert_predicts(pattern, ModelSizes(**{**SIZES[size], **fields}), "bf16")


@pytest.mark.parametrize("pattern", PAIRS)
def test_fp32(pattern: str) -> None:
    assert_predicts(pattern, ModelSizes(), "fp32")


@given(random_cases())
@settings(max_examples=60, deadline=None)
def test_random_small_models(case: tuple[str, dict[str, Any]]) -> None:
    pattern, fields = case
    assert_predicts(pattern, ModelSizes(**fields), "bf16")


def test_no_option_is_forgotten() -> None:
    """Every field that decides a name or a shape is varied somewhere above."""
    tried = set().union(*(fields for _, fields in OPTIONS.values()), TINY, ODD, MEDIUM)
    shapeless = {
        "norm_epsilon", "rotary_base", "initializer_std", "hidden_dropout", "attention_dropout", "moe_topk",
        "moe_aux_loss_coeff", "dsa_index_loss_coeff", "dsa_index_topk", "moe_shared_experts",
    }  # fmt: skip
    needs_te = {"mla_down_proj_fusion", "moe_latent_size"}  # the oracle below holds these
    assert set(ModelSizes.__dataclass_fields__) - tried == shapeless | needs_te


# -------------------------------------------------------------------------------- Transformer Engine


def oracle_sizes(case: str) -> ModelSizes:
    option = case[2:] if case[1:2] == "+" else ""
    only_te = {"down_fusion": {"mla_down_proj_fusion": True}, "latent": {"moe_latent_size": 16}}
    return ModelSizes(**{**BASE, **{**ORACLE_OPTIONS, **only_te}.get(option, {})})


@pytest.mark.parametrize("case", sorted(ORACLE["tp1"]))
def test_the_oracle_of_transformer_engine(case: str) -> None:
    entry = ORACLE["tp1"][case]
    expected = {name: (tuple(shape), dtype) for name, (shape, dtype) in weights(entry["state_dict"]).items()}
    found = {
        name.removeprefix("decoder."): value
        for name, value in predicted(Architecture(entry["pattern"], oracle_sizes(case)).canonical()).items()
        if name.startswith("decoder.")
    }
    assert found == expected
    assert predicted(Architecture(entry["pattern"], oracle_sizes(case)).built("te")).keys() >= {
        f"decoder.{name}" for name in expected
    }


def test_the_oracle_of_a_whole_model() -> None:
    expected = weights(ORACLE["hybrid_model_with_mtp"]["M*-E/*E/*E"]["state_dict"])
    found = predicted(Architecture("M*-E/*E/*E", ModelSizes(**BASE)).canonical())
    assert found == {name: (tuple(shape), dtype) for name, (shape, dtype) in expected.items()}


@pytest.mark.parametrize("case", sorted(ORACLE["tp1"]))
def test_stored_keys_of_the_oracle(case: str) -> None:
    entry = ORACLE["tp1"][case]
    found = {tensor.name: list(tensor.shape) for tensor in stored(Architecture(entry["pattern"], oracle_sizes(case)))}
    assert {name: shape for name, shape in found.items() if name.startswith("decoder.")} == oracle_stored(
        entry["sharded"]
    )


def test_stored_keys_of_a_whole_model() -> None:
    expected = oracle_stored(ORACLE["hybrid_model_with_mtp"]["M*-E/*E/*E"]["sharded"])
    found = stored(Architecture("M*-E/*E/*E", ModelSizes(**BASE)))
    assert {tensor.name: list(tensor.shape) for tensor in found} == expected


@pytest.mark.parametrize("option", OPTIONS)
def test_stored_keys_of_every_option(option: str) -> None:
    pattern, fields = OPTIONS[option]
    sizes = ModelSizes(**{**ODD, **fields})
    found = {tensor.name: list(tensor.shape) for tensor in stored(Architecture(pattern, sizes))}
    assert found == stored_shapes_of(build_model(pattern, sizes, dtype="bf16", backend="local"))


def test_what_needs_te_is_in_the_oracle() -> None:
    assert ORACLE["tp1"].keys() >= NEEDS_TE


# ------------------------------------------------------------------------------------- it can fail


@pytest.mark.parametrize("fields", [{"qk_layernorm": True}, {"num_query_groups": 4}, {"normalization": "LayerNorm"}])
def test_other_sizes_are_told_apart(fields: dict[str, Any]) -> None:
    model = build_model("[*-]", ModelSizes(), dtype="bf16", backend="local")
    assert predicted(Architecture("[*-]", ModelSizes(**fields)).built("local")) != real(model.state_dict())
    assert predicted(Architecture("*-", ModelSizes()).built("local")) != real(model.state_dict())
