"""The state that a live optimizer holds, tensor by tensor. Reads attributes only: torch's and megatron's classes are not imported.

Megatron's optimizers hold a torch optimizer each, and a chain of them for experts. Where weights are narrower than fp32, the
torch optimizer holds master weights, and lists beside it say whose they are (`optimizer/optimizer.py`,
`optimizer/distrib_optimizer.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workbench.errors import WorkbenchError

# Lists of groups of weights, and of what the torch optimizer holds instead of them: masters, or views of the same memory.
_MASTERS = (
    ("float16_groups", "fp32_from_float16_groups"),
    ("model_float16_groups", "shard_fp32_from_float16_groups"),
)
_VIEWS = ("model_fp32_groups", "shard_fp32_groups")
_MASTER = "fp32_param"


def is_optimizer(what: Any) -> bool:
    """True for torch's optimizers and megatron's."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    return isinstance(what, torch.optim.Optimizer) or bool(_torch_optimizers(what, torch))


@dataclass(frozen=True)
class State:
    """What an optimizer holds: ("state.exp_avg.<weight>", tensor) pairs, the settings of each group with its weights' names, and
    how many weights' states are flat pieces, because other ranks have the rest."""

    tensors: list[tuple[str, Any]]
    groups: list[dict[str, Any]]
    cut: int


def optimizer_state(optimizer: Any, names: Mapping[int, str]) -> State:
    """Everything that an optimizer holds. `names` is id of a weight → its name; one that is not there is called by its number."""
    torch = sys.modules["torch"]
    tensors: list[tuple[str, Any]] = []
    groups: list[dict[str, Any]] = []
    count = cut = 0
    for outer, inner in _torch_optimizers(optimizer, torch):
        masters, views = _owners(outer, *_MASTERS), _owners(outer, _VIEWS)
        for group in inner.param_groups:
            held = []
            for weight in group["params"]:
                owner = masters.get(id(weight), views.get(id(weight), weight))
                name = names.get(id(owner), str(count))
                count += 1
                held.append(name)
                cut += weight.numel() != owner.numel()
                if id(weight) in masters:
                    tensors.append((f"state.{_MASTER}.{name}", _shaped(weight, owner)))
                for kind, value in inner.state.get(weight, {}).items():
                    tensors += [(f"state.{kind}.{name}", _shaped(each, owner)) for each in _as_tensors(torch, value)]
            settings = {key: value for key, value in group.items() if key != "params"}
            groups.append({**settings, "params": held})
    _check_once(tensors)
    return State(tensors, groups, cut)


# ------------------------------------------------------------------------------------------------------


def _torch_optimizers(optimizer: Any, torch: Any) -> list[tuple[Any, Any]]:
    """(megatron's or the same, torch's) for every optimizer of a chain."""
    found: list[tuple[Any, Any]] = []
    for each in getattr(optimizer, "chained_optimizers", [optimizer]):
        inner = each
        while not isinstance(inner, torch.optim.Optimizer):
            inner = getattr(inner, "optimizer", None)
            if inner is None:
                break
        else:
            found.append((each, inner))
    return found


def _owners(optimizer: Any, *lists: tuple[str, str]) -> dict[int, Any]:
    """id of what the torch optimizer holds → the weight that it is held for."""
    found: dict[int, Any] = {}
    for weights, held in lists:
        for group, instead in zip(getattr(optimizer, weights, ()), getattr(optimizer, held, ()), strict=True):
            found |= {id(each): weight for weight, each in zip(group, instead, strict=True) if each is not None}
    return found


def _shaped(state: Any, weight: Any) -> Any:
    """The distributed optimizer holds a weight's state flat; where this rank has all of it, it is given the weight's shape."""
    flat = state.dim() == 1 and state.numel() == weight.numel()
    return state.detach().view(weight.shape) if flat else state


def _as_tensors(torch: Any, value: Any) -> list[Any]:
    """What is kept of a weight under one name: a tensor or number, mostly."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, bool | int | float):
        return [torch.as_tensor(value)]
    return []


def _check_once(tensors: list[tuple[str, Any]]) -> None:
    names = {name for name, _ in tensors}
    if len(names) < len(tensors):
        raise WorkbenchError("two weights of the optimizer have the same name: give it the module that it trains")
