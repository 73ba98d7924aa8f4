"""A fused block's spec is derived from the user's two stand-alone specs, or refused with the slot that stands in the way."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from megatron.core.fusions.fused_bias_dropout import get_bias_dropout_add
from megatron.core.models.hybrid.hybrid_block import HybridStackSubmodules
from megatron.core.models.hybrid.hybrid_layer_specs import hybrid_inference_stack_spec, hybrid_stack_spec
from megatron.core.ssm.mamba_layer import MambaLayer
from megatron.core.ssm.mamba_mixer import MambaMixer
from megatron.core.ssm.mlp_layer import MLPLayer
from megatron.core.transformer.identity_op import IdentityFuncOp, IdentityOp
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_layer import TransformerLayer

from tests.fusion.building import PAIRS, assert_same_run, build
from workbench.arch.sizes import ModelSizes
from workbench.fusion.adapters import LocalNorm, MambaMixerAsAttention
from workbench.fusion.config import transformer_config
from workbench.fusion.fused_spec import ChannelMixer, SpecError, fused_layer_spec, standalone_spec
from workbench.fusion.local_spec import local_stack_spec
from workbench.fusion.model import build_model
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import symbol_of


def local() -> HybridStackSubmodules:
    return local_stack_spec(transformer_config(Pattern("M*-E"), ModelSizes())).submodules


def changed(symbol: str, *, layer: dict[str, Any] | None = None, **slots: Any) -> HybridStackSubmodules:
    """The local spec with other slots, or another class or parameters, for one symbol."""
    base = local()
    slot = symbol_of(symbol).spec_slot
    spec = getattr(base, slot)
    return replace(base, **{slot: replace(spec, submodules=replace(spec.submodules, **slots), **(layer or {}))})


def refusal(symbols: str, submodules: HybridStackSubmodules) -> str:
    with pytest.raises(SpecError) as error:
        fused_layer_spec(symbols, submodules)
    return str(error.value)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(
    "base",
    [local(), hybrid_stack_spec.submodules, hybrid_inference_stack_spec.submodules],
    ids=["local", "te", "inference"],
)
def test_every_slot_is_the_stand_alone_ones(pair: str, base: HybridStackSubmodules) -> None:
    x, y = pair[1], pair[2]
    if not isinstance(getattr(base, symbol_of(x).spec_slot), ModuleSpec):
        assert refusal(pair[1:3], base).startswith(f"the stack spec has no {symbol_of(x).spec_slot!r}")
        return
    spec = fused_layer_spec(pair[1:3], base)
    alone_x, alone_y = (standalone_spec(symbol, base).submodules for symbol in (x, y))
    slots = spec.submodules
    if x == "M":
        assert slots.self_attention == replace(alone_x.mixer, module=MambaMixerAsAttention)
        assert (slots.input_layernorm, slots.self_attn_bda) == (alone_x.norm, alone_x.mamba_bda)
    else:
        assert slots.self_attention is alone_x.self_attention
        assert (slots.input_layernorm, slots.self_attn_bda) == (alone_x.input_layernorm, alone_x.self_attn_bda)
    assert slots.mlp == ChannelMixer(alone_y.mlp)
    assert (slots.pre_mlp_layernorm, slots.mlp_bda) == (alone_y.pre_mlp_layernorm, alone_y.mlp_bda)
    assert (slots.cross_attention, slots.cross_attn_bda) == (IdentityOp, IdentityFuncOp)
    assert slots.sharded_state_dict_keys_map == {}
    assert spec.module is {MLPLayer: TransformerLayer}.get(*[standalone_spec(y, base).module] * 2)


def test_the_users_spec_is_not_changed() -> None:
    base = local()
    before = copy.deepcopy(base)
    for pair in PAIRS:
        fused_layer_spec(pair[1:3], base)
    config = transformer_config(Pattern("[M-][*E]/[*-]"), ModelSizes())
    spec = local_stack_spec(config)
    kept = copy.deepcopy(spec)
    build_model("[M-][*E]/[*-]", config, spec=spec)
    assert _shape(spec) == _shape(kept)
    assert _shape(base) == _shape(before)


def _shape(spec: Any) -> str:
    """A spec as text, with partials (which compare by identity) taken apart."""
    if isinstance(spec, partial):
        return f"{spec.func}({spec.args}, { {name: _shape(value) for name, value in spec.keywords.items()} })"
    if hasattr(spec, "__dataclass_fields__"):
        return f"{type(spec).__name__}({ {name: _shape(getattr(spec, name)) for name in spec.__dataclass_fields__} })"
    if isinstance(spec, list | tuple):
        return str([_shape(each) for each in spec])
    return str(spec)


class OwnNorm(LocalNorm):
    """A user's norm."""


