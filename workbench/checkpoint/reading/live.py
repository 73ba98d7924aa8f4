"""Live objects as checkpoints: modules, optimizers, and mappings of names to tensors or arrays. Nothing of the CPU is copied.

Imports torch only where somebody else has: what is given can be torch's only then. Tensors on another device are copied when
they are looked at, as much of them as is looked at. What is seen is the live memory: a step of training changes it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workbench.checkpoint.buffers import MemoryBuffer
from workbench.checkpoint.reading.live_optimizer import is_optimizer, optimizer_state
from workbench.checkpoint.reading.live_tensors import of_array, of_tensor
from workbench.checkpoint.source import Checkpoint, StoredObject
from workbench.checkpoint.tensors import StoredTensor
from workbench.errors import WorkbenchError

_EXTRA = "_extra_state"
_PLAIN = (str, int, float, bool, complex, bytes, type(None))


def open_live(what: Any, *, module: Any = None) -> Checkpoint:
    """A module, an optimizer, or a mapping of names to tensors, arrays, modules and optimizers (nested as deep as wanted).

    A module's names are those of its `state_dict()`, without its wrappers' (`DistributedDataParallel`, `torch.compile`). An
    optimizer's are `optimizer.state.exp_avg.<name>`: the weight's name where `module` is given or a mapping holds it, its
    number where not. Raises `WorkbenchError` for anything else.
    """
    collected = _Collected()
    if isinstance(what, Mapping):
        modules = [inner for value in what.values() if (inner := as_module(value)) is not None]
        collected.add_mapping("", what, modules if module is None else [module])
        where = f"a mapping of {len(collected.tensors)} tensors"
        return collected.checkpoint(where, "mapping")
    if (inner := as_module(what)) is not None:
        collected.add_module("", inner)
        return collected.checkpoint(f"a live {type(inner).__name__}", "module")
    if is_optimizer(what):
        collected.add_optimizer("optimizer.", what, [] if module is None else [module])
        return collected.checkpoint(f"a live {type(what).__name__}", "optimizer")
    raise WorkbenchError(
        f"a {type(what).__name__} is no checkpoint: give a path, a torch module, an optimizer, or a mapping of names to tensors"
    )


def as_module(what: Any) -> Any:
    """The torch module inside its wrappers, or None for anything else."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(what, torch.nn.Module):
        return None
    while (inner := _wrapped(what)) is not None:
        what = inner
    return what


# ------------------------------------------------------------------------------------------------------


def _wrapped(module: Any) -> Any:
    """What a wrapper holds: its only child, under the name that wrappers use, and no tensor beside it."""
    if getattr(module, "_parameters", None) or getattr(module, "_buffers", None):
        return None
    children = dict(module.named_children())
    return next((children[name] for name in ("module", "_orig_mod") if [*children] == [name]), None)


class _Collected:
    """Tensors, objects and values found so far, by dotted name."""

    def __init__(self) -> None:
        self.tensors: dict[str, StoredTensor] = {}
        self.objects: dict[str, StoredObject] = {}
        self.values: dict[str, Any] = {}
        self.empty_extras = self.cut = 0

    def checkpoint(self, where: str, form: str) -> Checkpoint:
        notes = []
        if self.empty_extras:
            notes.append(f"{self.empty_extras} _extra_state entries that hold nothing were left out")
        if self.cut:
            notes.append(f"the optimizer's states of {self.cut} weights are flat pieces: other ranks hold the rest")
        return Checkpoint(where, form, self.tensors, self.objects, self.values, tuple(notes))

    def add_mapping(self, prefix: str, mapping: Mapping[Any, Any], modules: Sequence[Any], depth: int = 0) -> None:
        if depth > 64:
            raise WorkbenchError(f"the mapping is nested more than 64 deep at {prefix[:80]}")
        for key, value in mapping.items():
            self._add(f"{prefix}{key}", value, modules, depth)

    def add_module(self, prefix: str, module: Any) -> None:
        for name, value in module.state_dict().items():
            if name.endswith(_EXTRA):
                self._add_extra(prefix + name, value)
            else:
                self._add(prefix + name, value, (), 0)

    def add_optimizer(self, prefix: str, optimizer: Any, modules: Sequence[Any]) -> None:
        names = {id(weight): name for module in modules for name, weight in as_module(module).named_parameters()}
        state = optimizer_state(optimizer, names)
        for name, tensor in state.tensors:
            self.tensors[f"{prefix}{name}"] = of_tensor(f"{prefix}{name}", tensor)
        self.values[f"{prefix}param_groups"] = state.groups
        self.cut += state.cut

    def _add(self, name: str, value: Any, modules: Sequence[Any], depth: int) -> None:
        torch = sys.modules.get("torch")
        if name in self.tensors or name in self.objects or name in self.values:
            raise WorkbenchError(f"two entries of the mapping are both called {name}")
        if isinstance(value, np.ndarray | np.generic):
            self.tensors[name] = of_array(name, np.asarray(value))
        elif torch is not None and isinstance(value, torch.Tensor):
            self.tensors[name] = of_tensor(name, value)
        elif isinstance(value, StoredTensor):
            self.tensors[name] = value
        elif isinstance(value, Mapping):
            self.add_mapping(f"{name}.", value, modules, depth + 1)
        elif (inner := as_module(value)) is not None:
            self.add_module(f"{name}.", inner)
        elif is_optimizer(value):
            self.add_optimizer(f"{name}.", value, modules)
        elif isinstance(value, list | tuple) and any(not isinstance(each, _PLAIN) for each in value):
            self.add_mapping(f"{name}.", dict(enumerate(value)), modules, depth + 1)
        elif name.endswith(_EXTRA):
            self._add_extra(name, value)
        else:
            self.values[name] = value

    def _add_extra(self, name: str, value: Any) -> None:
        """What a module keeps beside its tensors: bytes, in a tensor or a stream; mostly nothing."""
        content = _bytes_of(value)
        if content is None:
            raise WorkbenchError(f"{name} is a {type(value).__name__}, and not bytes")
        if not content.size:
            self.empty_extras += 1
            return
        self.objects[name] = StoredObject(MemoryBuffer(content, name), 0, int(content.size))


def _bytes_of(value: Any) -> Any:
    torch = sys.modules.get("torch")
    if value is None:
        return np.empty(0, np.uint8)
    if torch is not None and isinstance(value, torch.Tensor):
        return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    if hasattr(value, "getvalue"):
        value = value.getvalue()
    return np.frombuffer(value, np.uint8) if isinstance(value, bytes | bytearray | memoryview) else None
