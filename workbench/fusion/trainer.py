"""A model under megatron's own training machinery: DDP, its mixed-precision optimizer, its schedule, one step at a time.

Nothing of the step is ours: gradients are accumulated by `DistributedDataParallel`, reduced by `finalize_model_grads`, and
applied by the optimizer of `get_megatron_optimizer`, so what is measured here is what Megatron does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
from megatron.core.distributed.finalize_model_grads import finalize_model_grads
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
from megatron.core.optimizer.optimizer import Float16OptimizerWithFloat16Params, MegatronOptimizer
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.transformer.module import Float16Module
from torch import Tensor, nn

from workbench.fusion.cpu_platform import cuda_literals_on_cpu
from workbench.fusion.model import forward_tokens
from workbench.fusion.names import canonical_parameters
from workbench.fusion.noise import hushed
from workbench.fusion.optimizer_states import inner_optimizers


@dataclass
class Trainer:
    """A wrapped model (one chunk a virtual pipeline stage) and its optimizer."""

    chunks: list[Any]
    optimizer: MegatronOptimizer

    @property
    def model(self) -> Any:
        """The only chunk; megatron's wrappers are still around it."""
        if len(self.chunks) != 1:
            raise AssertionError(f"{len(self.chunks)} virtual stages: use .chunks")
        return self.chunks[0]


@dataclass(frozen=True)
class StepResult:
    """`loss` is the mean over the batch (None where this rank does not hold the last stage); `grad_norm` is before clipping."""

    loss: float | None
    grad_norm: float


def make_trainer(
    models: nn.Module | Sequence[nn.Module],
    *,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    clip_grad: float = 1.0,
    distributed_optimizer: bool = False,
) -> Trainer:
    """Wrap a model (or one a virtual stage) for training with megatron's AdamW.

    bf16 models get fp32 master weights and fp32 gradient accumulation, as Megatron-LM trains them. `clip_grad` is the
    largest global gradient norm.
    """
    chunks: list[Any] = [models] if isinstance(models, nn.Module) else list(models)
    bf16 = chunks[0].config.bf16
    ddp = DistributedDataParallelConfig(use_distributed_optimizer=distributed_optimizer, grad_reduce_in_fp32=True)
    wrapped: list[nn.Module] = []
    for number, chunk in enumerate(chunks):
        inside = Float16Module(chunk.config, chunk) if bf16 else chunk
        wrapped.append(DistributedDataParallel(chunk.config, ddp, inside, disable_bucketing=number > 0))
    settings = OptimizerConfig(
        optimizer="adam",
        lr=learning_rate,
        weight_decay=weight_decay,
        clip_grad=clip_grad,
        bf16=bf16,
        params_dtype=chunks[0].config.params_dtype,
        use_distributed_optimizer=distributed_optimizer,
    )
    with cuda_literals_on_cpu(), hushed():
        optimizer = get_megatron_optimizer(settings, wrapped)
    chunks[0].config.finalize_model_grads_func = _finalize
    chunks[0].config.grad_scale_func = optimizer.scale_loss
    return Trainer(wrapped, optimizer)


def train_step(trainer: Trainer, tokens: Tensor | Sequence[Tensor]) -> StepResult:
    """One optimizer step on a batch [b, s + 1] of token ids, or on several micro-batches of that shape."""
    loss = accumulate_gradients(trainer, tokens)
    with cuda_literals_on_cpu(), hushed():
        _, grad_norm, _ = trainer.optimizer.step()
    return StepResult(loss, float(grad_norm))


def accumulate_gradients(trainer: Trainer, tokens: Tensor | Sequence[Tensor]) -> float | None:
    """Forward and backward of one step by megatron's schedule; gradients are left in `main_grad`. Returns the mean loss."""
    batches = [tokens] if isinstance(tokens, Tensor) else list(tokens)
    for chunk in trainer.chunks:
        chunk.zero_grad_buffer()
    with cuda_literals_on_cpu(), hushed():
        trainer.optimizer.zero_grad()
    data: list[Iterator[Tensor]] = [iter(batches) for _ in trainer.chunks]
    losses = get_forward_backward_func()(
        forward_step_func=_forward_step,
        data_iterator=data if len(data) > 1 else data[0],
        model=trainer.chunks if len(trainer.chunks) > 1 else trainer.chunks[0],
        num_microbatches=len(batches),
        seq_length=batches[0].shape[1] - 1,
        micro_batch_size=batches[0].shape[0],
        forward_only=False,
    )
    return sum(float(entry["loss"]) for entry in losses) / len(losses) if losses else None


def gradients(trainer: Trainer) -> dict[str, Tensor]:
    """Canonical name → accumulated gradient (fp32), after `accumulate_gradients`; of this rank's parameters."""
    return {name: parameter.main_grad for name, parameter in _parameters(trainer) if parameter.requires_grad}


def optimizer_state(trainer: Trainer) -> dict[str, Tensor]:
    """`exp_avg.<canonical name>`, `exp_avg_sq.…`, `step.…` and, for bf16, `fp32_param.…`: everything the optimizer holds.

    Not for the distributed optimizer, whose state is cut across parameters.
    """
    names = {id(parameter): name for name, parameter in _parameters(trainer)}
    found: dict[str, Tensor] = {}
    for optimizer in inner_optimizers(trainer.optimizer):
        masters = _masters(optimizer)
        for group in optimizer.optimizer.param_groups:
            for held in group["params"]:
                name = names[id(masters.get(id(held), held))]
                if id(held) in masters:
                    found[f"fp32_param.{name}"] = held.detach()
                for key, value in optimizer.optimizer.state[held].items():
                    found[f"{key}.{name}"] = torch.as_tensor(value).detach()
    return dict(sorted(found.items()))


# ------------------------------------------------------------------------------------------------------


def _parameters(trainer: Trainer) -> Iterator[tuple[str, Any]]:
    for chunk in trainer.chunks:
        yield from canonical_parameters(chunk).items()


def _masters(optimizer: MegatronOptimizer) -> dict[int, nn.Parameter]:
    """id of an fp32 master weight → the bf16 parameter it stands for."""
    if not isinstance(optimizer, Float16OptimizerWithFloat16Params):
        return {}
    pairs = zip(optimizer.fp32_from_float16_groups, optimizer.float16_groups, strict=True)
    return {
        id(master): parameter for masters, halves in pairs for master, parameter in zip(masters, halves, strict=True)
    }


def _forward_step(data: Iterator[Tensor], model: nn.Module) -> tuple[Tensor, Callable[[Tensor], Any]]:
    return forward_tokens(model, next(data)), _mean_loss


def _mean_loss(output: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    loss = output.float().mean()
    # A copy: the schedule divides the loss by the number of micro-batches in place (schedules.py:341).
    return loss, {"loss": loss.detach().clone()}


def _finalize(*arguments: Any, **options: Any) -> None:
    with cuda_literals_on_cpu(), hushed():
        finalize_model_grads(*arguments, **options)
