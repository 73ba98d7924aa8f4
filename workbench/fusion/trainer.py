"""A model under megatron's own training machinery: DDP, its mixed-precision optimizer, its schedule, one step at a time.

Nothing of the step is ours: gradients are accumulated by `DistributedDataParallel`, reduced by `finalize_model_grads`, and
applied by the optimizer of `get_megatron_optimizer`, so what is measured here is what Megatron does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
from megatron.core.distributed.finalize_model_grads import finalize_model_grads
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
from megatron.core.optimizer.optimizer import Float16OptimizerWithFloat16Params, MegatronOptimizer
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.transformer.module import Float16Module
from torch import Tensor, nn

from workbench.errors import WorkbenchError
from workbench.fusion.cpu_platform import cuda_literals_on_cpu
from workbench.fusion.model import forward_tokens
from workbench.fusion.names import canonical_parameters
from workbench.fusion.noise import hushed
from workbench.fusion.optimizer_states import inner_optimizers

type Micros[T] = T | Sequence[T]
"""What a step is made of: one micro-batch, or several."""


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
    min_learning_rate: float | None = None,
    distributed_optimizer: bool = False,
) -> Trainer:
    """Wrap a model (or one a virtual stage) for training with megatron's AdamW.

    bf16 models get fp32 master weights and fp32 gradient accumulation, as Megatron-LM trains them. `clip_grad` is the
    largest global gradient norm; 0 clips nothing. `min_learning_rate` is for a schedule over the optimizer
    (`workbench.compare.training.learner`), which reads it from the parameter groups.
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
        min_lr=min_learning_rate,
        weight_decay=weight_decay,
        # For 0 megatron does not compute the norm at all (optimizer/optimizer.py:830), and it is part of every result.
        clip_grad=clip_grad or math.inf,
        bf16=bf16,
        params_dtype=chunks[0].config.params_dtype,
        use_distributed_optimizer=distributed_optimizer,
    )
    with cuda_literals_on_cpu(), hushed():
        optimizer = get_megatron_optimizer(settings, wrapped)
    chunks[0].config.finalize_model_grads_func = _finalize
    chunks[0].config.grad_scale_func = optimizer.scale_loss
    return Trainer(wrapped, optimizer)


def train_step(trainer: Trainer, tokens: Micros[Tensor], counted: Micros[Tensor | None] | None = None) -> StepResult:
    """One optimizer step on a batch [b, s + 1] of token ids, or on several micro-batches of that shape.

    `counted` is as for `accumulate_gradients`.
    """
    loss = accumulate_gradients(trainer, tokens, counted)
    with cuda_literals_on_cpu(), hushed():
        _, grad_norm, _ = trainer.optimizer.step()
    return StepResult(loss, float(grad_norm))


def accumulate_gradients(
    trainer: Trainer, tokens: Micros[Tensor], counted: Micros[Tensor | None] | None = None
) -> float | None:
    """Forward and backward of one step by megatron's schedule; gradients are left in `main_grad`. Returns the mean loss.

    `counted`, bool [b, s] for each micro-batch (None: all of it), says which targets the loss is taken over. It is their
    mean over the whole step, so how a step is cut into micro-batches, and how many targets each of them counts, does not
    change the gradient beyond rounding. Auxiliary losses (experts' balance, MTP) stay means of each micro-batch, as
    megatron attaches them. With data parallelism each rank takes the mean over its own targets. Raises
    `WorkbenchError` when nothing is counted.
    """
    micros = _micros(tokens, counted)
    for chunk in trainer.chunks:
        chunk.zero_grad_buffer()
    with cuda_literals_on_cpu(), hushed():
        trainer.optimizer.zero_grad()
    data: list[Iterator[_Micro]] = [iter(micros) for _ in trainer.chunks]
    losses = get_forward_backward_func()(
        forward_step_func=_forward_step,
        data_iterator=data if len(data) > 1 else data[0],
        model=trainer.chunks if len(trainer.chunks) > 1 else trainer.chunks[0],
        num_microbatches=len(micros),
        seq_length=micros[0].tokens.shape[1] - 1,
        micro_batch_size=micros[0].tokens.shape[0],
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


@dataclass(frozen=True)
class _Micro:
    """One micro-batch: `tokens` [b, s + 1], `counted` [b, s], and what the sum of its counted losses is divided by."""

    tokens: Tensor
    counted: Tensor | None
    divisor: float


def _micros(tokens: Micros[Tensor], counted: Micros[Tensor | None] | None) -> list[_Micro]:
    batches = [tokens] if isinstance(tokens, Tensor) else list(tokens)
    masks = [counted] if isinstance(counted, Tensor) else list(counted or [None] * len(batches))
    numbers = [
        batch[:, 1:].numel() if mask is None else int(mask.sum()) for batch, mask in zip(batches, masks, strict=True)
    ]
    if not sum(numbers):
        raise WorkbenchError("no target of this step is counted: there is no loss to take a mean of")
    # The schedule divides every loss by the number of micro-batches (schedules.py:341).
    divisor = sum(numbers) / len(batches)
    return [_Micro(batch, mask, divisor) for batch, mask in zip(batches, masks, strict=True)]


def _forward_step(data: Iterator[_Micro], model: nn.Module) -> tuple[Tensor, Callable[[Tensor], Any]]:
    micro = next(data)
    return forward_tokens(model, micro.tokens, micro.counted), partial(_loss, micro)


def _loss(micro: _Micro, output: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    losses = output.float()
    if micro.counted is not None:
        losses = losses.masked_fill(~micro.counted, 0.0)
    loss = losses.sum() / micro.divisor
    # A copy: the schedule divides the loss by the number of micro-batches in place (schedules.py:341).
    return loss, {"loss": loss.detach().clone()}


def _finalize(*arguments: Any, **options: Any) -> None:
    with cuda_literals_on_cpu(), hushed():
        finalize_model_grads(*arguments, **options)
