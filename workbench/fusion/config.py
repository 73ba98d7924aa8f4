"""`ModelSizes` → megatron's `TransformerConfig`, and what a pattern and a backend ask of a config somebody else made.

Sizes that are a config field by another name are in the tables of `workbench.arch.megatron.sizes`, which the way back
(`workbench.fusion.sizes_of`) reads too; here is what takes a rule.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.activations import squared_relu
from megatron.core.transformer.transformer_config import MLATransformerConfig, TransformerConfig
from torch.nn import functional as F

from workbench.arch.megatron.sizes import EXPERTS, GDN, INDEXER, LATENT, MAMBA, WHOLE, fields_of_sizes
from workbench.arch.needs import check_needs, symbols_in
from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError, check_choice
from workbench.fusion import runtime
from workbench.fusion.noise import hushed
from workbench.pattern.model import Pattern

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

# Our name → megatron's function; the gated ones multiply it with a second projection (`ModelSizes.gated`).
ACTIVATIONS: dict[str, Any] = {
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
    check_choice("dtype", dtype, sorted(DTYPES))
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
        **fields_of_sizes(WHOLE, sizes),
        "num_layers": len(pattern.sublayers),
        "mtp_num_layers": pattern.mtp.depths if pattern.mtp else None,
        "mtp_use_repeated_layer": sizes.mtp_use_repeated_layer and pattern.mtp is not None,
        "is_hybrid_model": True,
        "activation_func": ACTIVATIONS[sizes.activation or "gelu"],
        "gated_linear_unit": sizes.gated,
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
        "softmax_type": "learnable" if sizes.attention_sinks else "vanilla",
    }
    recurrent = fields_of_sizes(MAMBA | GDN, sizes)
    return values | {name: value for name, value in recurrent.items() if value is not None}


def _experts(sizes: ModelSizes) -> dict[str, Any]:
    values = {
        **fields_of_sizes(EXPERTS, sizes),
        "moe_grouped_gemm": False,
        "moe_token_dispatcher_type": "allgather",
        "moe_router_dtype": "fp32",
        # Of one expert's score alone a softmax would always be one, so megatron wants it taken over all of them.
        "moe_router_pre_softmax": sizes.moe_topk == 1 and not sizes.moe_router_bias,
        # A bias that balances the load takes the place of the auxiliary loss, with sigmoid scores (DeepSeek-V3), unless a
        # loss is asked for as well.
        "moe_router_score_function": "sigmoid" if sizes.moe_router_bias else "softmax",
        "moe_router_load_balancing_type": "aux_loss" if sizes.aux_loss_coeff or not sizes.moe_router_bias else "none",
        "moe_aux_loss_coeff": sizes.aux_loss_coeff,
    }
    return {name: value for name, value in values.items() if value is not None}


def _latent_attention(sizes: ModelSizes, *, sparse: bool) -> dict[str, Any]:
    values: dict[str, Any] = {
        "multi_latent_attention": True,
        **fields_of_sizes(LATENT, sizes),
        "rope_type": "rope",
        "rotary_base": sizes.rotary_base,
    }
    if sparse:
        values |= {
            "experimental_attention_variant": "dsa",
            **fields_of_sizes(INDEXER, sizes),
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
    if config.dsa_indexer_loss_coeff and _untracked(pattern):
        problems.append(
            "the MTP pattern has a 'D' further in than the main pattern is long, which needs dsa_indexer_loss_coeff=0: megatron "
            "keeps the indexer's losses by layer of the main pattern (experimental_attention_variant/dsa.py:300)"
        )
    if "*" in found and config.multi_latent_attention:
        problems.append("the pattern has '*', and multi_latent_attention is on")
    if backend == "local":
        for name, works, why in _LOCAL_LIMITS:
            value = getattr(config, name, works)
            if value != works:
                problems.append(f"the local backend needs {name}={works!r}, not {value!r}: {why}")
    if problems:
        raise WorkbenchError(f"config and pattern {pattern} do not fit:\n  " + "\n  ".join(problems))


def _untracked(pattern: Pattern) -> bool:
    """Whether MTP has sparse attention whose losses megatron has no place for; the first training step would fail."""
    layers = pattern.mtp.sublayers if pattern.mtp else ()
    return any(layer.symbol == "D" and layer.index >= len(pattern.sublayers) for layer in layers)