def test_a_norm_of_the_users_own_is_in_the_fused_block_and_computes_as_in_the_twin() -> None:
    pattern = "M[*-]"
    config = transformer_config(Pattern(pattern), ModelSizes())
    base = local_stack_spec(config)
    submodules = replace(
        base.submodules,
        attention_layer=changed("*", input_layernorm=OwnNorm).attention_layer,
        mlp_layer=changed("-", pre_mlp_layernorm=OwnNorm).mlp_layer,
    )
    spec = replace(base, submodules=submodules)
    fused, unfused = (build_model(text, config, seed=1, spec=spec) for text in (pattern, "M*-"))
    layer = fused.decoder.layers[1]
    assert type(layer.input_layernorm) is type(layer.pre_mlp_layernorm) is OwnNorm
    assert_same_run(fused, unfused)


def test_parameters_of_the_mixer_reach_it() -> None:
    mixer = replace(local().mamba_layer.submodules.mixer, params={"chunk_size": 64, "D_has_hdim": True})
    spec = fused_layer_spec("M-", changed("M", mixer=mixer))
    assert spec.submodules.self_attention.params == {"chunk_size": 64, "D_has_hdim": True}


def test_a_module_named_by_its_path_is_the_module() -> None:
    mixer = replace(local().mamba_layer.submodules.mixer, module=("megatron.core.ssm.mamba_mixer", "MambaMixer"))
    layer = {"module": ("megatron.core.ssm.mamba_layer", "MambaLayer")}
    spec = fused_layer_spec("M-", changed("M", mixer=mixer, layer=layer))
    assert spec.module is TransformerLayer
    assert spec.submodules.self_attention.module is MambaMixerAsAttention


def test_names_move_on_to_the_next_sub_layer() -> None:
    names: list[str | None] = []

    def note(**kwargs: Any) -> None:
        names.append(kwargs.get("name"))
        assert kwargs["is_mtp_layer"] is False

    for name in ("decoder.layers.9.mlp", "mtp.layers.1.mtp_model_layer.layers.0.mlp", "mine.mlp", None):
        ChannelMixer(note)(name=name, is_mtp_layer=True)
    assert names == ["decoder.layers.10.mlp", "mtp.layers.1.mtp_model_layer.layers.1.mlp", "mine.mlp", None]


# ------------------------------------------------------------------------------------------- refusals


def test_a_spec_without_the_layer_kind() -> None:
    assert refusal("M-", replace(local(), mlp_layer=IdentityOp)) == (
        "the stack spec has no 'mlp_layer', which '-' (MLP) is built from"
    )
    assert refusal("G-", replace(local(), gdn_layer=IdentityOp)) == (
        "the stack spec has no 'gdn_layer', which 'G' (gated delta net) is built from"
    )


