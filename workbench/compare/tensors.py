"""Two tensors side by side, in numbers: bits, absolute, relative and ULP distance, where the first difference is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.compare.verdict import Difference

# The integer type of the same width; distance in it is distance in units in the last place.
_BITS = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
}


@dataclass(frozen=True)
class Tolerance:
    """Entries agree when |a - b| <= atol + rtol · |b|. Both 0: every bit must be the same (also of -0.0 and NaN)."""

    atol: float = 0.0
    rtol: float = 0.0

    @property
    def bitwise(self) -> bool:
        """True when nothing but identical bits is accepted."""
        return self.atol == 0.0 and self.rtol == 0.0

    def __str__(self) -> str:
        return "bitwise" if self.bitwise else f"atol {self.atol:g}, rtol {self.rtol:g}"


def compare_tensor(name: str, place: str, left: Tensor, right: Tensor, tolerance: Tolerance) -> Difference | None:
    """What differs between two tensors, or None. Shapes and dtypes must be equal whatever the tolerance."""
    if (difference := compare_layout(name, place, left, right)) is not None:
        return difference
    left, right = left.detach(), right.detach()
    unequal = _bits(left) != _bits(right)
    if not tolerance.bitwise:
        unequal &= ~torch.isclose(left, right, rtol=tolerance.rtol, atol=tolerance.atol, equal_nan=True)
    if not bool(unequal.any()):
        return None
    return _measure(name, place, left, right, unequal)


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


def _measure(name: str, place: str, left: Tensor, right: Tensor, unequal: Tensor) -> Difference:
    first = unequal.reshape(-1).nonzero()[0, 0].item() if unequal.dim() else 0
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(first), unequal.shape)) if unequal.dim() else ()
    nan = left.isnan() != right.isnan()
    detail = f"{left[index].item():.9g} against {right[index].item():.9g}"
    a, b = left[unequal].double(), right[unequal].double()
    finite = a.isfinite() & b.isfinite()
    distance = (a - b).abs()[finite]
    scale = torch.maximum(a.abs(), b.abs())[finite]
    relative = torch.where(scale > 0, distance / scale, 0.0)
    return Difference(
        name=name,
        place=place,
        problem="nan" if bool(nan.any()) else "value",
        detail=detail,
        mismatched=int(unequal.sum()),
        elements=left.numel(),
        max_abs=float(distance.max()) if distance.numel() else None,
        max_rel=float(relative.max()) if distance.numel() else None,
        max_ulp=_ulp(left[unequal][finite], right[unequal][finite]),
        first_index=index,
    )


def _bits(tensor: Tensor) -> Tensor:
    kind = _BITS.get(tensor.dtype)
    return tensor if kind is None else tensor.contiguous().view(kind)


def _ulp(left: Tensor, right: Tensor) -> int | None:
    """The largest distance in units in the last place; None for integers and where nothing is finite."""
    if left.dtype not in _BITS or not left.numel():
        return None
    a, b = _ordered(left), _ordered(right)
    if left.dtype is torch.float64:  # their distance may not fit 64 bits
        return max(abs(x - y) for x, y in zip(a.tolist(), b.tolist(), strict=True))
    return int((a - b).abs().max())


def _ordered(tensor: Tensor) -> Tensor:
    """The bits as integers that are ordered as the numbers are: negative ones count down from zero."""
    bits = _bits(tensor).to(torch.int64)
    return torch.where(bits >= 0, bits, torch.iinfo(_BITS[tensor.dtype]).min - bits)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
