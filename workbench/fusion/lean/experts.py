"""megatron's `MoELayer` for one training step on one rank: its own steps, without what asks for recomputation and graphs.

Router, dispatcher and experts are called as ever. The local backend's experts run at once by themselves
(`workbench.fusion.experts_at_once`); what is left to save is the layer's own way from one to the next.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from workbench.fusion.lean.step import Step

_WHOLE = ["route", "expert_compute", "postprocess"]


def experts_reason(module: Any) -> str | None:
    """Why a `MoELayer` must be called as a module, or None."""
    if module.moe_layer_recompute or hasattr(module, "_inference_token_dispatcher"):
        return "it is computed again, or has a second dispatcher for inference"
    if module.attn_tp_group.size() != 1:
        return "it communicates"
    if module.config.overlap_dispatch_backward_with_experts_wgrad:
        return "gradients of its experts' weights are computed later"
    if module.token_dispatcher.get_expert_zero_copy_buffers() != (None, None):
        return "its experts write into the dispatcher's buffers"
    return None


class LeanExperts:
    """Calls as the module does: [s, b, h] → ([s, b, h], None)."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def passed_over(self, module: Any) -> list[nn.Module]:
        """The modules that this stands for, which are not called."""
        return [module]

    def __call__(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor | None]:
        """[s, b, h] → ([s, b, h], None); the steps of `MoELayer.forward` in their order."""
        moe, padding_mask = self.module, step.padding_mask
        if moe.fwd_execution_map != _WHOLE:
            return moe(x, padding_mask=padding_mask)
        if padding_mask is not None:
            padding_mask = padding_mask.transpose(0, 1).bool()
        shared = moe.shared_experts_compute(x)
        tokens, weights = moe.preprocess(x, *moe.route(x, padding_mask))
        dispatcher = moe.token_dispatcher
        out, bias = moe.experts(*dispatcher.dispatch_postprocess(*moe.dispatch(tokens, weights)))
        assert bias is None, "as MoELayer asserts: dispatchers take no bias"
        return moe.postprocess(moe.combine(dispatcher.combine_preprocess(out)), shared), None
