"""`ModelSizes` → megatron's `TransformerConfig`, and what a pattern and a backend ask of a config somebody else made."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.activations import squared_relu
from megatron.core.transformer.transformer_config import MLATransformerConfig, TransformerConfig
from torch.nn import functional as F

from workbench.arch.needs import check_needs, symbols_in
from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError
from workbench.fusion import runtime
from workbench.fusion.noise import hushed
from workbench.pattern.model import Pattern

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

_ACTIVATIONS: dict[str, Any] = {
    "swiglu": F.silu,
    "silu": F.silu,
    "geglu": F.gelu,
    "gelu": F.gelu,
    "squared_relu": squared_relu,
    "relu": F.relu,
}

# Config fields that megatron's local modules cannot honour: (field, the value that works, why).
_LOCAL_LIMITS = (
    ("transformer_impl", "local", "qk norms of multi-latent attention are resolved for this backend"),
    ("gradient_accumulation_fusion", False, "it needs a CUDA extension"),
    ("moe_grouped_gemm", False, "grouped GEMM needs Transformer Engine"),
    ("moe_permute_fusion", False, "it needs Transformer Engine"),
    ("masked_softmax_fusion", False, "the fused softmax is a CUDA kernel"),
    ("moe_latent_size", None, "upstream builds the latent projections from Transformer Engine linears"),
    ("mla_down_proj_fusion", False, "it is built from a Transformer Engine linear"),
    ("fp8", None, "it needs Transformer Engine"),
    ("fp4", None, "it needs Transformer Engine"),
)


def transformer_config(
    pattern: Pattern,
    sizes: ModelSizes,
    *,
    dtype: str = "fp32",
    backend: str = "local",
    **overrides: Any,
) -> TransformerConfig:
    """The config of a model of this pattern and these sizes; `overrides` are fields of the config and win.

    `dtype` is "fp32" or "bf16". The parallel sizes are those of the running runtime. Raises `WorkbenchError` when the
    pattern has a layer kind whose sizes are `None`.
    """
    if dtype not in DTYPES:
        raise WorkbenchError(f"dtype must be one of {', '.join(sorted(DTYPES))}, not {dtype!r}")
    found = symbols_in(pattern)
    check_needs(pattern, sizes)
    latent = bool(found & {"+", "D"})
    _check_rotation(found, sizes, latent)
    values: dict[str, Any] = {
        **_common(pattern, sizes, dtype, backend),
        **_parallel(),
        **(_mixers(sizes, latent)),
        **(_experts(sizes) if "E" in found else {}),
        **(_latent_attention(sizes, sparse="D" in found) if latent else {}),
        **overrides,
    }
    try:
        with hushed():
            return (MLATransformerConfig if latent else TransformerConfig)(**values)
    except (ValueError, AssertionError, TypeError, NotImplementedError) as error:
        raise WorkbenchError(f"megatron rejects these sizes for {pattern}: {error}") from error


def _check_rotation(found: set[str], sizes: ModelSizes, latent: bool) -> None:
    if found & {"*", "+", "D"} and sizes.rotary_variant not in ("rope", "none", "learned"):
        raise WorkbenchError(
            f"position_embedding {sizes.position_embedding!r} cannot be built: rotary embeddings are plain here, 'rope' or 'rope 25%'"
        )
    if latent and sizes.position_embedding is not None and sizes.rotary_percent != 1.0:
        raise WorkbenchError(
            f"position_embedding {sizes.position_embedding!r} cannot be built: multi-latent attention rotates qk_rope_head_dim of "
            "every head, no more and no less"
        )


def _common(pattern: Pattern, sizes: ModelSizes, dtype: str, backend: str) -> dict[str, Any]:
    return {
        "num_layers": len(pattern.sublayers),
        "mtp_num_layers": pattern.mtp.depths if pattern.mtp else None,
        "mtp_use_repeated_layer": sizes.mtp_use_repeated_layer and pattern.mtp is not None,
        "is_hybrid_model": True,
        "hidden_size": sizes.hidden_size,
        "ffn_hidden_size": sizes.ffn_hidden_size,
        "normalization": sizes.normalization,
        "layernorm_epsilon": sizes.norm_epsilon,
        "add_bias_linear": sizes.linear_bias,
        "init_method_std": sizes.initializer_std,
        "activation_func": _ACTIVATIONS[sizes.activation or "gelu"],
        "gated_linear_unit": sizes.gated,
        "hidden_dropout": sizes.hidden_dropout,
        "attention_dropout": sizes.attention_dropout,
        "params_dtype": DTYPES[dtype],
        "pipeline_dtype": DTYPES[dtype],
        "bf16": dtype == "bf16",
        "transformer_impl": "local" if backend == "local" else "transformer_engine",
        # Fusions of elementwise kernels; on the local backend their CUDA or compiled forms are not there.
        "bias_activation_fusion": False,
        "bias_dropout_fusion": False,
        "masked_softmax_fusion": False,
        "gradient_accumulation_fusion": False,
        "persist_layer_norm": False,
    }


def _parallel() -> dict[str, Any]:
    running = runtime.ensure()
    values: dict[str, Any] = {
        "tensor_model_parallel_size": running.tensor_parallel,
        "pipeline_model_parallel_size": running.pipeline_parallel,
        "virtual_pipeline_model_parallel_size": running.virtual_pipeline_parallel,
        "expert_model_parallel_size": running.expert_parallel,
        "context_parallel_size": running.context_parallel,
    }
    if running.virtual_pipeline_parallel:
        # With batched point-to-point calls gloo delivers virtual stages in the wrong order, silently.
        values |= {"overlap_p2p_comm": True, "batch_p2p_comm": False}
    return values


def _mixers(sizes: ModelSizes, latent: bool) -> dict[str, Any]:
    heads = sizes.num_attention_heads
    values = {
        # megatron wants a head count in every config, also where nothing attends.
        "num_attention_heads": heads or 1,
        "num_query_groups": heads if latent else (sizes.num_query_groups or heads or 1),
        "kv_channels": sizes.attention_head_dim or sizes.hidden_size,
        "qk_layernorm": sizes.qk_layernorm,
        "add_qkv_bias": sizes.qkv_bias,
        "attention_output_gate": sizes.attention_output_gate,
        "softmax_type": "learnable" if sizes.attention_sinks else "vanilla",
        "mamba_state_dim": sizes.mamba_state_dim,
        "mamba_head_dim": sizes.mamba_head_dim,
        "mamba_num_heads": sizes.mamba_num_heads,
        "mamba_num_groups": sizes.mamba_num_groups,
        "linear_num_key_heads": sizes.gdn_num_key_heads,
        "linear_num_value_heads": sizes.gdn_num_value_heads,
        "linear_key_head_dim": sizes.gdn_key_head_dim,
        "linear_value_head_dim": sizes.gdn_value_head_dim,
        "linear_conv_kernel_dim": sizes.gdn_conv_kernel,
    }
    return {name: value for name, value in values.items() if value is not None}


def _experts(sizes: ModelSizes) -> dict[str, Any]:
    values = {
        "num_moe_experts": sizes.moe_experts,
        "moe_router_topk": sizes.moe_topk,
        "moe_ffn_hidden_size": sizes.moe_ffn,
        "moe_shared_expert_intermediate_size": sizes.moe_shared_ffn,
        "moe_shared_expert_gate": sizes.shared_expert_gate,
        "moe_latent_size": sizes.moe_latent_size,
        "moe_grouped_gemm": False,
        "moe_token_dispatcher_type": "allgather",
        "moe_router_dtype": "fp32",
        # Of one expert's score alone a softmax would always be one, so megatron wants it taken over all of them.
        "moe_router_pre_softmax": sizes.moe_topk == 1 and not sizes.moe_router_bias,
        # A bias that balances the load takes the place of the auxiliary loss, with sigmoid scores (DeepSeek-V3), unless a
        # loss is asked for as well.
        "moe_router_enable_expert_bias": sizes.moe_router_bias,
        "moe_router_score_function": "sigmoid" if sizes.moe_router_bias else "softmax",
        "moe_router_load_balancing_type": "aux_loss" if sizes.aux_loss_coeff or not sizes.moe_router_bias else "none",
        "moe_aux_loss_coeff": sizes.aux_loss_coeff,
    }
    return {name: value for name, value in values.items() if value is not None}


def _latent_attention(sizes: ModelSizes, *, sparse: bool) -> dict[str, Any]:
    values: dict[str, Any] = {
        "multi_latent_attention": True,
        "q_lora_rank": sizes.q_lora_rank,
        "kv_lora_rank": sizes.kv_lora_rank,
        "qk_head_dim": sizes.qk_nope_head_dim,
        "qk_pos_emb_head_dim": sizes.qk_rope_head_dim,
        "v_head_dim": sizes.v_head_dim,
        "mla_down_proj_fusion": sizes.mla_down_proj_fusion,
        "rope_type": "rope",
        "rotary_base": sizes.rotary_base,
    }
    if sparse:
        values |= {
            "experimental_attention_variant": "dsa",
            "dsa_indexer_n_heads": sizes.dsa_index_heads,
            "dsa_indexer_head_dim": sizes.dsa_index_head_dim,
            "dsa_indexer_topk": sizes.dsa_index_topk,
            "dsa_indexer_loss_coeff": sizes.dsa_index_loss_coeff,
            # The Hadamard rotation and the fused kernels are CUDA extensions.
            "dsa_indexer_rotate_activation": False,
            "dsa_kernel_backend": "none",
        }
    return values


def check_config(pattern: Pattern, config: TransformerConfig, backend: str) -> None:
    """Raise `WorkbenchError` for everything in a config that contradicts the pattern or cannot run on the backend.

    Upstream accepts several of these silently: a `num_layers` that is not the pattern's is ignored, and an
    `mtp_num_layers` of None builds a model without its MTP layers.
    """
    problems = []
    if config.num_layers != len(pattern.sublayers):
        problems.append(
            f"num_layers is {config.num_layers}, the pattern has {len(pattern.sublayers)} sub-layers in {len(pattern.blocks)} blocks "
            "(num_layers counts sub-layers)"
        )
    depths = pattern.mtp.depths if pattern.mtp else 0
    if (config.mtp_num_layers or 0) != depths:
        problems.append(f"mtp_num_layers is {config.mtp_num_layers}, the pattern has {depths} MTP depth(s)")
    found = symbols_in(pattern)
    if "E" in found and not config.num_moe_experts:
        problems.append("the pattern has 'E', and num_moe_experts is not set")
    if found & {"+", "D"} and not config.multi_latent_attention:
        problems.append("the pattern has '+' or 'D', which need an MLATransformerConfig")
    if "D" in found and config.experimental_attention_variant != "dsa":
        problems.append("the pattern has 'D', which needs experimental_attention_variant='dsa'")
    if "*" in found and config.multi_latent_attention:
        problems.append("the pattern has '*', and multi_latent_attention is on")
    if backend == "local":
        for name, works, why in _LOCAL_LIMITS:
            value = getattr(config, name, works)
            if value != works:
                problems.append(f"the local backend needs {name}={works!r}, not {value!r}: {why}")
    if problems:
        raise WorkbenchError(f"config and pattern {pattern} do not fit:\n  " + "\n  ".join(problems))
