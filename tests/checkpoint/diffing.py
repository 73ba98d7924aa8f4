"""What the tests of diffs share: checkpoints of arrays in memory, of a pattern's predicted names, and what differs by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.checkpoint.buffers import MemoryBuffer
from workbench.checkpoint.differences import Diff
from workbench.checkpoint.source import Checkpoint, StoredObject
from workbench.checkpoint.tensors import contiguous
from workbench.pattern.model import Pattern

type Arrays = dict[str, Any]


def checkpoint(arrays: Mapping[str, Any], objects: Mapping[str, bytes] = {}, **fields: Any) -> Checkpoint:
    """Arrays as a checkpoint; a pair (raw bits, dtype) for what numpy has no type for."""
    tensors = {}
    for name, value in arrays.items():
        bits, dtype = value if isinstance(value, tuple) else (value, str(value.dtype))
        flat = np.ascontiguousarray(bits).reshape(-1).view(np.uint8)
        tensors[name] = contiguous(MemoryBuffer(flat), 0, bits.shape, dtype)
    held = {
        name: StoredObject(MemoryBuffer(np.frombuffer(data, np.uint8)), 0, len(data)) for name, data in objects.items()
    }
    return Checkpoint("here", "mapping", tensors, held, **fields)


def predicted(pattern: str, seed: int = 0, **sizes: Any) -> Arrays:
    """Random weights under the canonical names of a pattern."""
    generator = np.random.default_rng(seed)
    rows = Architecture(Pattern(pattern), ModelSizes(**sizes)).canonical()
    return {row.name: generator.standard_normal(row.shape).astype(np.float32) for row in rows}


def copied(arrays: Arrays) -> Arrays:
    return {name: value.copy() for name, value in arrays.items()}


def found(diff: Diff) -> dict[str, str]:
    """Name → kind of every difference of content."""
    return {each.name: each.kind for each in diff.differences if each.content}
