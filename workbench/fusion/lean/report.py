"""Which blocks of a model run lean and why others do not; and the switch that turns it off."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from workbench.fusion.lean.block import plan_block
from workbench.fusion.lean.stack import LeanForward


@dataclass(frozen=True)
class BlockReport:
    """One block of a stack. `name` is live ("decoder.layers.3"), `block` its text ("[*-]").

    `reason` says why its own forward runs, and is None for a block that runs lean in a training step; `called` says of a
    slot ("self_attention", "mlp") of a lean block why the module in it is called as it is.
    """

    name: str
    block: str
    reason: str | None
    called: dict[str, str]

    @property
    def lean(self) -> bool:
        """True when a training step runs this block lean."""
        return self.reason is None


def lean_blocks(model: nn.Module) -> tuple[BlockReport, ...]:
    """Every block of every stack in a model, in order, as the next training step would run it.

    What a step itself can stand in the way with (an inference context, packed sequences, autocast, evaluation) is not
    looked at here; see `workbench.fusion.lean.conditions.step_reason`.
    """
    found = []
    for prefix, stack in _stacks(model):
        whole = len(stack.blocks) == len(stack.layers)
        for index, (block, layer) in enumerate(zip(stack.blocks, stack.layers, strict=whole)):
            reason, called = None, {}
            if not whole:
                reason = "layers were taken out of its stack"
            elif not block.fused:
                reason = "it is not fused"
            elif not stack.lean:
                reason = "it is turned off"
            else:
                plan = plan_block(layer)
                reason, called = plan.reason, plan.called
            found.append(BlockReport(f"{prefix}layers.{index}", str(block), reason, called))
    return tuple(found)


def run_lean(model: nn.Module, on: bool) -> None:
    """Turn it on or off for every stack of a model. Off, every block runs its own forward."""
    for _, stack in _stacks(model):
        stack.lean = on


def _stacks(model: nn.Module) -> list[tuple[str, LeanForward]]:
    modules = model.named_modules()
    return [(f"{name}." if name else "", module) for name, module in modules if isinstance(module, LeanForward)]
