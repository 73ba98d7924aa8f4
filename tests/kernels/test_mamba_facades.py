"""The gate after Mamba-2's scan: the same bits as the plain expression, less kept for backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from tests.kernels.test_ssd import inputs
from workbench.errors import WorkbenchError
from workbench.kernels.mamba_facades import mamba_chunk_scan_combined
from workbench.kernels.ssd import ssd_chunked


def gated(given: dict[str, Any], z: Tensor) -> Tensor:
    x, dt, A, B, C, D = (given[name] for name in ("x", "dt", "A", "B", "C", "D"))
    return mamba_chunk_scan_combined(x, dt, A, B, C, 64, D=D, z=z)


def plain(given: dict[str, Any], z: Tensor) -> Tensor:
    wide = torch.float64 if z.dtype == torch.float64 else torch.float32
    y, _ = ssd_chunked(**(given | {"x": given["x"].to(wide), "dt": given["dt"].to(wide)}), final_state=False)
    return (y * F.silu(z.to(wide))).to(z.dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_the_gate_is_the_plain_expression_bit_for_bit(dtype: torch.dtype) -> None:
    given = inputs(19, start=False, dtype=dtype)
    z = torch.randn(given["x"].shape, dtype=dtype)
    weights = torch.randn(z.shape, dtype=dtype)
    found = []
    for function in (gated, plain):
        leaves = {name: t.clone().requires_grad_() for name, t in (given | {"z": z}).items() if t is not None}
        y = function(given | {name: t for name, t in leaves.items() if name != "z"}, leaves["z"])
        found.append([y.detach(), *torch.autograd.grad(y, list(leaves.values()), weights)])
    assert [torch.equal(left, right) for left, right in zip(*found, strict=True)] == [True] * len(found[0])


def test_the_gate_keeps_its_two_inputs_as_they_come() -> None:
    given = inputs(19, start=False, dtype=torch.bfloat16)
    z = torch.randn(given["x"].shape, dtype=torch.bfloat16).requires_grad_()
    kept: list[Tensor] = []
    with saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        gated(given, z)
    assert [t.dtype for t in kept] == [torch.float32, torch.bfloat16]
    assert kept[1].data_ptr() == z.data_ptr()


def test_a_second_derivative_is_refused() -> None:
    given = inputs(5, start=False)
    z = torch.randn(given["x"].shape, dtype=torch.float64).requires_grad_()
    (dz,) = torch.autograd.grad(gated(given, z).sum(), z, create_graph=True)
    with pytest.raises(WorkbenchError, match=r"^the gate of Mamba-2's scan can be differentiated once, not twice;"):
        torch.autograd.grad(dz.sum(), z)
