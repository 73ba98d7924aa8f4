"""What the stand-ins of upstream's kernels check before they compute: arguments refused, tokens counted, sequences cut."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.kernels.segments import bounds_from_lengths


def refuse(function: str, **arguments: Any) -> None:
    """`WorkbenchError` that names every argument which is not None."""
    given = sorted(name for name, value in arguments.items() if value is not None)
    if given:
        raise WorkbenchError(f"{function}: the CPU kernels do not support {', '.join(given)}; leave it out")


def same_tokens(function: str, **tensors: Tensor) -> None:
    """Cut into sequences, a tensor with more tokens than the others would no longer be noticed."""
    if len({tensor.shape[:2] for tensor in tensors.values()}) > 1:
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
        raise WorkbenchError(f"{function}: shapes do not fit: {shapes}")


def bounds(function: str, cu_seqlens: Tensor, x: Tensor) -> list[tuple[int, int]]:
    """(start, end) of each sequence packed in `x` [1, l, …]."""
    if x.shape[0] != 1:
        raise WorkbenchError(f"{function}: packed sequences (cu_seqlens) lie in one row, not in {x.shape[0]}")
    return bounds_from_lengths(cu_seqlens, x.shape[1])
