"""One model that learns: built from a seed, stepped, evaluated, saved and loaded. What drives it is `loop` and `twins`.

Everything a step depends on is a function of the settings and the step's number: its batches (`Data`), its random
streams (seeded anew from seed and step), its learning rate. So weights, optimizer state and the number of steps are all
that a checkpoint has to hold.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.arch.sizes import ModelSizes
from workbench.compare.data.batch import Batch, Data
from workbench.compare.training.record import Evaluation, Step
from workbench.compare.training.settings import TrainingSettings
from workbench.errors import WorkbenchError
from workbench.fusion import runtime
from workbench.fusion.checkpointing import load_checkpoint, save_checkpoint
from workbench.fusion.model import build_model, forward_logits
from workbench.fusion.schedule import make_schedule
from workbench.fusion.trainer import Trainer, make_trainer, train_step
from workbench.pattern.model import Pattern


@dataclass
class Learner:
    """A model under megatron's optimizer and schedule; `done` counts the optimizer steps it has taken."""

    pattern: Pattern
    sizes: ModelSizes
    data: Data
    settings: TrainingSettings
    trainer: Trainer
    schedule: Any
    parameters: int

    @classmethod
    def build(cls, pattern: Pattern, sizes: ModelSizes, data: Data, settings: TrainingSettings) -> Learner:
        """Build the model from the settings' seed; `sizes` as `sizes_for` gives them. Weights depend on nothing else."""
        runtime.require_single_process()
        model = build_model(pattern, sizes, seed=settings.seed, dtype=settings.dtype, backend=settings.backend)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        trainer = make_trainer(
            model,
            learning_rate=settings.learning_rate,
            min_learning_rate=settings.min_learning_rate,
            weight_decay=settings.weight_decay,
            clip_grad=settings.clip_grad,
        )
        schedule = make_schedule(
            trainer,
            steps=settings.steps,
            warmup_steps=settings.warmup_steps,
            learning_rate=settings.learning_rate,
            min_learning_rate=settings.min_learning_rate,
            decay=settings.decay,
            weight_decay=settings.weight_decay,
        )
        return cls(pattern, sizes, data, settings, trainer, schedule, parameters)

    @property
    def done(self) -> int:
        """Optimizer steps taken so far."""
        return int(self.schedule.num_steps)

    def step(self) -> Step:
        """Take the next optimizer step."""
        start = time.perf_counter()
        settings = self.settings
        first = self.done * settings.micro_batches
        batches = [self.data.train_batch(first + number, settings.rows) for number in range(settings.micro_batches)]
        number = self.done + 1
        runtime.forget_models()
        runtime.seed(stream_seed(settings.seed, number))
        self.schedule.step(1)
        result = train_step(
            self.trainer,
            [_moved(batch.tokens) for batch in batches],
            [None if batch.counted is None else _moved(batch.counted) for batch in batches],
        )
        assert result.loss is not None, "one process holds every stage"
        return Step(
            step=number,
            loss=result.loss,
            grad_norm=result.grad_norm,
            learning_rate=float(self.trainer.optimizer.param_groups[0]["lr"]),
            tokens=number * settings.micro_batches * settings.rows * self.data.sequence,
            seconds=time.perf_counter() - start,
            memory_bytes=memory_bytes(),
        )

    def evaluate(self, stopped: Callable[[], bool] = lambda: False) -> Evaluation | None:
        """Loss and accuracy over the counted targets of the whole test set; None when `stopped()` on the way.

        Sums are kept in double precision, batch after batch, so the result depends on the model and `test_rows` alone.
        """
        start = time.perf_counter()
        model = self.trainer.model
        loss, right, counted = 0.0, 0, 0
        runtime.forget_models()
        model.eval()
        try:
            with torch.no_grad():
                for batch in self.data.test_batches(self.settings.test_rows):
                    if stopped():
                        return None
                    part = _score(model, batch)
                    loss, right, counted = loss + part[0], right + part[1], counted + part[2]
        finally:
            model.train()
        if not counted:
            raise WorkbenchError(f"the test set of {self.data.name} counts no target: there is nothing to evaluate")
        return Evaluation(self.done, loss / counted, right / counted, time.perf_counter() - start)

    def save(self, path: Path) -> None:
        """Write weights, optimizer state and the number of steps to the folder `path`, which is replaced when there."""
        save_checkpoint(path, self.trainer.model, self.trainer.optimizer, iteration=self.done, force=True)

    def load(self, path: Path) -> None:
        """Take everything from a checkpoint of a model with the same symbols, fused or not, that took at least one step."""
        if self.done:
            raise AssertionError(f"this model has taken {self.done} steps: load into one that was just built")
        loaded = load_checkpoint(path, self.trainer.model, self.trainer.optimizer)
        self.schedule.step(loaded.iteration)


def sizes_for(sizes: ModelSizes, data: Data) -> ModelSizes:
    """The sizes with the data's vocabulary and sequence length."""
    return replace(sizes, vocab_size=data.vocab_size, max_sequence_length=data.sequence)


def stream_seed(seed: int, step: int) -> int:
    """The seed of a step's random streams: different for every seed and step, and below 2**31 as torch and megatron take it."""
    digest = hashlib.sha256(f"{seed} {step}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def memory_bytes() -> int:
    """What torch holds of the GPU; on a host without one, what this process holds of the main memory."""
    if runtime.require().device.startswith("cuda"):
        return torch.cuda.memory_reserved()
    return int(psutil.Process().memory_info().rss)


# ------------------------------------------------------------------------------------------------------


def _moved(tensor: Tensor) -> Tensor:
    return tensor.to(runtime.require().device)


def _score(model: Any, batch: Batch) -> tuple[float, int, int]:
    """Sum of the losses, number of right predictions, number of targets; over what the batch counts."""
    tokens = _moved(batch.tokens)
    logits = forward_logits(model, tokens[:, :-1].contiguous()).float()
    targets = tokens[:, 1:]
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    right = logits.argmax(dim=-1) == targets
    if batch.counted is not None:
        counted = _moved(batch.counted)
        losses, right = losses[counted], right[counted]
    return float(losses.double().sum()), int(right.sum()), losses.numel()
