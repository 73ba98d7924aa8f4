"""One fused block run lean: two norms, two mixers, two residual additions. `plan_block` says whether it can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from megatron.core.fusions.fused_bias_dropout import get_bias_dropout_add
from megatron.core.ssm.gated_delta_net import GatedDeltaNet
from megatron.core.transformer.attention import SelfAttention
from megatron.core.transformer.identity_op import IdentityFuncOp, IdentityOp
from megatron.core.transformer.mlp import MLP
from megatron.core.transformer.moe.moe_layer import MoELayer
from megatron.core.transformer.transformer_layer import MoETransformerLayer, TransformerLayer
from torch import Tensor, nn

from workbench.fusion.adapters import MambaMixerAsAttention
from workbench.fusion.lean.attention import LeanAttention, attention_reason
from workbench.fusion.lean.conditions import setting_reason
from workbench.fusion.lean.delta_net import LeanDeltaNet, delta_net_reason
from workbench.fusion.lean.experts import LeanExperts, experts_reason
from workbench.fusion.lean.linear import lean_norm
from workbench.fusion.lean.mamba import LeanMamba, mamba_reason
from workbench.fusion.lean.mlp import LeanMLP, mlp_reason
from workbench.fusion.lean.step import Step
from workbench.fusion.lean.watch import Watch, hook_reason

_LAYERS = (TransformerLayer, MoETransformerLayer)

# Class in a slot → what says whether it may run lean, and what runs it. Any other class is called as it is.
_MIXERS: dict[type, tuple[Any, Any]] = {
    SelfAttention: (attention_reason, LeanAttention),
    MambaMixerAsAttention: (mamba_reason, LeanMamba),
    GatedDeltaNet: (delta_net_reason, LeanDeltaNet),
}
_CHANNELS: dict[type, tuple[Any, Any]] = {MLP: (mlp_reason, LeanMLP), MoELayer: (experts_reason, LeanExperts)}


@dataclass(frozen=True)
class Plan:
    """How a fused block runs. `block` is None when the layer's own forward does, and `reason` says why.

    `called` says of each slot that is called as a module why it is. `watch` covers what the decision rests on.
    """

    layer: Any
    watch: Watch
    state: tuple[Any, ...]
    block: LeanBlock | None
    reason: str | None
    called: dict[str, str]

    def current(self) -> bool:
        """False when something under watch has changed, so that the plan must be made anew."""
        return self.watch.state() == self.state


class LeanBlock:
    """The forward of a fused `TransformerLayer` for one training step: [s, b, h] → [s, b, h]."""

    def __init__(self, layer: Any, mixer: Any, channel: Any) -> None:
        self.layer = layer
        self.input_norm, _ = lean_norm(layer.input_layernorm)
        self.mlp_norm, _ = lean_norm(layer.pre_mlp_layernorm)
        self.mixer, self.channel = mixer, channel
        self.attention, self.mlp = layer.self_attention, layer.mlp

    def __call__(self, hidden: Tensor, step: Step) -> Tensor:
        """[s, b, h] → [s, b, h]."""
        x = self.input_norm(hidden)
        if type(x) is tuple:  # a norm of the user's may hand back what is to be the residual
            x, hidden = x
        mixed, bias = self.mixer(x, step) if self.mixer is not None else self._call_attention(x, step)
        hidden = _added(hidden, mixed, bias)
        x = self.mlp_norm(hidden)
        if type(x) is tuple:
            x, hidden = x
        mixed, bias = self.channel(x, step) if self.channel is not None else self.mlp(x, padding_mask=step.padding_mask)
        return _added(hidden, mixed, bias)

    def _call_attention(self, x: Tensor, step: Step) -> Any:
        # The arguments of `TransformerLayer._forward_attention` (transformer_layer.py:667) in a training step.
        return self.attention(
            x,
            attention_mask=None,
            inference_context=None,
            rotary_pos_emb=step.rotary,
            rotary_pos_cos=None,
            rotary_pos_sin=None,
            rotary_pos_cos_sin=None,
            attention_bias=None,
            packed_seq_params=None,
            sequence_len_offset=None,
        )


def _added(residual: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
    if x.dtype != residual.dtype:
        x = x.to(residual.dtype)
        bias = None if bias is None else bias.to(residual.dtype)
    return residual + (x if bias is None else x + bias)


def plan_block(layer: Any) -> Plan:
    """Look at a built fused block once; the plan holds until something under watch changes."""
    called: dict[str, str] = {}
    mixer, channel = None, None
    passed = [layer]
    reason = _class_reason(layer) or setting_reason(layer.config) or _layer_reason(layer)
    if reason is None:
        for norm in (layer.input_layernorm, layer.pre_mlp_layernorm):
            passed += [norm] if lean_norm(norm)[1] else []
        mixer = _in_slot(layer, "self_attention", _MIXERS, passed, called)
        channel = _in_slot(layer, "mlp", _CHANNELS, passed, called)
        reason = _passed_reason(layer, passed)
    watch = Watch(passed)
    block = LeanBlock(layer, mixer, channel) if reason is None else None
    return Plan(layer, watch, watch.state(), block, reason, called)


def _in_slot(layer: Any, slot: str, known: dict[type, Any], passed: list[nn.Module], called: dict[str, str]) -> Any:
    """What runs a slot lean, or None; says in `passed` which modules it stands for, or in `called` why there is none."""
    module = getattr(layer, slot)
    reason, lean = known.get(type(module), (None, None))
    why = f"a {type(module).__name__} is called as it is" if reason is None else reason(module)
    if why is not None:
        called[slot] = why
        return None
    made = lean(module)
    passed += made.passed_over(module)
    return made


def _class_reason(layer: Any) -> str | None:
    return None if type(layer) in _LAYERS else f"a {type(layer).__name__} has a forward of its own"


def _layer_reason(layer: Any) -> str | None:
    if layer.hidden_dropout != 0:
        return "dropout is on"
    if layer.recompute_input_layernorm or layer.recompute_pre_mlp_layernorm or layer.recompute_mlp:
        return "parts of the layer are computed again"
    if getattr(layer, "use_partial_cudagraphs", False) or hasattr(layer, "cudagraph_manager"):
        return "CUDA graphs capture the layer"
    if layer.self_attn_bda is not get_bias_dropout_add or layer.mlp_bda is not get_bias_dropout_add:
        return "its residual additions are not megatron's"
    placeholders = (layer.pre_cross_attn_layernorm, layer.cross_attention, layer.cross_attn_bda)
    if [type(module) for module in placeholders] != [IdentityOp, IdentityOp, IdentityFuncOp]:
        return "it has cross-attention"
    return None


def _passed_reason(layer: Any, passed: list[nn.Module]) -> str | None:
    names = {id(module): name for name, module in layer.named_modules()}
    for module in passed:
        why = hook_reason(names[id(module)] or "the layer", module)
        if why is not None:
            return why
    return None
