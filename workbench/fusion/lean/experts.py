"""megatron's `MoELayer` for one training step on one rank: it routes and dispatches as ever, its experts run lean.

Only of `SequentialMLP`, which a user's spec or upstream's builds. The local backend's `ExpertsAtOnce` takes care of that
itself, so a layer that holds it is called as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.transformer.moe.experts import SequentialMLP
from torch import Tensor, nn

from workbench.fusion.lean.mlp import LeanMLP, mlp_reason
from workbench.fusion.lean.step import Step

_WHOLE = ["route", "expert_compute", "postprocess"]


def experts_reason(module: Any) -> str | None:
    """Why a `MoELayer` must be called as a module, or None."""
    if type(module.experts) is not SequentialMLP:
        return f"its experts are {type(module.experts).__name__}"
    if module.moe_layer_recompute or hasattr(module, "_inference_token_dispatcher"):
        return "it is computed again, or has a second dispatcher for inference"
    if module.attn_tp_group.size() != 1 or module.config.moe_apply_probs_on_input:
        return "it communicates, or weighs what enters the experts"
    experts = list(module.experts.local_experts)
    if len(experts) < 2:
        return "it has one expert, which is called without a split"
    return next((why for expert in experts if (why := _expert_reason(expert)) is not None), None)


def _expert_reason(expert: Any) -> str | None:
    biased = expert.linear_fc1.bias is not None or expert.linear_fc2.bias is not None
    return "its experts have biases" if biased else mlp_reason(expert)


class LeanExperts:
    """Calls as the module does: [s, b, h] → ([s, b, h], None)."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.experts = [LeanMLP(expert) for expert in module.experts.local_experts]

    def passed_over(self, module: Any) -> list[nn.Module]:
        """The modules that this stands for, which are not called."""
        found = [module, module.experts, module.experts.local_experts]
        for lean, expert in zip(self.experts, module.experts.local_experts, strict=True):
            found += lean.passed_over(expert)
        return found

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
        tokens, counts, weights = dispatcher.dispatch_postprocess(*moe.dispatch(tokens, weights))
        out = dispatcher.combine_preprocess(self._of_each(tokens, counts.tolist(), weights))
        return moe.postprocess(moe.combine(out), shared), None

    def _of_each(self, tokens: Tensor, counts: list[int], weights: Tensor) -> Tensor:
        """`tokens` [n, h] sorted by expert, `counts` of each expert, `weights` [n] → [n, h]."""
        parts = zip(
            self.experts,
            torch.split_with_sizes(tokens, counts),
            torch.split_with_sizes(weights.unsqueeze(-1), counts),
            strict=True,
        )
        return torch.cat([expert.weighed(part, weight)[0] for expert, part, weight in parts], dim=0)
