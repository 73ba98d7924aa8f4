"""What a plan rests on, so that a change is noticed: hooks, replaced modules, rebound forwards, changed attributes.

A lean block does not call the modules in it, so whatever a user hangs on one of them would be passed over. The plan keeps a
watch on every module that it passes over; the stack looks at it before each forward, which costs about a microsecond.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from operator import attrgetter
from typing import Any

from megatron.core.fusions.fused_softmax import FusedScaleMaskSoftmax
from megatron.core.ssm.gated_delta_net import GatedDeltaNet
from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.attention import SelfAttention
from megatron.core.transformer.dot_product_attention import DotProductAttention
from megatron.core.transformer.mlp import MLP
from megatron.core.transformer.moe.moe_layer import MoELayer
from megatron.core.transformer.transformer_layer import MoETransformerLayer, TransformerLayer
from torch import nn

from workbench.fusion.adapters import ExpertRowParallelLinear, LocalNorm, MambaMixerAsAttention

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")

_LAYER = (
    "hidden_dropout",
    "self_attn_bda",
    "mlp_bda",
    "recompute_input_layernorm",
    "recompute_pre_mlp_layernorm",
    "recompute_mlp",
)
_LINEAR = ("skip_bias_add", "sequence_parallel", "explicit_expert_comm", "gradient_accumulation_fusion")
_SOFTMAX = (
    "scale",
    "window_size",
    "mask_func",
    "attn_mask_type",
    "input_in_float16",
    "softmax_in_fp32",
    "scaled_masked_softmax_fusion",
)
_MAMBA = (
    "activation",
    "norm_before_gate",
    "headdim",
    "D_has_hdim",
    "use_mem_eff_path",
    "mamba_training_ssm_states_dtype",
)

# Class → the attributes of its instances that a plan looks at or keeps the values of.
_ATTRIBUTES: dict[type, tuple[str, ...]] = {
    TransformerLayer: _LAYER,
    MoETransformerLayer: _LAYER,
    LocalNorm: ("eps", "zero_centered", "bias"),
    ColumnParallelLinear: _LINEAR,
    RowParallelLinear: (*_LINEAR, "input_is_parallel"),
    ExpertRowParallelLinear: (*_LINEAR, "input_is_parallel"),
    SelfAttention: ("_yarn_concentration_factor",),
    DotProductAttention: ("softmax_scale", "softmax_offset"),
    FusedScaleMaskSoftmax: _SOFTMAX,
    nn.Dropout: ("p",),
    MLP: ("activation_func",),
    MoELayer: ("moe_layer_recompute",),
    MambaMixerAsAttention: _MAMBA,
    GatedDeltaNet: ("recompute_norm_out",),
}


class Watch:
    """A watch on modules: `state()` is equal as long as nothing has changed."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.modules = tuple(modules)
        self._hooks = tuple(getattr(module, name) for module in self.modules for name in _HOOKS)
        self._contents = tuple(module.__dict__ for module in self.modules)
        self._children = tuple(module._modules for module in self.modules if module._modules)
        names = [_ATTRIBUTES.get(type(module), ()) for module in self.modules]
        self._read = tuple((attrgetter(*n), module) for n, module in zip(names, self.modules, strict=True) if n)

    def state(self) -> tuple[Any, ...]:
        """Hooks, classes, numbers of instance attributes (a rebound `forward` adds one), submodules, attributes by name."""
        return (
            any(self._hooks),
            tuple(map(type, self.modules)),
            tuple(map(len, self._contents)),
            tuple(chain.from_iterable([children.values() for children in self._children])),
            [values(module) for values, module in self._read],
        )


def hook_reason(name: str, module: nn.Module) -> str | None:
    """Why a module must be called as a module, or None: it has hooks, or its `forward` was rebound on the instance."""
    if any(getattr(module, hooks) for hooks in _HOOKS):
        return f"a hook is registered on {name}"
    if "forward" in module.__dict__ or module._compiled_call_impl is not None:
        return f"the forward of {name} was replaced"
    return None
