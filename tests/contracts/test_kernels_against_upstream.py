"""Megatron's mixers run on our kernels, call them with arguments they know, and its own delta rule agrees with ours."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import megatron.core.ssm
import pytest
import torch
from megatron.core.ssm import mamba_mixer
from megatron.core.ssm.gated_delta_net import common
from megatron.core.ssm.ops import causal_conv1d_triton
from megatron.core.ssm.ops import mamba_ssm as ssm_triton
from torch.nn import functional as F

from workbench.kernels import facades

# The name megatron binds → our function. What it calls `causal_conv1d` is FLA's, in gated_delta_net alone.
BOUND: dict[tuple[Any, str], Any] = {
    (mamba_mixer, "mamba_split_conv1d_scan_combined"): facades.mamba_split_conv1d_scan_combined,
    (mamba_mixer, "mamba_chunk_scan_combined"): facades.mamba_chunk_scan_combined,
    (mamba_mixer, "causal_conv1d_fn"): facades.causal_conv1d_fn,
    (mamba_mixer, "causal_conv1d_varlen_states"): facades.causal_conv1d_varlen_states,
    (mamba_mixer, "RMSNormGated"): facades.RMSNormGated,
    (common, "causal_conv1d"): facades.fla_causal_conv1d,
    (common, "l2norm"): facades.l2norm,
    (common, "chunk_gated_delta_rule"): facades.chunk_gated_delta_rule,
}
CALLED = {name: function for (_, name), function in BOUND.items()} | {
    "ExtendedRMSNorm": facades.RMSNormGated,  # its subclass
    "gated_delta_rule": facades.chunk_gated_delta_rule,  # self.gated_delta_rule
}
# Only megatron's own torch rule calls l2norm with F.normalize's `dim`; the same call would fail on FLA's l2norm.
KNOWN_MISCALLS = {("l2norm", "dim")}

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="with CUDA megatron binds the GPU kernels")


# ------------------------------------------------------------------------------ the functions are ours


@without_cuda
@pytest.mark.parametrize(("module", "name"), BOUND)
def test_megatron_bound_our_kernels(module: Any, name: str) -> None:
    assert getattr(module, name) is BOUND[module, name]


@without_cuda
def test_megatron_believes_that_it_has_them() -> None:
    assert issubclass(mamba_mixer.ExtendedRMSNorm, facades.RMSNormGated)
    assert mamba_mixer.HAVE_MAMBA_SSM is True
    assert mamba_mixer.MAMBA_HAS_STATE_DTYPE is True
    assert common.HAVE_FLA is True


@without_cuda
def test_nothing_stays_patched() -> None:
    """In a fresh process, since what the others import is not ours to judge."""
    script = """
        import sys, torch
        original = torch.compile
        import workbench.fusion
        left = [name for name in sys.modules if name.split(".")[0] in ("mamba_ssm", "fla", "causal_conv1d")]
        assert not left, left
        assert torch.compile is original, torch.compile
        import logging
        assert logging.root.manager.disable == 0
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------ the calls fit


def call_sites(source: str) -> list[tuple[str, int, int, list[str]]]:
    """(function, line, number of positional arguments, keywords) of every call of a kernel."""
    sites = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        if name in CALLED:
            keywords = [keyword.arg for keyword in node.keywords if keyword.arg is not None]
            sites.append((str(name), node.lineno, len(node.args), keywords))
    return sites


def unknown_arguments(name: str, positional: int, keywords: list[str]) -> list[str]:
    """What a call passes and our signature does not name. `**unknown` does not count as knowing."""
    parameters = [p for p in inspect.signature(CALLED[name]).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    names = [parameter.name for parameter in parameters]
    taken = names[:positional]
    wrong = [keyword for keyword in keywords if keyword not in names or keyword in taken]
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in [*taken, *keywords]]
    return wrong + missing + ["too many"] * (positional > len(names))


FOLDER = Path(megatron.core.ssm.__path__[0])
SITES = {
    f"{path.relative_to(FOLDER)}:{line} {name}": (name, positional, keywords)
    for path in sorted(FOLDER.rglob("*.py"))
    for name, line, positional, keywords in call_sites(path.read_text())
}


