"""One of the two models under measurement: it trains, step after step, and remembers what every step came to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from workbench.compare.throughput.regimes import Problem
from workbench.compare.throughput.result import NotTheSame
from workbench.compare.throughput.timing import Mark
from workbench.fusion import runtime
from workbench.fusion.cpu_platform import cuda_literals_on_cpu
from workbench.fusion.lean.report import lean_blocks, run_lean
from workbench.fusion.model import build_model
from workbench.fusion.noise import hushed
from workbench.fusion.state import canonical_state_dict
from workbench.fusion.trainer import accumulate_gradients, make_trainer
from workbench.pattern.model import Pattern

_LEARNING_RATE = 1e-4


class Twin:
    """A pattern's model under megatron's optimizer.

    `results` holds a step's loss and gradient norm, in the order of the steps. Every step has tokens of its own, drawn from
    `seed` and the step's number: on one batch for ever, gradients would shrink to denormal numbers, which are slow.
    `lean=False` has fused blocks run upstream's own forward.
    """

    def __init__(
        self, pattern: Pattern, problem: Problem, *, seed: int, dtype: str, backend: str, lean: bool = True
    ) -> None:
        self.pattern = pattern
        self.problem = problem
        self.seed = seed
        self.results: list[tuple[float, float]] = []
        model = build_model(pattern, problem.sizes, seed=seed, dtype=dtype, backend=backend)
        run_lean(model, lean)
        self.trainer = make_trainer(model, learning_rate=_LEARNING_RATE)
        self._tokens: Any = None
        self._mark: Callable[[], None] | None = None
        # The schedule calls the wrapped model; when that returns, the forward is over.
        self.trainer.model.register_forward_hook(self._forward_done)

    def prepare(self) -> None:
        """What comes before a step and is no part of it: its tokens, its random streams, megatron's statistics emptied."""
        step = len(self.results)
        generator = torch.Generator().manual_seed(self.seed + step)
        shape = (self.problem.rows, self.problem.sequence + 1)
        tokens = torch.randint(0, self.problem.sizes.vocabulary, shape, generator=generator)
        self._tokens = tokens.to(runtime.require().device)
        runtime.forget_models()
        runtime.seed(self.seed + step)

    def step(self, mark: Mark | None = None) -> None:
        """One training step, prepared before; `mark` is called after the forward and after the gradients are there."""
        self._mark = mark
        loss = accumulate_gradients(self.trainer, self._tokens)
        if mark is not None:
            mark()
        with cuda_literals_on_cpu(), hushed():
            _, norm, _ = self.trainer.optimizer.step()
        assert loss is not None
        self.results.append((loss, float(norm)))

    def lean_blocks(self) -> int:
        """How many blocks a step runs lean, MTP's included; none on a GPU (`lean.conditions.step_reason`)."""
        on_cpu = runtime.require().device == "cpu"
        return sum(block.lean for block in lean_blocks(self.trainer.model)) if on_cpu else 0

    def prepared_step(self) -> None:
        """Both, for what is counted and not timed."""
        self.prepare()
        self.step()

    def _forward_done(self, *_: Any) -> None:
        if self._mark is not None:
            self._mark()


def check_same(fused: Twin, unfused: Twin) -> None:
    """Raise `NotTheSame` at the first step whose loss or gradient norm is not the same bits in both."""
    for step, pair in enumerate(zip(fused.results, unfused.results, strict=True)):
        left, right = pair
        # The texts of two floats are equal exactly when they are, and so are those of NaNs.
        if repr(left) != repr(right):
            text = (
                f"step {step} has loss {left[0]!r} and gradient norm {left[1]!r} in {fused.pattern}, {right[0]!r} and {right[1]!r} "
                f"in {unfused.pattern}: the two are not the same function, and their speeds are not compared. "
                "workbench verify says where they part"
            )
            raise NotTheSame(text, {"step": step, "fused": _named(left), "unfused": _named(right)})


def check_same_weights(fused: Twin, unfused: Twin) -> None:
    """Raise `NotTheSame` unless every weight, by canonical name, has the same bits in both: what their steps came to."""
    left, right = (canonical_state_dict(twin.trainer.model) for twin in (fused, unfused))
    assert left.keys() == right.keys(), "twins have the same sub-layers, and those the same weights"
    differing = [name for name, tensor in left.items() if not torch.equal(tensor, right[name])]
    if differing:
        steps = len(fused.results)
        raise NotTheSame(
            f"after {steps} steps, {len(differing)} of {len(left)} weights are not the same bits in {fused.pattern} and "
            f"{unfused.pattern}, the first is {differing[0]}: their speeds are not compared. workbench verify says where they part",
            {"steps": steps, "weights": len(left), "differing": differing},
        )


def _named(result: tuple[float, float]) -> dict[str, float]:
    return {"loss": result[0], "grad_norm": result[1]}
