"""What the checkpoint tests share: trained models of every optimizer kind, exact comparison, a folder's content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.fusion.model import build_model, forward_tokens
from workbench.fusion.names import canonical_parameters
from workbench.fusion.state import canonical_state_dict
from workbench.fusion.trainer import make_trainer, train_step

MEGATRON = {
    "fp32": {"dtype": "fp32", "distributed": False},
    "bf16": {"dtype": "bf16", "distributed": False},
    "distributed fp32": {"dtype": "fp32", "distributed": True},
    "distributed bf16": {"dtype": "bf16", "distributed": True},
}
TORCH = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}
KINDS = [*MEGATRON, *TORCH]


class Training:
    """A model and an optimizer of one of `KINDS`, and a batch for each step, the same for every model."""

    def __init__(self, pattern: str, kind: str = "fp32", seed: int = 1) -> None:
        self.kind = kind
        dtype = MEGATRON[kind]["dtype"] if kind in MEGATRON else "fp32"
        self.model = build_model(pattern, seed=seed, dtype=dtype, backend="local")
        if kind in MEGATRON:
            self.trainer = make_trainer(self.model, distributed_optimizer=MEGATRON[kind]["distributed"])
            self.optimizer: Any = self.trainer.optimizer
        else:
            self.optimizer = TORCH[kind](self.model.parameters(), lr=1e-3, weight_decay=0.1)

    def train(self, first: int, steps: int) -> Training:
        """Steps `first`, `first + 1`, …, each on its own batch."""
        for step in range(first, first + steps):
            tokens = batch(step)
            if self.kind in MEGATRON:
                train_step(self.trainer, tokens)
            else:
                self.optimizer.zero_grad()
                forward_tokens(self.model, tokens).float().mean().backward()
                self.optimizer.step()
        return self

    def weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in canonical_state_dict(self.model).items()}

    def steps(self) -> list[Tensor]:
        """The step counter of every parameter, as the optimizer holds it."""
        inner = getattr(self.optimizer, "chained_optimizers", [self.optimizer])
        torch_optimizers = [getattr(each, "optimizer", each) for each in inner]
        return [state["step"] for each in torch_optimizers for state in each.state.values() if "step" in state]


def batch(step: int) -> Tensor:
    return torch.randint(0, 128, (2, 13), generator=torch.Generator().manual_seed(step))


def differing(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> list[str]:
    """Names that only one side has, or whose tensors are not bitwise equal in shape, dtype and value."""
    same = {name for name in a.keys() & b.keys() if a[name].dtype == b[name].dtype and torch.equal(a[name], b[name])}
    return sorted((a.keys() | b.keys()) - same)


def memory(model: torch.nn.Module) -> list[int]:
    return [parameter.data_ptr() for parameter in canonical_parameters(model).values()]


def listing(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