def test_a_layer_that_fills_more_than_its_half() -> None:
    own = changed("*", pre_mlp_layernorm=LocalNorm, mlp=local().mlp_layer.submodules.mlp, mlp_bda=get_bias_dropout_add)
    assert refusal("*-", own) == (
        "'*' (self-attention): its spec also fills mlp, mlp_bda, pre_mlp_layernorm, so it is more than one half of a block and "
        "cannot be fused"
    )
    assert refusal("*-", changed("-", cross_attention=local().attention_layer.submodules.self_attention)) == (
        "'-' (MLP): its spec also fills cross_attention, so it is more than one half of a block and cannot be fused"
    )


def test_parts_that_are_not_a_transformer_layers() -> None:
    spec = ModuleSpec(module=TransformerLayer, submodules=local().mamba_layer.submodules.mixer.submodules)
    assert refusal("*-", replace(local(), mlp_layer=spec)) == (
        "'-' (MLP): its spec holds MambaMixerSubmodules, which is not a TransformerLayer's; a block can only be fused from layers "
        "whose parts are known"
    )


class OwnMixer(MambaMixer):
    """A user's Mamba mixer."""


def test_another_mamba_mixer() -> None:
    mixer = replace(local().mamba_layer.submodules.mixer, module=OwnMixer)
    assert refusal("M-", changed("M", mixer=mixer)) == (
        "'M' (Mamba-2): the mixer is 'OwnMixer'; only megatron's MambaMixer is known to work in the attention slot of a "
        "TransformerLayer"
    )


class OwnMambaLayer(MambaLayer):
    """A user's Mamba layer."""


class OwnMLPLayer(MLPLayer):
    """A user's MLP layer."""


class OwnAttentionLayer(TransformerLayer):
    """A user's attention layer."""


def test_a_mamba_layer_of_the_users_own() -> None:
    assert refusal("M-", changed("M", layer={"module": OwnMambaLayer})) == (
        "[M-]: the stand-alone layer OwnMambaLayer is not a TransformerLayer"
    )


def test_an_mlp_layer_of_the_users_own() -> None:
    for mixer in "MG*D+":
        assert refusal(f"{mixer}-", changed("-", layer={"module": OwnMLPLayer})) == (
            f"[{mixer}-]: the stand-alone layer OwnMLPLayer is an MLPLayer with behaviour of its own, and an MLPLayer has no place "
            "for a sequence mixer; derive it from TransformerLayer to fuse it"
        )


def test_two_layers_with_behaviour_of_their_own() -> None:
    assert refusal("*E", changed("*", layer={"module": OwnAttentionLayer})) == (
        "[*E]: the stand-alone layers are OwnAttentionLayer and MoETransformerLayer, each with behaviour of its own; one layer "
        "cannot be both"
    )


def test_one_layer_with_behaviour_of_its_own_is_the_fused_blocks_class() -> None:
    assert fused_layer_spec("*-", changed("*", layer={"module": OwnAttentionLayer})).module is OwnAttentionLayer


def test_parameters_that_disagree() -> None:
    base = changed("*", layer={"params": {"hidden_dropout": 0.1}})
    mlp = changed("-", layer={"params": {"hidden_dropout": 0.2}}).mlp_layer
    assert refusal("*-", replace(base, mlp_layer=mlp)) == (
        "[*-]: the stand-alone specs disagree on 'hidden_dropout': 0.1 against 0.2"
    )


def test_a_parameter_of_one_half_that_would_act_on_both() -> None:
    for symbol in "*-":
        assert refusal("*-", changed(symbol, layer={"params": {"hidden_dropout": 0.1}})) == (
            f"[*-]: only the stand-alone spec of {symbol!r} sets 'hidden_dropout', and one layer has one for both halves"
        )


def test_a_refusal_reaches_the_user_of_build_model() -> None:
    config = transformer_config(Pattern("[M-]"), ModelSizes())
    base = local_stack_spec(config)
    with pytest.raises(SpecError, match="OwnMLPLayer is an MLPLayer with behaviour of its own"):
        build_model("[M-]", config, spec=replace(base, submodules=changed("-", layer={"module": OwnMLPLayer})))
    assert len(build("M-").decoder.layers) == 2
