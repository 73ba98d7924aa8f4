"""Megatron's learning-rate schedule over a trainer's optimizer, in the terms that a training run is described in."""

from __future__ import annotations

from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

from workbench.fusion.trainer import Trainer


def make_schedule(
    trainer: Trainer,
    *,
    steps: int,
    warmup_steps: int,
    learning_rate: float,
    min_learning_rate: float,
    decay: str,
    weight_decay: float,
) -> OptimizerParamScheduler:
    """A schedule whose `.step(1)` before each optimizer step sets that step's learning rate; `.num_steps` counts them.

    Step k of n: k / warmup of the way up to `learning_rate`, then down ("cosine", "linear" or "constant") to
    `min_learning_rate` at step n. (Megatron-LM steps the schedule after the optimizer, so its first step has a learning rate
    of 0 and changes nothing.) A warm-up as long as the run or longer, which megatron rejects, ends one step before the last.
    """
    return OptimizerParamScheduler(
        trainer.optimizer,
        init_lr=0.0,
        max_lr=learning_rate,
        min_lr=min_learning_rate,
        lr_warmup_steps=min(warmup_steps, steps - 1),
        lr_decay_steps=steps,
        lr_decay_style=decay,
        start_wd=weight_decay,
        end_wd=weight_decay,
        wd_incr_steps=steps,
        wd_incr_style="constant",
    )