def test_every_kernel_has_a_call_site() -> None:
    assert {name for name, _, _ in SITES.values()} == set(CALLED) - {"RMSNormGated", "chunk_gated_delta_rule"}


@pytest.mark.parametrize("site", SITES)
def test_call_sites_fit_our_signatures(site: str) -> None:
    name, positional, keywords = SITES[site]
    assert [bad for bad in unknown_arguments(name, positional, keywords) if (name, bad) not in KNOWN_MISCALLS] == []


@pytest.mark.parametrize(
    ("source", "unknown"),
    [
        ("self.gated_delta_rule(q, k, v, g=g, beta=b, chunk_indices=i)", ["chunk_indices"]),
        ("l2norm(x, x=x)", ["x"]),
        ("causal_conv1d_fn(x)", ["weight"]),
        ("l2norm(1, 2, 3, 4)", ["too many"]),
    ],
)
def test_call_sites_that_would_not_fit_are_seen(source: str, unknown: list[str]) -> None:
    ((name, _, positional, keywords),) = call_sites(source)
    assert unknown_arguments(name, positional, keywords) == unknown


def test_state_dtype_is_known_to_both_scans() -> None:
    """`**state_dtype_kwarg` is not in the source as a keyword."""
    for function in (facades.mamba_split_conv1d_scan_combined, facades.mamba_chunk_scan_combined):
        assert "state_dtype" in inspect.signature(function).parameters


@pytest.mark.parametrize(
    ("upstream", "ours"),
    [
        (causal_conv1d_triton.causal_conv1d_update, facades.causal_conv1d_update),
        (ssm_triton.selective_state_update, facades.selective_state_update),
    ],
)
def test_decoding_has_megatrons_signature(upstream: Any, ours: Any) -> None:
    """These two are not bound: megatron has Triton kernels of its own for them. The same call must mean the same."""
    assert parameters(ours) == parameters(upstream)


def test_a_signature_that_is_not_megatrons_is_seen() -> None:
    def changed(state: Any, x: Any, dt: Any = None) -> None: ...

    assert parameters(changed) != parameters(ssm_triton.selective_state_update)


def parameters(function: Any) -> list[tuple[str, Any]]:
    return [(p.name, p.default) for p in inspect.signature(function).parameters.values()]


# ------------------------------------------------------------------------------ the values agree


def delta_run(rule: Any, length: int, start: bool, change: float = 0.0) -> dict[str, torch.Tensor]:
    """Output, final state and every gradient of a rule on the same numbers."""
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    leaves = {
        "q": F.normalize(normal(2, length, 3, 8), dim=-1),
        "k": F.normalize(normal(2, length, 3, 8), dim=-1),
        "v": normal(2, length, 3, 6),
        "g": -normal(2, length, 3).exp() * 0.3,
        "beta": normal(2, length, 3).sigmoid() * (1 + change),
    }
    if start:
        leaves["initial_state"] = normal(2, 3, 8, 6)
    leaves = {name: leaf.requires_grad_() for name, leaf in leaves.items()}
    o, state = rule(**leaves, output_final_state=True)
    loss = (o * torch.linspace(-1, 1, o.numel()).view_as(o)).sum() + state.square().sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {"o": o.detach(), "state": state.detach()} | dict(zip(leaves, gradients, strict=True))


def apart(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> list[str]:
    """Names that differ by more than float32 rounding of sums over a hundred tokens."""
    assert left.keys() == right.keys()
    scale = {name: max(float(right[name].abs().max()), 1e-2) for name in right}
    return [name for name in right if float((left[name] - right[name]).abs().max()) > 2e-5 * scale[name]]


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("length", [1, 17, 64, 100])
def test_delta_rule_is_megatrons_own(length: int, start: bool) -> None:
    upstream = delta_run(common.torch_chunk_gated_delta_rule, length, start)
    assert apart(delta_run(facades.chunk_gated_delta_rule, length, start), upstream) == []


def test_delta_rule_that_is_not_megatrons_is_seen() -> None:
    upstream = delta_run(common.torch_chunk_gated_delta_rule, 64, True)
    changed = delta_run(facades.chunk_gated_delta_rule, 64, True, change=1e-3)
    assert {"o", "state", "v"} <= set(apart(changed, upstream))
