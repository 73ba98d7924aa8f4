"""Importing megatron-core, on any host. The package imports this module before any other of its own.

On a host with CUDA this is a plain import. Without CUDA two things must be true *while* megatron-core
is imported, and both are undone before this module is done:

* `mamba_ssm`, `causal_conv1d` and `fla` resolve to the CPU kernels of `workbench.kernels`, so that megatron's own
  classes (`MambaMixer`, its `ExtendedRMSNorm`, `GatedDeltaNet`) are defined on working functions
  (`megatron/core/ssm/mamba_mixer.py:60-90`, `megatron/core/ssm/gated_delta_net/common.py:40-52`);
* `torch.compile` returns its argument, because megatron binds it to `jit_fuser` and decorates with it at import
  (`megatron/core/jit.py:20`): the first call of such a function needs a C++ compiler and up to 18 s.

Nothing stays patched after the import; what must be substituted while a model *runs* is
`workbench.fusion.cpu_platform`.
"""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from typing import Any

import torch

from workbench.errors import WorkbenchError
from workbench.fusion.noise import hush_loggers, quiet
from workbench.kernels import facades

# The modules that bind the kernels when they are imported, and the flag that tells whether they found them.
_KERNEL_USERS = {
    "megatron.core.ssm.mamba_mixer": "HAVE_MAMBA_SSM",
    "megatron.core.ssm.gated_delta_net.common": "HAVE_FLA",
}


def has_cuda() -> bool:
    """True when torch sees a usable CUDA device; then nothing of the CPU platform is used."""
    return torch.cuda.is_available()


def _standins() -> dict[str, dict[str, Any]]:
    """Module name → its attributes, for the three kernel packages that need a GPU."""
    return {
        "mamba_ssm": {},
        "mamba_ssm.ops": {},
        "mamba_ssm.ops.triton": {},
        "mamba_ssm.ops.triton.layernorm_gated": {"RMSNorm": facades.RMSNormGated},
        "mamba_ssm.ops.triton.ssd_combined": {
            "mamba_chunk_scan_combined": facades.mamba_chunk_scan_combined,
            "mamba_split_conv1d_scan_combined": facades.mamba_split_conv1d_scan_combined,
        },
        "causal_conv1d": {"causal_conv1d_fn": facades.causal_conv1d_fn},
        "causal_conv1d.causal_conv1d_varlen": {"causal_conv1d_varlen_states": facades.causal_conv1d_varlen_states},
        "fla": {},
        "fla.modules": {},
        "fla.modules.convolution": {"causal_conv1d": facades.fla_causal_conv1d},
        "fla.modules.l2norm": {"l2norm": facades.l2norm},
        "fla.ops": {},
        "fla.ops.gated_delta_rule": {"chunk_gated_delta_rule": facades.chunk_gated_delta_rule},
    }


@contextmanager
def _kernel_standins() -> Iterator[None]:
    """`sys.modules` holds the stand-ins inside, and exactly what it held before afterwards."""
    standins = _standins()
    before = {name: sys.modules.get(name) for name in standins}
    for name, attributes in standins.items():
        module = types.ModuleType(name)
        module.__path__ = []
        module.__spec__ = ModuleSpec(name, loader=None, is_package=True)
        module.__dict__.update(attributes)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name, previous in before.items():
            if previous is None:
                del sys.modules[name]
            else:
                sys.modules[name] = previous


@contextmanager
def _no_compile() -> Iterator[None]:
    """Inside, `torch.compile` hands its function back, as a call and as a decorator with arguments."""

    def passthrough(model: Any = None, **_: Any) -> Any:
        return model if model is not None else (lambda function: function)

    original = torch.compile
    torch.compile = passthrough
    try:
        yield
    finally:
        torch.compile = original


def _import_for_cpu() -> None:
    if any(name in sys.modules and not getattr(sys.modules[name], flag) for name, flag in _KERNEL_USERS.items()):
        raise WorkbenchError(
            "megatron.core was imported before workbench.fusion, on a host without CUDA, and has bound its Mamba and gated "
            "delta net layers to kernels that are not there. Import workbench.fusion first (in a notebook: restart the "
            "kernel)."
        )
    if "megatron.core.jit" in sys.modules:
        warnings.warn(
            "megatron.core was imported before workbench.fusion, so its small functions stay under torch.compile: the first "
            "call of each takes seconds and needs a C++ compiler. Import workbench.fusion first to avoid that.",
            stacklevel=2,
        )
    # megatron-core prints about thirty lines on import about optional packages; none is about the user's work.
    with quiet(), _kernel_standins(), _no_compile():
        for name in _KERNEL_USERS:
            importlib.import_module(name)
        # The rest of what a hybrid model touches, so that nothing of it is compiled later either.
        importlib.import_module("megatron.core.models.hybrid.hybrid_model")
        importlib.import_module("megatron.core.models.hybrid.hybrid_layer_specs")
        importlib.import_module("megatron.core.optimizer")
        importlib.import_module("megatron.core.models.mimo.optimizer")


hush_loggers()
if has_cuda():
    with quiet():
        importlib.import_module("megatron.core.models.hybrid.hybrid_layer_specs")
else:
    _import_for_cpu()
