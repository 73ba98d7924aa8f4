"""The hybrid stack spec made of megatron-core's local modules only: all seven symbols without Transformer Engine.

It mirrors the upstream TE spec slot by slot (`megatron/core/models/hybrid/hybrid_layer_specs.py:90-231`); where TE
fuses a norm into a linear, the norm stands before it here and `sharded_state_dict_keys_map` gives it its canonical
name.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from megatron.core.fusions.fused_bias_dropout import get_bias_dropout_add
from megatron.core.models.backends import LocalSpecProvider
from megatron.core.models.gpt.moe_module_specs import get_moe_module_spec_for_backend
from megatron.core.models.hybrid.hybrid_block import HybridStack, HybridStackSubmodules
from megatron.core.ssm.gated_delta_net import GatedDeltaNet, GatedDeltaNetSubmodules
from megatron.core.ssm.mamba_layer import MambaLayer, MambaLayerSubmodules
from megatron.core.ssm.mamba_mixer import MambaMixer, MambaMixerSubmodules
from megatron.core.ssm.mlp_layer import MLPLayer
from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
from megatron.core.transformer.dot_product_attention import DotProductAttention
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.experimental_attention_variant.absorbed_mla import (
    AbsorbedMLASelfAttention,
    AbsorbedMLASelfAttentionSubmodules,
)
from megatron.core.transformer.experimental_attention_variant.dsa import (
    DSAIndexer,
    DSAIndexerSubmodules,
    DSAttention,
    DSAttentionSubmodules,
)
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.mlp import MLP, MLPSubmodules
from megatron.core.transformer.multi_latent_attention import MLASelfAttention, MLASelfAttentionSubmodules
from megatron.core.transformer.multi_token_prediction import (
    MultiTokenPredictionBlock,
    MultiTokenPredictionBlockSubmodules,
    MultiTokenPredictionLayer,
    MultiTokenPredictionLayerSubmodules,
)
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.transformer_layer import (
    MoETransformerLayer,
    TransformerLayer,
    TransformerLayerSubmodules,
)

from workbench.arch.names import local_prefixes
from workbench.fusion.adapters import DuplicatedLinear, ExpertRowParallelLinear, LocalNorm, MLADotProductAttention
from workbench.fusion.experts_at_once import ExpertsAtOnce

_CAUSAL = {"attn_mask_type": AttnMaskType.causal}


def local_stack_spec(config: TransformerConfig) -> ModuleSpec:
    """A `HybridStack` spec of local modules for this config (only `qk_layernorm` and the expert count matter)."""
    # Upstream's attention takes TENorm for q and k unless the spec names a norm, and refuses one that is not asked for.
    qk_norm = LocalNorm if config.qk_layernorm else IdentityOp
    return ModuleSpec(
        module=HybridStack,
        submodules=HybridStackSubmodules(
            mamba_layer=_mamba(),
            gdn_layer=_attention_layer(_gated_delta_net(), "G"),
            attention_layer=_attention_layer(_self_attention(qk_norm), "*"),
            dsa_layer=_attention_layer(_sparse_attention(qk_norm), "D"),
            mla_layer=_attention_layer(_latent_attention(qk_norm), "+"),
            mlp_layer=_mlp(),
            moe_layer=_moe(config.num_moe_experts),
            mtp_block_spec=_mtp(),
        ),
    )


def _attention_layer(self_attention: ModuleSpec, symbol: str) -> ModuleSpec:
    return ModuleSpec(
        module=TransformerLayer,
        submodules=TransformerLayerSubmodules(
            input_layernorm=LocalNorm,
            self_attention=self_attention,
            self_attn_bda=get_bias_dropout_add,
            sharded_state_dict_keys_map=local_prefixes(symbol),
        ),
    )


def _mamba() -> ModuleSpec:
    return ModuleSpec(
        module=MambaLayer,
        submodules=MambaLayerSubmodules(
            norm=LocalNorm,
            mixer=ModuleSpec(
                module=MambaMixer,
                submodules=MambaMixerSubmodules(in_proj=ColumnParallelLinear, out_proj=RowParallelLinear),
            ),
            mamba_bda=get_bias_dropout_add,
            sharded_state_dict_keys_map=local_prefixes("M"),
        ),
    )


def _gated_delta_net() -> ModuleSpec:
    return ModuleSpec(
        module=GatedDeltaNet,
        submodules=GatedDeltaNetSubmodules(
            in_proj=ColumnParallelLinear, out_norm=LocalNorm, out_proj=RowParallelLinear
        ),
    )


def _self_attention(qk_norm: type) -> ModuleSpec:
    return ModuleSpec(
        module=SelfAttention,
        params=_CAUSAL,
        submodules=SelfAttentionSubmodules(
            linear_qkv=ColumnParallelLinear,
            core_attention=DotProductAttention,
            linear_proj=RowParallelLinear,
            q_layernorm=qk_norm,
            k_layernorm=qk_norm,
        ),
    )


def _latent_attention(qk_norm: type) -> ModuleSpec:
    return ModuleSpec(
        module=MLASelfAttention,
        params=_CAUSAL,
        submodules=MLASelfAttentionSubmodules(
            linear_q_proj=ColumnParallelLinear,
            # Upstream accepts TELinear or a column-parallel linear here, nothing else
            # (multi_latent_attention.py:525-534).
            linear_q_down_proj=ColumnParallelLinear,
            linear_q_up_proj=ColumnParallelLinear,
            linear_kv_down_proj=ColumnParallelLinear,
            linear_kv_up_proj=ColumnParallelLinear,
            core_attention=MLADotProductAttention,
            linear_proj=RowParallelLinear,
            q_layernorm=qk_norm,
            kv_layernorm=qk_norm,
        ),
    )


def _sparse_attention(qk_norm: type) -> ModuleSpec:
    indexer = ModuleSpec(
        module=DSAIndexer,
        submodules=DSAIndexerSubmodules(
            linear_wq_b=DuplicatedLinear,
            linear_wk=DuplicatedLinear,
            k_norm=LocalNorm,
            linear_weights_proj=DuplicatedLinear,
        ),
    )
    return ModuleSpec(
        module=AbsorbedMLASelfAttention,
        params=_CAUSAL,
        submodules=AbsorbedMLASelfAttentionSubmodules(
            linear_q_proj=ColumnParallelLinear,
            linear_q_down_proj=ColumnParallelLinear,
            linear_q_up_proj=ColumnParallelLinear,
            linear_kv_down_proj=ColumnParallelLinear,
            linear_kv_up_proj=ColumnParallelLinear,
            core_attention=ModuleSpec(module=DSAttention, submodules=DSAttentionSubmodules(indexer=indexer)),
            linear_proj=RowParallelLinear,
            q_layernorm=qk_norm,
            kv_layernorm=qk_norm,
        ),
    )


def _mlp() -> ModuleSpec:
    return ModuleSpec(
        module=MLPLayer,
        submodules=TransformerLayerSubmodules(
            pre_mlp_layernorm=LocalNorm,
            mlp=partial(
                MLP.as_mlp_submodule,
                submodules=MLPSubmodules(linear_fc1=ColumnParallelLinear, linear_fc2=RowParallelLinear),
            ),
            mlp_bda=get_bias_dropout_add,
            sharded_state_dict_keys_map=local_prefixes("-"),
        ),
    )


def _moe(num_experts: int | None) -> ModuleSpec:
    return ModuleSpec(
        module=MoETransformerLayer,
        submodules=TransformerLayerSubmodules(
            pre_mlp_layernorm=LocalNorm,
            mlp=get_moe_module_spec_for_backend(_ExpertBackend(), num_experts=num_experts or 1, moe_grouped_gemm=False),
            mlp_bda=get_bias_dropout_add,
            sharded_state_dict_keys_map=local_prefixes("E"),
        ),
    )


class _ExpertBackend(LocalSpecProvider):
    """Upstream's choice of local modules for experts, all at once where that is possible, with biases that work on one rank."""

    def grouped_mlp_modules(self, moe_use_grouped_gemm: bool) -> Any:
        linears = MLPSubmodules(linear_fc1=ColumnParallelLinear, linear_fc2=ExpertRowParallelLinear)
        return partial(ExpertsAtOnce, submodules=linears)


def _mtp() -> ModuleSpec:
    layer = ModuleSpec(
        module=MultiTokenPredictionLayer,
        submodules=MultiTokenPredictionLayerSubmodules(
            enorm=LocalNorm,
            hnorm=LocalNorm,
            eh_proj=ColumnParallelLinear,
            mtp_model_layer=None,
            layer_norm=LocalNorm,
        ),
    )
    return ModuleSpec(
        module=MultiTokenPredictionBlock, submodules=MultiTokenPredictionBlockSubmodules(layer_specs=[layer])
    )
