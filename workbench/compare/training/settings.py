"""How a model is trained: every number of a run that is not the model's or the data's. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.errors import WorkbenchError

DECAYS = ("cosine", "linear", "constant")
DTYPES = ("fp32", "bf16")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """`rows` sequences a micro-batch, `micro_batches` of them a step (gradient accumulation), `steps` optimizer steps.

    The learning rate rises linearly over `warmup_steps` to `learning_rate` and falls (`decay`) to `min_learning_rate` at
    the last step. `clip_grad` is the largest global gradient norm (0: no clipping). `evaluate_every` and `save_every`
    count steps; 0: evaluated only at the end, saved (where there is a directory) about every half minute, which changes no
    number of a run. `test_rows` sequences are evaluated at once. Raises `WorkbenchError` on a value out of range.
    """

    steps: int = 1000
    rows: int = 4
    micro_batches: int = 1
    learning_rate: float = 3e-3
    min_learning_rate: float = 3e-4
    warmup_steps: int = 20
    decay: str = "cosine"
    weight_decay: float = 0.1
    clip_grad: float = 1.0
    seed: int = 1234
    dtype: str = "fp32"
    backend: str = "auto"
    evaluate_every: int = 0
    test_rows: int = 32
    save_every: int = 0

    def __post_init__(self) -> None:
        at_least_one = {name: getattr(self, name) for name in ("steps", "rows", "micro_batches", "test_rows")}
        for name, value in at_least_one.items():
            if value < 1:
                raise WorkbenchError(f"{name} must be at least 1, not {value}")
        not_negative = (
            "warmup_steps",
            "weight_decay",
            "clip_grad",
            "evaluate_every",
            "save_every",
            "min_learning_rate",
        )
        for name in not_negative:
            if getattr(self, name) < 0:
                raise WorkbenchError(f"{name} must not be negative, and is {getattr(self, name)}")
        if not self.learning_rate > 0 or self.min_learning_rate > self.learning_rate:
            raise WorkbenchError(
                f"learning_rate {self.learning_rate} must be positive and not below min_learning_rate {self.min_learning_rate}"
            )
        for name, value, known in (("decay", self.decay, DECAYS), ("dtype", self.dtype, DTYPES)):
            if value not in known:
                raise WorkbenchError(f"{name} {value!r} is not one of {', '.join(map(repr, known))}")
