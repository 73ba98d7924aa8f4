"""When a fused block may run lean: the settings that must be off, and what a step must be like. Every "no" is a sentence."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import torch
from megatron.core.inference.utils import InferenceMode
from torch import Tensor
from torch.nn.modules import module as torch_module

# Setting → the values under which it asks for nothing, and what it does otherwise (upstream file of megatron-core 0.19.2).
_SETTINGS: dict[str, tuple[tuple[Any, ...], str]] = {
    "recompute_granularity": ((None,), "parts of the layer are computed again (transformer_layer.py:450)"),
    "fp8": ((None, False), "linears run in fp8 (hybrid_block.py:328)"),
    "fp4": ((None, False), "linears run in fp4 (hybrid_block.py:329)"),
    "cuda_graph_impl": (("none", None), "CUDA graphs capture the layer (module.py:365)"),
    "cpu_offloading": ((None, False), "activations move between devices (layers.py:1159)"),
    "_cpu_offloading_context": ((None,), "activations move between devices (layers.py:1159)"),
    "fine_grained_activation_offloading": ((False,), "activations move between devices (transformer_layer.py:631)"),
    "tensor_model_parallel_size": ((1,), "linears communicate (layers.py:1480)"),
    "context_parallel_size": ((1,), "sequences are spread over ranks (dot_product_attention.py:58)"),
    "sequence_parallel": ((False,), "linears communicate (layers.py:566)"),
    "gradient_accumulation_fusion": ((False,), "weight gradients are added up by a CUDA kernel (layers.py:656)"),
    "delay_wgrad_compute": ((False,), "weight gradients are computed later (attention.py:1944)"),
    "fp32_residual_connection": ((False,), "the residual stream is cast (transformer_layer.py:653)"),
    "bias_dropout_fusion": ((False,), "torch.compile makes the residual addition (fused_bias_dropout.py:69)"),
    "mlp_chunks_for_training": ((1,), "the MLP runs in chunks (transformer_layer.py:871)"),
    "inference_fuse_tp_communication": (
        (False,),
        "the residual addition is another module's (transformer_layer.py:656)",
    ),
    "batch_invariant_mode": ((False,), "kernels are chosen by it (attention.py:320)"),
    "test_mode": ((False,), "attention checks itself in every call (attention.py:1926)"),
    "use_kitchen": ((False,), "linears are another library's (mlp.py:211)"),
}
_judged = attrgetter(*_SETTINGS)

# What plans of single modules rest on beside those.
_READ = (
    "activation_func",
    "activation_func_clamp_value",
    "apply_rope_fusion",
    "attention_output_gate",
    "bias_activation_fusion",
    "deterministic_mode",
    "flash_decode",
    "fused_single_qkv_rope",
    "gated_linear_unit",
    "glu_linear_offset",
    "moe_apply_probs_on_input",
    "no_rope_freq",
    "rotary_interleaved",
    "use_te_activation_func",
)
_values = attrgetter(*_SETTINGS, *_READ)


def settings(config: Any) -> tuple[Any, ...]:
    """The values of a config that plans rest on, to see whether they have changed since."""
    return _values(config)


def setting_reason(config: Any) -> str | None:
    """Why blocks of this config do not run lean, or None."""
    for (name, (off, why)), value in zip(_SETTINGS.items(), _judged(config), strict=True):
        if value not in off:
            return f"{name} is {value!r}: {why}"
    return None


def step_reason(training: bool, hidden_states: Any, rotary: Any, unused: dict[str, Any]) -> str | None:
    """Why this step does not run lean, or None. `unused` are the arguments of the stack that must be None, by name."""
    if not training or not torch.is_grad_enabled():
        return "it is not a training step"
    for name, value in unused.items():
        if value is not None:
            return f"{name} is given"
    if not isinstance(hidden_states, Tensor) or hidden_states.device.type != "cpu":
        return "the hidden states are not a tensor on the CPU, where equality of the bits is proven"
    if rotary is not None and not isinstance(rotary, Tensor):
        return "queries and keys are rotated by different angles"
    if torch.is_autocast_enabled("cpu"):
        return "autocast chooses the dtype of every operation"
    if InferenceMode.is_active():
        return "inference mode is active"
    if torch_module._has_any_global_hook():
        return "hooks are registered for all modules"
    return None
