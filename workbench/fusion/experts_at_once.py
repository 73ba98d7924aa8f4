"""Megatron's experts on one rank of a host without CUDA: its `SequentialMLP`, with all experts' linears in one call each.

Upstream runs one `MLP` after the other (`transformer/moe/experts.py:1297`). With small experts the time goes into what
surrounds their products: modules, autograd functions and elementwise kernels once an expert. `ExpertsAtOnce` has the same
parameters, names and checkpoints, and calls `MLP.forward` itself once, on the tokens of all experts, with linears that know
where each expert's tokens are. The products are upstream's bit by bit, and so is the activation where its width fills the
processor's vectors (a multiple of 16). Elsewhere torch rounds an element by where it lies in memory, and upstream's way is kept.

Where one of its conditions does not hold upstream's own forward runs, and `why_one_by_one()` says which.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.mlp import MLP
from megatron.core.transformer.moe.experts import SequentialMLP
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from workbench.fusion.adapters import ExpertRowParallelLinear
from workbench.fusion.lean.watch import Watch, hook_reason
from workbench.kernels.experts import expert_linear

# What an expert's first linear gives, on average. With more, nothing but the products counts, and one expert's numbers stay
# in the cache where those of all do not.
_MANY_ELEMENTS = 48 * 1024
_LINEARS = (ColumnParallelLinear, RowParallelLinear, ExpertRowParallelLinear)


class ExpertsAtOnce(SequentialMLP):
    """`SequentialMLP`; the arguments of its constructor, its parameters and its results."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Tuples, so that torch does not take what is in them for modules with a state of their own.
        names = ("linear_fc1", "linear_fc2")
        self._linears = tuple(_LinearOfAll([getattr(e, name) for e in self.local_experts]) for name in names)
        self._width = len(self.local_experts[0].linear_fc1.weight)
        self._why_never = self._settings_reason()
        self._watch = Watch([*self.local_experts.modules()])
        self._as_built = self._watch.state()

    def why_one_by_one(self, rows: int = 0) -> str | None:
        """What leaves `rows` tokens of all experts to upstream's forward, one expert after the other; None where nothing does."""
        if self._why_never is not None:
            return self._why_never
        if rows * self._width > _MANY_ELEMENTS * self.num_local_experts:
            return "every expert has so much to do that nothing is gained"
        if torch_module._has_any_global_hook():
            return "hooks are registered for all modules"
        return self._why_changed() if self._watch.state() != self._as_built else None

    def _why_changed(self) -> str | None:
        # Nothing that a user puts inside may be passed over: every expert is still an MLP of the linears that it was built with.
        experts = list(self.local_experts)
        linears = [linear for of_all in self._linears for linear in of_all.of_experts]
        if [type(expert) for expert in experts] != [MLP] * self.num_local_experts:
            return "an expert was replaced"
        now = [getattr(expert, name) for name in ("linear_fc1", "linear_fc2") for expert in experts]
        if any(mine is not built or type(mine) not in _LINEARS for mine, built in zip(now, linears, strict=True)):
            return "a linear of an expert was replaced"
        if any(expert.activation_func is not experts[0].activation_func for expert in experts):
            return "the experts have different activations"
        named = self.local_experts.named_modules()
        return next((why for name, module in named if (why := hook_reason(name, module)) is not None), None)

    def _settings_reason(self) -> str | None:
        config = self.config
        linears = [linear for of_all in self._linears for linear in of_all.of_experts]
        reasons = {
            "there is one expert, which upstream calls without a split": self.num_local_experts == 1,
            "its weights lie on a GPU": any(linear.weight.is_cuda for linear in linears),
            "tensor-parallel ranks share each expert": self.tp_group.size() > 1,
            "their width is no multiple of 16": any(
                linear.weight.size(1) % 16 for linear in self._linears[1].of_experts
            ),
            "the experts have biases": config.add_bias_linear,
            "the experts are quantized": bool(config.fp8 or config.fp4),
            "the router's weights are applied to the input": config.moe_apply_probs_on_input,
            "weight gradients are accumulated or deferred inside the linears": (
                config.gradient_accumulation_fusion or config.defer_embedding_wgrad_compute
            ),
            "activations are offloaded": config.cpu_offloading,
            "a linear is not one of megatron's local ones": any(type(linear) not in _LINEARS for linear in linears),
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def forward(
        self, permuted_local_hidden_states: Tensor, tokens_per_expert: Tensor, permuted_probs: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens [n, h] sorted by expert, how many each has [e], their weights [n] → ([n, h], None)."""
        if self.why_one_by_one(len(permuted_local_hidden_states)) is not None:
            return super().forward(permuted_local_hidden_states, tokens_per_expert, permuted_probs)
        counts = tokens_per_expert.tolist()
        for linear in self._linears:
            linear.counts = counts
        one = self.local_experts[0]
        everyone = SimpleNamespace(
            config=one.config,
            activation_func=one.activation_func,
            linear_fc1=self._linears[0],
            linear_fc2=self._linears[1],
        )
        output, bias = MLP.forward(everyone, permuted_local_hidden_states, permuted_probs)
        return output, bias


class _LinearOfAll(nn.Module):
    """One linear of all experts, with the weights that they hold; returns (output, None) as megatron's linears do."""

    def __init__(self, linears: list[Any]) -> None:
        super().__init__()
        self.of_experts = tuple(linears)
        self.counts: list[int] = []

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """[n, i] sorted by expert → ([n, o], None)."""
        return expert_linear(x, [linear.weight for linear in self.of_experts], self.counts), None
