"""The stack's forward: fused blocks run lean where they can, every other block is called as upstream calls it."""

from __future__ import annotations

from typing import Any

from megatron.core.models.hybrid.hybrid_block import HybridStack
from megatron.core.transformer.transformer_layer import TransformerLayer
from megatron.core.utils import make_viewless_tensor
from torch import Tensor, nn

from workbench.fusion.lean.block import Plan, plan_block
from workbench.fusion.lean.conditions import setting_reason, settings, step_reason
from workbench.fusion.lean.step import Step


class Plans:
    """The plans of a stack's fused blocks. A copy of a stack, deep or pickled, starts without: plans hold its modules."""

    def __init__(self) -> None:
        self.settings: tuple[Any, ...] | None = None
        self.of: dict[int, Plan] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Plans, ()

    def get(self, index: int, layer: nn.Module) -> Plan:
        """The plan of the block at an index of the stack, made anew when what it rests on has changed."""
        plan = self.of.get(index)
        if plan is None or plan.layer is not layer or not plan.current():
            plan = self.of[index] = plan_block(layer)
        return plan


class LeanForward(HybridStack):
    """A `HybridStack` that knows which of its blocks are fused, and runs those lean. `lean = False` turns it off."""

    lean: bool = True
    blocks: tuple[Any, ...]
    _plans: Plans

    def extra_repr(self) -> str:
        """In `print(model)`: how many blocks run lean in a training step."""
        if len(self.layers) != len(self.blocks):
            return f"{len(self.layers)} layers are left of {len(self.blocks)} blocks, none runs lean"
        fused = [layer for block, layer in zip(self.blocks, self.layers, strict=True) if block.fused]
        lean = sum(plan_block(layer).block is not None for layer in fused) if self.lean else 0
        return f"{len(self.blocks)} blocks, {len(fused)} fused, {lean} run lean"

    def forward(
        self,
        hidden_states: Any,
        attention_mask: Tensor | None,
        inference_context: Any = None,
        rotary_pos_emb: Any = None,
        *,
        inference_params: Any = None,
        packed_seq_params: Any = None,
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Upstream's forward, [s, b, h] → [s, b, h] (`models/hybrid/hybrid_block.py:261`), with the same bits."""
        entering = hidden_states if self.pre_process else self.input_tensor
        unused = {
            "attention_mask": attention_mask,
            "inference_context": inference_context,
            "inference_params": inference_params,
            "packed_seq_params": packed_seq_params,
        }
        if not self._any_lean() or step_reason(self.training, entering, rotary_pos_emb, unused):
            return super().forward(
                hidden_states,
                attention_mask,
                inference_context,
                rotary_pos_emb,
                inference_params=inference_params,
                packed_seq_params=packed_seq_params,
                padding_mask=padding_mask,
            )
        hidden = self._run_blocks(entering, Step(rotary_pos_emb, padding_mask))
        if self.post_process and self.post_layer_norm:
            hidden = self.final_norm(hidden)
        return make_viewless_tensor(inp=hidden, requires_grad=hidden.requires_grad, keep_graph=True)

    def _any_lean(self) -> bool:
        if len(self.layers) != len(self.blocks):  # a user took layers out, and what is left need not be where it was
            return False
        return self.lean and any(block.fused for block in self.blocks) and setting_reason(self.config) is None

    def _run_blocks(self, hidden: Tensor, step: Step) -> Tensor:
        plans = self._plans
        if plans.settings != (now := settings(self.config)):
            plans.of.clear()
            plans.settings = now
        for index, (block, layer) in enumerate(zip(self.blocks, self.layers, strict=True)):
            lean = plans.get(index, layer).block if block.fused else None
            hidden = lean(hidden, step) if lean is not None else self._call(layer, hidden, step)
        return hidden

    def _call(self, layer: nn.Module, hidden: Tensor, step: Step) -> Tensor:
        # As `hybrid_block.py:361-392` calls a layer in a training step.
        common = {"hidden_states": hidden, "attention_mask": None, "inference_context": None, "packed_seq_params": None}
        if isinstance(layer, TransformerLayer):
            out = layer(**common, rotary_pos_emb=step.rotary, sequence_len_offset=None, padding_mask=step.padding_mask)
        else:
            out = layer(**common)
        return out[0] if isinstance(out, tuple) else out
