"""Optimizer states as sharded state dicts, and back, for the optimizers that train here.

Every tensor of state is stored under its weight's canonical key: `optimizer.state.exp_avg.<key>`. Megatron's own optimizers
bring the code; what they get wrong over torch's Adam (they expect apex or Transformer Engine) is set right here, each with
its upstream line. A plain `torch.optim.Adam` is stored in the same layout.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from megatron.core.dist_checkpointing.optimizer import get_param_id_to_sharded_param_map, optim_state_to_sharding_state
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
from megatron.core.optimizer.optimizer import ChainedOptimizer, Float16OptimizerWithFloat16Params, MegatronOptimizer

from workbench.errors import WorkbenchError

PREFIX = "optimizer."

_ADAM = (torch.optim.Adam, torch.optim.AdamW)

_DISTRIBUTED = "megatron's distributed optimizer"
_MASTERS = "megatron's optimizer with fp32 master weights"
_FP32 = "megatron's fp32 optimizer"


def sharded(optimizer: Any, model_state: dict[str, Any], metadata: dict[str, Any], *, loading: bool) -> dict[str, Any]:
    """The sharded state dict of an optimizer, given the model's."""
    if isinstance(optimizer, MegatronOptimizer):
        if loading:
            for inner in inner_optimizers(optimizer):
                if isinstance(inner, DistributedOptimizer):
                    # Its state dict asserts that a step is there (distrib_optimizer.py:839), which a new torch Adam lacks.
                    _initialise(inner.optimizer)
        return optimizer.sharded_state_dict(model_state, is_loading=loading, metadata=metadata)
    if isinstance(optimizer, _ADAM):
        return _sharded_adam(optimizer, model_state, loading=loading)
    raise _unsupported(optimizer)


def check_kind(optimizer: Any, names: Collection[str], settings: Any, path: Path) -> None:
    """Raise `WorkbenchError` unless a checkpoint with these stored names and optimizer settings is of the optimizer's kind.

    Kinds share names, so that some would load into others, wrongly: AdamW's settings make an AdamW of torch's Adam.
    """
    stored, ours = _stored_kind(names, settings), _kind(optimizer)
    if stored is None:
        raise WorkbenchError(f"{path} holds tensors of an optimizer and not its settings: load it without an optimizer")
    if stored != ours:
        raise WorkbenchError(f"{path} holds the state of {stored}, and this is {ours}: load it without an optimizer")
    there, here = _chain_length(settings), len(inner_optimizers(optimizer))
    if there != here:
        raise WorkbenchError(
            f"{path} holds the settings of {there} optimizer(s), and this is a chain of {here}: megatron makes one more for "
            "experts where they are split over ranks (expert parallel above 1), and does not convert between the two; load "
            "it without an optimizer"
        )


def _kind(optimizer: Any) -> str:
    if isinstance(optimizer, MegatronOptimizer):
        first = inner_optimizers(optimizer)[0]
        if isinstance(first, DistributedOptimizer):
            return _DISTRIBUTED
        return _MASTERS if isinstance(first, Float16OptimizerWithFloat16Params) else _FP32
    if isinstance(optimizer, _ADAM):
        return _torch_kind(optimizer.param_groups[0])
    raise _unsupported(optimizer)


def _stored_kind(names: Collection[str], settings: Any) -> str | None:
    # megatron numbers the optimizers of a chain, and keeps the settings of all but its fp32 one a level deeper.
    if isinstance(settings, dict):
        settings = settings.get(0, settings)
    if isinstance(settings, dict):
        settings = settings.get("optimizer", settings)
    groups = settings.get("param_groups") if isinstance(settings, dict) else None
    if not isinstance(groups, list) or not groups or not isinstance(groups[0], dict):
        return None
    if any(name.startswith(f"{PREFIX}state.param.") for name in names):
        return _DISTRIBUTED
    if any(name.startswith(f"{PREFIX}state.fp32_param.") for name in names):
        return _MASTERS
    return _FP32 if "wd_mult" in groups[0] else _torch_kind(groups[0])


def _chain_length(settings: Any) -> int:
    return len([key for key in settings if isinstance(key, int)]) or 1


def _unsupported(optimizer: Any) -> WorkbenchError:
    return WorkbenchError(
        f"{type(optimizer).__name__} is not supported: use megatron's optimizer, torch's Adam or AdamW"
    )


def _torch_kind(group: dict[str, Any]) -> str:
    return "torch's AdamW" if group.get("decoupled_weight_decay") else "torch's Adam"


def load(optimizer: Any, state: dict[str, Any]) -> None:
    """Load what `sharded` described and `dist_checkpointing.load` filled; called inside `checkpoint_files.reading`."""
    if isinstance(optimizer, MegatronOptimizer):
        with ExitStack() as around:
            around.enter_context(torch.no_grad())
            for inner in inner_optimizers(optimizer):
                if isinstance(inner, DistributedOptimizer):
                    around.enter_context(_without_step(inner))
            try:
                optimizer.load_state_dict(state)
            except ValueError as error:
                if "Could not find parameter group" not in str(error):
                    raise
                raise WorkbenchError(
                    "the optimizer was made with another learning rate or weight decay than the checkpoint's, and megatron "
                    "tells parameter groups apart by them (optimizer/optimizer.py:100): make it with the same, then change them"
                ) from error
        for inner in inner_optimizers(optimizer):
            _own_steps(inner.optimizer)
        return
    step = state["state"].pop("common_step", None)
    for entry in state["state"].values():
        entry["step"] = step.clone()
    optimizer.load_state_dict(state)


def inner_optimizers(optimizer: Any) -> list[Any]:
    """The optimizers of a chain (megatron makes one a parameter kind), or the only one."""
    return list(optimizer.chained_optimizers) if isinstance(optimizer, ChainedOptimizer) else [optimizer]


@contextmanager
def _without_step(optimizer: Any) -> Iterator[None]:
    """Inside, this optimizer's load takes no step from a parameter's tensors: torch's Adam holds one there, a checkpoint
    keeps it once for all, and distrib_optimizer.py:1223 looks it up among the former.
    """

    def set_states(parameter: Any, tensors: dict[str, Any]) -> None:
        type(optimizer)._set_main_param_and_optimizer_states(optimizer, parameter, {**tensors, "step": None})

    optimizer._set_main_param_and_optimizer_states = set_states
    try:
        yield
    finally:
        del optimizer._set_main_param_and_optimizer_states


def _own_steps(optimizer: torch.optim.Optimizer) -> None:
    """Give every parameter its own step counter.

    After a load the distributed optimizer shares one tensor among all parameters (distrib_optimizer.py:1000), and Adam
    then counts one step as many: training diverges silently.
    """
    for state in optimizer.state.values():
        if isinstance(state.get("step"), torch.Tensor):
            state["step"] = state["step"].clone()


def _initialise(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if not optimizer.state[parameter]:
                optimizer.state[parameter] = {
                    "step": torch.zeros(()),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }


def _sharded_adam(optimizer: torch.optim.Optimizer, model_state: dict[str, Any], *, loading: bool) -> dict[str, Any]:
    if loading:
        _initialise(optimizer)
    state = optimizer.state_dict()
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    steps = [entry["step"] for entry in state["state"].values()]
    optim_state_to_sharding_state(
        state, get_param_id_to_sharded_param_map(model_state, parameters), exclude_keys=("step",)
    )
    if steps:
        state["state"]["common_step"] = steps[0]
    return state
