"""Two live tensors side by side, in numbers: bits, absolute, relative and ULP distance, where the first difference is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from workbench.checkpoint.comparing.blocks import unequal
from workbench.checkpoint.comparing.measuring import measured
from workbench.checkpoint.comparing.metrics import Tolerance
from workbench.checkpoint.differences import Metrics
from workbench.checkpoint.reading.live_tensors import of_tensor
from workbench.compare.verdict import Difference

__all__ = ["Tolerance", "compare_layout", "compare_mappings", "compare_tensor", "digest"]


def compare_tensor(name: str, place: str, left: Tensor, right: Tensor, tolerance: Tolerance) -> Difference | None:
    """What differs between two tensors, or None. Shapes and dtypes must be equal whatever the tolerance."""
    if (difference := compare_layout(name, place, left, right)) is not None:
        return difference
    pair = of_tensor(name, left), of_tensor(name, right)
    if not unequal([pair]):
        return None
    metrics, _ = measured(pair, tolerance)
    return _difference(name, place, metrics) if metrics.mismatched else None


def compare_layout(name: str, place: str, left: Tensor, right: Tensor) -> Difference | None:
    """What differs in shape or dtype, or None; values are not looked at."""
    if left.shape != right.shape:
        return Difference(name, place, "shape", f"{list(left.shape)} against {list(right.shape)}")
    if left.dtype != right.dtype:
        return Difference(name, place, "dtype", f"{_dtype(left)} against {_dtype(right)}")
    return None


def compare_mappings(
    left: Mapping[str, Tensor],
    right: Mapping[str, Tensor],
    place: Callable[[str], str],
    tolerance: Tolerance | None,
) -> list[Difference]:
    """Every difference between two sets of named tensors: missing, extra, shape, dtype, value; in the order of names.

    `place` puts a name into words. Without a tolerance values are not looked at.
    """
    found = []
    for name in [*left, *(name for name in right if name not in left)]:
        if name not in right:
            found.append(Difference(name, place(name), "missing", "only on the left"))
        elif name not in left:
            found.append(Difference(name, place(name), "extra", "only on the right"))
        else:
            pair = name, place(name), left[name], right[name]
            difference = compare_layout(*pair) if tolerance is None else compare_tensor(*pair, tolerance)
            if difference is not None:
                found.append(difference)
    return found


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of sorted names; the first 16 hexadecimal digits."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]


# ------------------------------------------------------------------------------------------------------


def _difference(name: str, place: str, metrics: Metrics) -> Difference:
    return Difference(
        name=name,
        place=place,
        problem="nan" if metrics.nan[0] or metrics.nan[1] else "value",
        detail=f"{_shown(metrics.left)} against {_shown(metrics.right)}",
        mismatched=metrics.mismatched,
        elements=metrics.elements,
        max_abs=metrics.max_abs,
        max_rel=metrics.max_rel,
        max_ulp=metrics.max_ulp,
        first_index=metrics.first,
    )


def _shown(value: float | str | None) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
