"""The local stack spec has upstream's slots, filled by local modules, with the Transformer Engine names in its maps."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from megatron.core.models.hybrid.hybrid_block import HybridStack, HybridStackSubmodules
from megatron.core.models.hybrid.hybrid_layer_specs import hybrid_stack_spec
from megatron.core.transformer.spec_utils import get_module

from tests.fusion.building import build
from workbench.arch.names import local_prefixes
from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError
from workbench.fusion.adapters import LocalNorm
from workbench.fusion.config import transformer_config
from workbench.fusion.local_spec import local_stack_spec
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import SYMBOLS


def local(**sizes: Any) -> HybridStackSubmodules:
    return local_stack_spec(transformer_config(Pattern("M*-E"), ModelSizes(**sizes))).submodules


def test_the_stack_is_upstreams() -> None:
    assert local_stack_spec(transformer_config(Pattern("M"), ModelSizes())).module is HybridStack


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_each_layer_is_of_the_class_that_upstreams_spec_has(symbol: str) -> None:
    slot = SYMBOLS[symbol].spec_slot
    ours, theirs = getattr(local(), slot), getattr(hybrid_stack_spec.submodules, slot)
    assert get_module(ours) is get_module(theirs)
    assert type(ours.submodules) is type(theirs.submodules)
    assert ours.submodules.sharded_state_dict_keys_map == local_prefixes(symbol)


@pytest.mark.parametrize("symbol", "M*G+D")
def test_each_mixer_is_of_the_class_and_has_the_parameters_that_upstreams_spec_has(symbol: str) -> None:
    slot, part = SYMBOLS[symbol].spec_slot, "mixer" if symbol == "M" else "self_attention"
    ours = getattr(getattr(local(), slot).submodules, part)
    theirs = getattr(getattr(hybrid_stack_spec.submodules, slot).submodules, part)
    assert ours.module is theirs.module
    assert ours.params == theirs.params
    assert type(ours.submodules) is type(theirs.submodules)


def test_no_slot_of_upstreams_spec_is_left_out() -> None:
    assert {
        field.name for field in fields(HybridStackSubmodules) if getattr(local(), field.name) is not field.default
    } == {
        field.name
        for field in fields(HybridStackSubmodules)
        if getattr(hybrid_stack_spec.submodules, field.name) is not field.default
    }


@pytest.mark.parametrize("qk_layernorm", [True, False])
def test_query_and_key_norms_are_there_when_they_are_asked_for(qk_layernorm: bool) -> None:
    attention = build("[*-]", ModelSizes(qk_layernorm=qk_layernorm)).decoder.layers[0].self_attention
    assert (type(attention.q_layernorm) is LocalNorm) is qk_layernorm
    assert (type(attention.k_layernorm) is LocalNorm) is qk_layernorm


def test_every_norm_of_a_model_is_the_local_one() -> None:
    model = build("M[*-]G[*E]/*-", ModelSizes(qk_layernorm=True))
    norms = [module for name, module in model.named_modules() if name.rpartition(".")[2].endswith("norm")]
    kinds = {type(norm).__name__ for norm in norms}
    assert kinds == {"LocalNorm", "ExtendedRMSNorm", "IdentityOp"}
    assert type(model.decoder.final_norm) is LocalNorm


def test_a_normalization_that_is_none_is_refused() -> None:
    config = transformer_config(Pattern("M"), ModelSizes())
    config.normalization = "BatchNorm"
    with pytest.raises(WorkbenchError) as error:
        LocalNorm(config, 64)
    assert str(error.value) == (
        "normalization 'BatchNorm' is not one of 'LayerNorm', 'RMSNorm' (the local backend's norms)"
    )
