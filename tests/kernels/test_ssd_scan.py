"""The scan's own backward pass: whatever way it is cut, whatever is asked of it, what it keeps, and no memory left unwritten."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from tests.kernels.test_ssd import distance, inputs, run
from workbench.errors import WorkbenchError
from workbench.kernels import ssd_cuts
from workbench.kernels.ssd import ssd_chunked, ssd_recurrent


@pytest.fixture(params=[1, 300, 1 << 18], ids=["a chunk a span", "few", "all"])
def span_elements(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssd_cuts, "_SPAN_ELEMENTS", request.param)


@pytest.fixture(params=[False, True], ids=["", "poisoned"])
def poison(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that nobody has written holds NaN."""
    if request.param:
        monkeypatch.setattr(torch, "empty", poisoned(torch.empty))
        monkeypatch.setattr(Tensor, "new_empty", poisoned(Tensor.new_empty))


def poisoned(allocate: Any) -> Any:
    return lambda *shape, **options: allocate(*shape, **options).fill_(float("nan"))


@pytest.mark.usefixtures("span_elements", "poison")
@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("length", [3, 16, 39])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_however_it_is_cut(groups: int, length: int, start: bool) -> None:
    given = inputs(length, groups, "[h, p]", start)
    expected, got = run(ssd_recurrent, given), run(ssd_chunked, given, chunk_size=4)
    assert max(distance(got[name], expected[name]) for name in expected) < 1e-10


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("length", [4, 11])
@pytest.mark.parametrize("asked", ["y", "state"])
def test_the_gradient_of_one_result_alone(asked: str, length: int, start: bool) -> None:
    given = {name: t for name, t in inputs(length, start=start).items() if t is not None}
    found = []
    for kernel, options in ((ssd_recurrent, {}), (ssd_chunked, {"chunk_size": 4})):
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in given.items()}
        y, state = kernel(**leaves, **options, final_state=asked == "state")
        assert (state is None) == (asked == "y")
        result = y if state is None else state
        weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)
        gradients = torch.autograd.grad((result * weights).sum(), list(leaves.values()), allow_unused=True)
        found.append([torch.zeros_like(t) if g is None else g for t, g in zip(leaves.values(), gradients, strict=True)])
    # Of a state alone, C and D have no gradient; the scan says so in zeros.
    assert max(distance(got, expected) for got, expected in zip(found[1], found[0], strict=True)) < 1e-10


def test_views_go_in_and_gradients_come_out() -> None:
    """As mixers call it: x, B and C are parts of one tensor, the gradient is a transposed one."""
    given = inputs(19)
    joined = torch.cat([given[name].flatten(2) for name in ("x", "B", "C")], dim=-1).transpose(0, 1).contiguous()
    widths = [given[name][0, 0].numel() for name in ("x", "B", "C")]

    def split(tensor: Tensor) -> dict[str, Tensor]:
        parts = tensor.transpose(0, 1).split(widths, dim=-1)
        return {
            name: part.unflatten(-1, given[name].shape[2:]) for name, part in zip(("x", "B", "C"), parts, strict=True)
        }

    found = []
    for kernel in (ssd_recurrent, ssd_chunked):
        leaf = joined.clone().requires_grad_()
        turned = {"initial_state": given["initial_state"].mT.contiguous().mT}
        y, _ = kernel(**(given | split(leaf) | turned))
        weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y.permute(2, 1, 0, 3)).permute(2, 1, 0, 3)
        found.append(torch.autograd.grad((y * weights).sum(), leaf)[0])
    assert distance(found[1], found[0]) < 1e-10


@pytest.mark.parametrize("length", [16, 64])
def test_it_keeps_its_inputs_and_a_state_a_chunk(length: int) -> None:
    given = inputs(length, start=False)
    leaves = {name: t.requires_grad_() for name, t in given.items() if t is not None}
    kept: dict[int, Tensor] = {}
    with saved_tensors_hooks(lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t):
        ssd_chunked(**leaves, chunk_size=16)
    own = {name for name, t in leaves.items() if t.data_ptr() in kept}
    assert own == set(leaves)
    more = [t for place, t in kept.items() if place not in {t.data_ptr() for t in leaves.values()}]
    batch, _, heads, width = given["x"].shape
    assert [list(t.shape) for t in more] == ([[length // 16, batch, heads, width, 5]] if length > 16 else [])


def test_a_second_derivative_is_refused() -> None:
    leaves = {name: t.requires_grad_() for name, t in inputs(5).items() if t is not None}
    y, _ = ssd_chunked(**leaves)
    (dx,) = torch.autograd.grad(y.sum(), leaves["x"], create_graph=True)
    with pytest.raises(WorkbenchError, match=r"^the chunked scan of Mamba-2 can be differentiated once, not twice;"):
        torch.autograd.grad(dx.sum(), leaves["dt"])


def test_a_token_that_all_but_forgets_has_a_gradient_without_noise() -> None:
    """A strong decay leaves the pair of a token with itself alone; its rounding must not become the gradient of A."""
    given = inputs(32, dtype=torch.float32, start=False) | {"A": torch.full((4,), -300.0)}
    given["dt"] = given["dt"] + 0.5
    got = run(ssd_chunked, given)
    assert not got["dA"].any()
    exact = run(ssd_recurrent, {name: t if t is None else t.double() for name, t in given.items()})
    assert exact["dA"].abs().max() < 1e-30
    assert distance(got["ddt"], exact["ddt"]) < 1e-5
