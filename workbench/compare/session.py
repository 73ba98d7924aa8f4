"""What the checks of one verification share: the settings, the twins as they are built, trained and saved, and the data.

Everything random is seeded from `Settings.seed` at the moment it is needed, so a check can be run alone or again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.arch.sizes import ModelSizes
from workbench.checkpoint.places import describe
from workbench.compare.tensors import Tolerance
from workbench.fusion import runtime
from workbench.fusion.checkpointing import save_checkpoint
from workbench.fusion.model import build_model
from workbench.fusion.state import canonical_state_dict
from workbench.fusion.trainer import Trainer, make_trainer, optimizer_state, train_step
from workbench.pattern.model import Pattern

# Offsets from the seed, so that no two uses draw the same numbers.
_DATA, _FORWARD, _STEP, _FRESH = 1_000, 2_000, 3_000, 4_000


@dataclass(frozen=True)
class Settings:
    """How the twins are compared. `batch` sequences of `sequence` tokens a step, `steps` optimizer steps."""

    sizes: ModelSizes = field(default_factory=ModelSizes)
    steps: int = 5
    seed: int = 1234
    dtype: str = "fp32"
    backend: str = "local"
    tolerance: Tolerance = field(default_factory=Tolerance)
    batch: int = 2
    sequence: int = 32
    learning_rate: float = 1e-3
    clip_grad: float = 1.0


@dataclass
class Side:
    """One twin. `model` is bare megatron; `trainer` wraps it from the moment it is trained."""

    label: str
    pattern: Pattern
    model: Any
    trainer: Trainer | None = None
    losses: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    checkpoint: Path | None = None

    def state(self) -> dict[str, Tensor]:
        """Every weight and, once trained, every optimizer state, by canonical name."""
        found = canonical_state_dict(self.model)
        if self.trainer is not None:
            found |= {f"optimizer.{name}": tensor for name, tensor in optimizer_state(self.trainer).items()}
        return found


@dataclass
class Session:
    """The twins, from built to resumed. `folder` holds their checkpoints and is the caller's to delete."""

    settings: Settings
    left: Side
    right: Side
    folder: Path

    @classmethod
    def build(cls, left: Pattern, right: Pattern, settings: Settings, folder: Path) -> Session:
        """Build both twins from the same seed."""
        one, other = (
            Side(label, pattern, build(pattern, settings, settings.seed))
            for label, pattern in (("left", left), ("right", right))
        )
        return cls(settings, one, other, folder)

    def place(self, name: str) -> str:
        """Where a canonical name (also of a gradient or an optimizer state) lives, in words."""
        for part in ("embedding.", "decoder.", "output_layer.", "mtp."):
            if (start := name.find(part)) >= 0:
                return describe(name[start:], self.left.pattern)
        return "the whole model"

    def tokens(self, step: int) -> Tensor:
        """The batch of a step, [b, s + 1] token ids; the same for both twins, drawn anew for every step."""
        generator = torch.Generator().manual_seed(self.settings.seed + _DATA + step)
        shape = (self.settings.batch, self.settings.sequence + 1)
        tokens = torch.randint(0, self.settings.sizes.vocabulary, shape, generator=generator)
        return tokens.to(runtime.require().device)

    def reseed(self) -> None:
        """Start every random stream anew before a forward, so that both twins drop the same entries."""
        runtime.forget_models()
        runtime.seed(self.settings.seed + _FORWARD)

    def train(self, side: Side, first: int, steps: int) -> None:
        """Train a side for `steps` steps, the first of which is number `first`."""
        if side.trainer is None:
            side.trainer = self.trainer(side.model)
        for step in range(first, first + steps):
            runtime.forget_models()
            runtime.seed(self.settings.seed + _STEP + step)
            result = train_step(side.trainer, self.tokens(step))
            assert result.loss is not None
            side.losses.append(result.loss)
            side.grad_norms.append(result.grad_norm)

    def trainer(self, model: Any) -> Trainer:
        """A model under megatron's optimizer with this session's settings."""
        return make_trainer(model, learning_rate=self.settings.learning_rate, clip_grad=self.settings.clip_grad)

    def save(self, side: Side) -> Path:
        """The side's checkpoint, written when it is first asked for."""
        if side.checkpoint is None:
            assert side.trainer is not None, "a side is saved after it was trained"
            side.checkpoint = save_checkpoint(
                self.folder / side.label, side.trainer.model, side.trainer.optimizer, iteration=len(side.losses)
            )
        return side.checkpoint

    def fresh(self, side: Side) -> Side:
        """The same pattern with other weights and an untouched optimizer: what a checkpoint is loaded into."""
        model = build(side.pattern, self.settings, self.settings.seed + _FRESH)
        return Side(f"{side.label} (loaded)", side.pattern, model, self.trainer(model))


def build(pattern: Pattern, settings: Settings, seed: int) -> Any:
    """A model with the settings' sizes, dtype and backend."""
    return build_model(pattern, settings.sizes, seed=seed, dtype=settings.dtype, backend=settings.backend)


def with_dropout(sizes: ModelSizes, dropout: float | None) -> ModelSizes:
    """The sizes with both dropout probabilities replaced; unchanged for None."""
    return sizes if dropout is None else replace(sizes, hidden_dropout=dropout, attention_dropout=dropout)
