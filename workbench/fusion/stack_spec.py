"""Stack specs that fuse: take any hybrid stack spec, say which pattern, and hand it to `HybridModel` or Megatron-LM.

With an unmodified Megatron-LM: `--spec workbench.fusion.stack_spec fully_fused_stack_spec` beside a plain
`--hybrid-layer-pattern` fuses every adjacent pair of the pattern, inside its stages.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any
from unittest.mock import NonCallableMock

from megatron.core.extensions.transformer_engine import HAVE_TE
from megatron.core.models.hybrid.hybrid_block import HybridStack
from megatron.core.models.hybrid.hybrid_layer_specs import hybrid_stack_spec
from megatron.core.transformer.multi_token_prediction import MultiTokenPredictionLayer
from megatron.core.transformer.spec_utils import ModuleSpec, get_module
from megatron.core.transformer.transformer_config import TransformerConfig

from workbench.errors import WorkbenchError, check_choice
from workbench.fusion.adapters import LocalNorm
from workbench.fusion.fused_spec import SpecError
from workbench.fusion.local_spec import local_stack_spec
from workbench.fusion.stack import FusedHybridStack, FusedMultiTokenPredictionLayer
from workbench.fusion.upstream import has_cuda

BACKENDS = ("auto", "local", "te")


def choose_backend(asked: str = "auto") -> str:
    """ "local" or "te". "auto" takes Transformer Engine where it is installed and there is a CUDA device.

    Raises `WorkbenchError` for an unknown name, and for "te" where it cannot run.
    """
    check_choice("backend", asked, BACKENDS)
    can_te = has_cuda() and find_spec("transformer_engine") is not None
    if asked == "te" and not can_te:
        missing = "a CUDA device" if not has_cuda() else "transformer-engine (pip install 'hybrid-workbench[gpu]')"
        raise WorkbenchError(f"backend 'te' needs {missing}, which is not here; use 'local'")
    if asked == "auto":
        return "te" if can_te else "local"
    return asked


def backend_stack_spec(backend: str, config: TransformerConfig) -> ModuleSpec:
    """The unfused stack spec of a backend: ours of local modules, or upstream's of Transformer Engine modules."""
    return local_stack_spec(config) if backend == "local" else hybrid_stack_spec


def fused_stack_spec(
    base: ModuleSpec, fusion: str | None = None, *, final_norm: Any = None, lean: bool = True
) -> ModuleSpec:
    """The same stack spec with our stack class in it; `base` is not changed.

    `fusion` is a bracketed pattern, or None to fuse every adjacent pair of whatever pattern the model is built from.
    `final_norm` builds the norm at the end of the stack where upstream's `TENorm` cannot be built. `lean=False` has fused
    blocks run their own forward always (`workbench.fusion.lean`). Raises `SpecError` when the spec's stack or MTP layer is
    a class with behaviour of its own.
    """
    if get_module(base) is not HybridStack:
        raise SpecError(f"the stack spec builds {base.module!r}; only megatron's HybridStack is known here")
    params = {**base.params, "fusion": fusion, "final_norm": final_norm, "lean": lean}
    submodules = base.submodules
    if submodules.mtp_block_spec is not None:
        submodules = replace(submodules, mtp_block_spec=_fused_mtp(submodules.mtp_block_spec, fusion, lean))
    return replace(base, module=FusedHybridStack, params=params, submodules=submodules)


def _fused_mtp(block: ModuleSpec, fusion: str | None, lean: bool) -> ModuleSpec:
    layers, ours = [], {"fusion": fusion, "lean": lean}
    for layer in block.submodules.layer_specs:
        if get_module(layer) is not MultiTokenPredictionLayer:
            raise SpecError(f"the MTP layer spec builds {layer.module!r}; only megatron's own is known here")
        layers.append(replace(layer, module=FusedMultiTokenPredictionLayer, params={**layer.params, **ours}))
    return replace(block, submodules=replace(block.submodules, layer_specs=layers))


def model_stack_spec(
    backend: str, config: TransformerConfig, fusion: str, base: ModuleSpec | None = None
) -> ModuleSpec:
    """The fused stack spec of a backend, or of the user's `base`, for one pattern.

    Upstream builds the final norm by name, whatever the spec (`models/hybrid/hybrid_block.py:215`); the local backend's
    takes its place where Transformer Engine's cannot be built. Raises `SpecError` when `base` asks for Transformer Engine
    and it is not installed.
    """
    if base is not None and not HAVE_TE and _has_stand_ins(base):
        raise SpecError(
            "the stack spec asks for modules of Transformer Engine, which is not installed (pip install 'hybrid-workbench[gpu]')"
        )
    return fused_stack_spec(
        base or backend_stack_spec(backend, config), fusion, final_norm=LocalNorm if backend == "local" else None
    )


def _has_stand_ins(spec: Any) -> bool:
    """True when a part of a spec is one of the mocks that megatron puts in the place of Transformer Engine's classes."""
    if is_dataclass(spec) and not isinstance(spec, type):
        return any(_has_stand_ins(getattr(spec, field.name)) for field in fields(spec))
    if isinstance(spec, partial):
        return any(map(_has_stand_ins, (spec.func, *spec.args, *spec.keywords.values())))
    if isinstance(spec, list | tuple):
        return any(map(_has_stand_ins, spec))
    return isinstance(spec, NonCallableMock)


# Megatron-LM's --spec looks into the module's dictionary (`transformer/spec_utils.py:67`), so this cannot be made on demand.
# Without Transformer Engine it is there too, and megatron says what is missing when a model is built from it.
fully_fused_stack_spec = fused_stack_spec(hybrid_stack_spec)
