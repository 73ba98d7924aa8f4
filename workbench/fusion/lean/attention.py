"""Self-attention in local modules, as `SelfAttention` and `DotProductAttention` compute it for one training step.

The products, the softmax and their order are upstream's. Queries and keys are rotated in one piece: an elementwise product
gives each element the same bits in whatever tensor it lies.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.fusions.fused_softmax import FusedScaleMaskSoftmax
from megatron.core.transformer.dot_product_attention import DotProductAttention
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.utils import attention_mask_func
from torch import Tensor, nn

from workbench.fusion.lean.linear import is_identity, lean_linear, lean_linears
from workbench.fusion.lean.step import Step


def attention_reason(module: Any) -> str | None:
    """Why a `SelfAttention` must be called as a module, or None."""
    config, core = module.config, module.core_attention
    if config.attention_output_gate or config.no_rope_freq or config.fused_single_qkv_rope or config.flash_decode:
        return "the attention is gated, fused or without positions"
    if config.rotary_interleaved or config.apply_rope_fusion:
        return "its rotation is interleaved or fused"
    if not (is_identity(module.q_layernorm) and is_identity(module.k_layernorm)):
        return "queries and keys are normalized"
    if type(core) is not DotProductAttention:
        return f"a {type(core).__name__} is called as it is"
    return _core_reason(core)


def _core_reason(core: Any) -> str | None:
    softmax = core.scale_mask_softmax
    if type(softmax) is not FusedScaleMaskSoftmax or softmax.mask_func is not attention_mask_func:
        return "its softmax is not megatron's"
    if core.softmax_offset is not None:
        return "its softmax has a sink"
    if softmax.scaled_masked_softmax_fusion or softmax.scale is not None or softmax.window_size is not None:
        return "its scores are scaled twice, windowed or fused"
    if softmax.attn_mask_type != AttnMaskType.causal:
        return "its mask is not causal"
    if type(core.attention_dropout) is not nn.Dropout or core.attention_dropout.p != 0:
        return "attention dropout is on"
    return None


class LeanAttention:
    """Calls as the module in the slot: [s, b, h] → ([s, b, h], bias)."""

    def __init__(self, module: Any) -> None:
        core = module.core_attention
        self.qkv, self.proj = lean_linear(module.linear_qkv), lean_linear(module.linear_proj)
        self.groups = module.num_query_groups_per_partition
        self.repeats = module.num_attention_heads_per_partition // self.groups
        self.width = module.hidden_size_per_attention_head
        self.scale = core.softmax_scale
        self.rotary_scale = module._yarn_concentration_factor
        softmax = core.scale_mask_softmax
        self.wide_softmax = softmax.input_in_float16 and softmax.softmax_in_fp32

    def passed_over(self, module: Any) -> list[nn.Module]:
        """The modules that this stands for, which are not called."""
        core = module.core_attention
        linears = lean_linears(module.linear_qkv, module.linear_proj)
        placed = [norm for norm in (module.q_layernorm, module.k_layernorm) if norm is not None]
        return [module, core, core.scale_mask_softmax, core.attention_dropout, *linears, *placed]

    def __call__(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor | None]:
        """[s, b, h] → ([s, b, h], bias)."""
        length, batch, _ = x.shape
        groups, repeats, width = self.groups, self.repeats, self.width
        query, key, value = self._heads(self.qkv(x)[0].view(length, batch, groups, repeats + 2, width), step)
        if repeats > 1:
            key = key.repeat_interleave(repeats, dim=2)
            value = value.repeat_interleave(repeats, dim=2)
        heads = groups * repeats * batch
        # [s, b, heads, width] → [s, b·heads, width]
        query = query.reshape(length, heads, width)
        key = key.view(length, heads, width)
        value = value.view(length, heads, width)
        scores = torch.baddbmm(
            step.empty(query.dtype), query.transpose(0, 1), key.permute(1, 2, 0), beta=0.0, alpha=self.scale
        )
        dtype = scores.dtype
        if self.wide_softmax:
            scores = scores.float()
        if length > 1:
            scores.masked_fill_(step.mask(length), -10000.0)
        weights = scores.softmax(-1)
        if self.wide_softmax:
            weights = weights.to(dtype)
        mixed = torch.bmm(weights, value.transpose(0, 1)).view(batch, groups * repeats, length, width)
        # Rows in memory as upstream leaves them: the next product's way depends on it.
        return self.proj(mixed.permute(2, 0, 1, 3).contiguous().view(length, batch, -1))

    def _heads(self, mixed: Tensor, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """[s, b, groups, repeats + 2, width] → queries [s, b, groups, repeats, width], keys and values [s, b, groups, width]."""
        repeats = self.repeats
        if step.rotary is None:
            query, key, value = torch.split_with_sizes(mixed, (repeats, 1, 1), 3)
            return query, key.squeeze(3), value.squeeze(3)
        both, value = torch.split_with_sizes(mixed, (repeats + 1, 1), 3)
        both = _rotated(both, *step.rotation(both.dtype, self.rotary_scale))
        query, key = torch.split_with_sizes(both, (repeats, 1), 3)
        return query, key.squeeze(3), value.squeeze(3)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The first channels of `x` [..., width], as many as there are angles, rotated; the others as they are."""
    channels = cos.size(-1)
    if channels == x.size(-1):
        return x * cos + x.roll(channels // 2, -1) * sin
    turned, rest = x[..., :channels], x[..., channels:]
    return torch.cat((turned * cos + turned.roll(channels // 2, -1) * sin, rest), dim=-1)
