"""Nested things as a checkpoint: tensors by dotted names, plain values beside them. numpy only.

What was unpickled is first `settled`: stand-ins become plain values or tensors, and nothing of a pickle is left. Then it is
`flattened`. A thing that is referred to again and again, in layers, is refused before it is spelled out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workbench.checkpoint.buffers import MemoryBuffer
from workbench.checkpoint.reading.pickled_numpy import NumpyArray, NumpyBuffer, NumpyScalar
from workbench.checkpoint.reading.pickles import Inert, name_of, shown
from workbench.checkpoint.reading.torch_globals import Leaf, Storage
from workbench.checkpoint.source import StoredObject
from workbench.checkpoint.tensors import StoredTensor
from workbench.errors import WorkbenchError

_DEEPEST = 100  # containers within containers; an optimizer's state is five deep
_MOST_ENTRIES = 20_000_000  # things in all, each as often as it is referred to
_MOST_BITS = 4096  # of a whole number; beyond 14,000 Python does not print it

_ATOMS = (str, int, float, bool, complex, type(None), bytes, bytearray, StoredTensor)


@dataclass
class Parts:
    """What a nested thing consists of, by dotted name."""

    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    objects: dict[str, StoredObject] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def settled(value: Any) -> Any:
    """What a pickle held, in plain values: dictionaries, lists, tuples, texts, numbers, bytes, and `StoredTensor`.

    A Namespace becomes a dictionary, a path or dtype its text, an enum's member "AttnBackend(5)".
    """
    return _Settling().settle(value, 0)


def flattened(value: Any) -> Parts:
    """The tensors in nested dictionaries and lists, by names joined with dots: "optimizer.state.0.exp_avg".

    A part without tensors and bytes is one value, whole. Raises `WorkbenchError` where two things get one name.
    """
    parts = Parts()
    holds = _Holding().holds
    taken: set[str] = set()

    def walk(found: Any, name: str) -> None:
        if isinstance(found, dict | list | tuple) and (holds(found) or not name):
            entries = found.items() if isinstance(found, dict) else enumerate(found)
            for key, entry in entries:
                walk(entry, f"{name}.{key}" if name else str(key))
            return
        name = name or "value"
        if name in taken:
            raise WorkbenchError(f"two things in it are called {name!r} once their names are joined with dots")
        taken.add(name)
        if isinstance(found, StoredTensor):
            parts.tensors[name] = found
        elif isinstance(found, bytes | bytearray):
            data = np.frombuffer(bytes(found), np.uint8)
            parts.objects[name] = StoredObject(MemoryBuffer(data, name), 0, data.size)
        else:
            parts.values[name] = found

    walk(value, "")
    return parts


# ------------------------------------------------------------------------------------------------------


class _Settling:
    """Every container is settled once, however often it is referred to; `sizes` counts it as often as it is."""

    def __init__(self) -> None:
        self.done: dict[int, tuple[Any, int]] = {}
        self.kept: list[Any] = []  # so that no id is used twice
        self.size = 0

    def settle(self, value: Any, depth: int) -> Any:
        self.size += 1
        if isinstance(value, _ATOMS):
            return _atom(value)
        if depth >= _DEEPEST:
            raise WorkbenchError(f"it holds things within things, more than {_DEEPEST} deep")
        if id(value) in self.done:
            found, size = self.done[id(value)]
            if size < 0:
                raise WorkbenchError("it holds something that holds itself")
            self.size += size
        else:
            self.done[id(value)] = (None, -1)
            self.kept.append(value)
            before = self.size
            found = self.made(value, depth + 1)
            self.done[id(value)] = (found, self.size - before)
        if self.size > _MOST_ENTRIES:
            raise WorkbenchError(
                f"it holds more than {_MOST_ENTRIES} things, most of them again and again: a memory bomb"
            )
        return found

    def made(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            return {self.key(key, depth): self.settle(entry, depth) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            found = [self.settle(entry, depth) for entry in value]
            return tuple(found) if isinstance(value, tuple) else found
        if isinstance(value, Leaf):
            return value.tensor
        if isinstance(value, NumpyArray | NumpyBuffer):
            return value.stored()
        if isinstance(value, NumpyScalar):
            return value.value()
        if isinstance(value, Storage):
            raise WorkbenchError("it holds a bare storage, which does not say what its bytes are: save a tensor")
        if isinstance(value, Inert):
            return self.inert(value, depth)
        if name := name_of(value):
            return name
        raise WorkbenchError(f"it holds a {type(value).__name__}")

    def inert(self, value: Inert, depth: int) -> Any:
        name, arguments = value.origin[1], value.arguments
        if name in ("Namespace", "SimpleNamespace", "OptimizerConfig"):
            fields = {**value.keywords, **value.fields}
            return {self.key(key, depth): self.settle(entry, depth) for key, entry in fields.items()}
        if name == "BytesIO":
            state = value.state[0] if isinstance(value.state, tuple) and value.state else b""
            return bytes(state) if isinstance(state, bytes | bytearray) else b""
        if name == "PosixPath":
            return "/".join(part.rstrip("/") for part in arguments if isinstance(part, str)) or "."
        if name == "device":
            return ":".join(shown(part).strip("'") for part in arguments)
        if name == "complex" and len(arguments) == 2 and all(isinstance(part, int | float) for part in arguments):
            return complex(*arguments)
        return f"{name}({', '.join(map(shown, arguments[:8]))})"

    def key(self, key: Any, depth: int) -> Any:
        if isinstance(key, tuple):
            return tuple(self.key(part, depth) for part in key)
        return str(self.settle(key, depth)) if isinstance(key, Inert | type) else _atom(key)


def _atom(value: Any) -> Any:
    if isinstance(value, str) and not value.isascii():
        # Half a surrogate pair can be pickled, and cannot be printed.
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if type(value) is int and value.bit_length() > _MOST_BITS:
        raise WorkbenchError(f"it holds a whole number of {value.bit_length()} bits")
    return value


class _Holding:
    """Whether a thing holds a tensor or bytes, asked once of each."""

    def __init__(self) -> None:
        self.known: dict[int, bool] = {}

    def holds(self, value: Any) -> bool:
        if isinstance(value, StoredTensor | bytes | bytearray):
            return True
        if not isinstance(value, dict | list | tuple):
            return False
        if id(value) not in self.known:
            entries = value.values() if isinstance(value, dict) else value
            self.known[id(value)] = any(map(self.holds, entries))
        return self.known[id(value)]
