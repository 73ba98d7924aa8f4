"""Bytes of weights, gradients and optimizer state as `workbench.cost.ranks` has them are those of Megatron's optimizers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.cost.ranks import rank_memory
from workbench.fusion.model import build_model
from workbench.fusion.optimizer_states import inner_optimizers
from workbench.fusion.trainer import Trainer, make_trainer, train_step

SIZES = ModelSizes(moe_router_bias=True, position_embedding="learned_absolute")
PATTERN = "M[*E]G-"


def trained(dtype: str, distributed: bool) -> Trainer:
    model = build_model(PATTERN, SIZES, dtype=dtype, seed=1, backend="local")
    trainer = make_trainer(model, distributed_optimizer=distributed)
    train_step(trainer, torch.randint(0, 128, (2, 17), generator=torch.Generator().manual_seed(1)))
    return trainer


def bytes_of(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def optimizer_bytes(trainer: Trainer) -> int:
    """The moments, and the fp32 copies where they are not the weights themselves. Steps are single numbers: left out."""
    found = 0
    weights = {parameter.data_ptr() for parameter in trainer.model.parameters()}
    for inner in inner_optimizers(trainer.optimizer):
        for state in inner.optimizer.state.values():
            found += bytes_of(value for value in state.values() if torch.is_tensor(value) and value.dim())
        masters = [parameter for group in inner.optimizer.param_groups for parameter in group["params"]]
        found += bytes_of(master for master in masters if master.data_ptr() not in weights)
    return found


@pytest.mark.parametrize("distributed", [False, True], ids=["plain", "distributed"])
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_on_one_rank(dtype: str, distributed: bool) -> None:
    trainer = trained(dtype, distributed)
    (memory,) = rank_memory(Architecture(PATTERN, SIZES, dtype=dtype), distributed_optimizer=distributed)
    bias = [buffer for name, buffer in trainer.model.named_buffers() if name.endswith("expert_bias")]
    assert memory.weight_bytes == bytes_of(trainer.model.parameters()) + bytes_of(bias)
    assert memory.gradient_bytes == bytes_of(parameter.main_grad for parameter in trainer.model.parameters())
    assert memory.optimizer_bytes == optimizer_bytes(trainer)
