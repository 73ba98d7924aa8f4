"""`TransformerConfig` → `ModelSizes`: the way back from `workbench.fusion.config`, for configs that somebody else made.

What our sizes have no place for is not dropped in silence: each such field is a caveat in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from megatron.core.activations import fast_gelu, quick_gelu
from megatron.core.fusions.fused_bias_geglu import quick_gelu as fused_quick_gelu
from megatron.core.transformer.transformer_config import TransformerConfig

from workbench.arch.architecture import Architecture
from workbench.arch.megatron.sizes import ConvertedConfig, sizes_of_fields
from workbench.arch.sizes import GATED
from workbench.errors import WorkbenchError
from workbench.fusion.config import ACTIVATIONS, DTYPES
from workbench.fusion.model import unwrapped

# What `HybridModel` takes beside a config and decides sizes.
MODEL_ARGUMENTS = (
    "vocab_size",
    "max_sequence_length",
    "share_embeddings_and_output_weights",
    "position_embedding_type",
    "rotary_percent",
    "rotary_base",
)

# (function, gated) → ours; and what to call a function where it is not ours, or not with that gating.
_ACTIVATIONS = {(function, name in GATED): name for name, function in ACTIVATIONS.items()}
_NAMES: dict[Any, str] = {
    **{function: name for (function, gated), name in _ACTIVATIONS.items() if not gated},
    quick_gelu: "quick_gelu, the sigmoid approximation",
    fused_quick_gelu: "quick_gelu, the sigmoid approximation",
    fast_gelu: "fast_gelu, the tanh approximation",
}


def sizes_of(config: TransformerConfig, **model_arguments: Any) -> ConvertedConfig:
    """The sizes of a config; `model_arguments` are those of `HybridModel` beside it.

    `vocab_size` and `max_sequence_length` must be given; `share_embeddings_and_output_weights`,
    `position_embedding_type`, `rotary_percent` and `rotary_base` have `HybridModel`'s defaults. `vocab_size` is the
    number of rows that the embedding has, so it comes back as a size without padding. Raises `WorkbenchError` for
    an activation that is none of ours, and for values that are no sizes.
    """
    missing = [name for name in ("vocab_size", "max_sequence_length") if name not in model_arguments]
    if missing:
        raise WorkbenchError(f"a config does not hold {' and '.join(missing)}: give them as HybridModel takes them")
    values = {name: getattr(config, name) for name in config.__dataclass_fields__}
    found = sizes_of_fields(values, activation=activation_of(config), **model_arguments)
    return ConvertedConfig(found.sizes, (*found.caveats, *_initialisers(config)))


def architecture_of(model: torch.nn.Module) -> Architecture:
    """The architecture of a model of `workbench.fusion.model.build_model`, wrapped or not, on any of its ranks.

    Caveats of its config are not in it: ask `sizes_of(model.config, ...)`. Raises `WorkbenchError` when the model was
    not built by us, or its weights are neither bf16 nor fp32.
    """
    built = unwrapped(model)
    dtype = built.config.params_dtype
    names = {value: name for name, value in DTYPES.items()}
    if dtype not in names:
        raise WorkbenchError(f"an architecture has weights in {' or '.join(DTYPES)}, not {dtype}")
    arguments = {name: value for name, value in built.arguments.items() if name in MODEL_ARGUMENTS}
    return Architecture(built.pattern, sizes_of(built.config, **arguments).sizes, dtype=names[dtype])


def activation_of(config: TransformerConfig) -> str:
    """Our name of a config's activation, "swiglu" for a gated SiLU; `WorkbenchError` names one that is not ours."""
    function, gated = config.activation_func, config.gated_linear_unit
    if (function, gated) in _ACTIVATIONS:
        return _ACTIVATIONS[function, gated]
    name = _NAMES.get(function) or getattr(function, "__qualname__", None) or repr(function)
    ours = ", ".join(_ACTIVATIONS.values())
    raise WorkbenchError(f"activation_func is {'gated ' if gated else ''}{name}, which the sizes do not know: {ours}")


def _initialisers(config: TransformerConfig) -> Iterator[str]:
    """A caveat for every initialiser that is not megatron's normal distribution."""
    for name in ("init_method", "output_layer_init_method", "embedding_init_method"):
        function = getattr(config, name)
        if not (isinstance(function, partial) and function.func is torch.nn.init.normal_):
            called = getattr(function, "__qualname__", None) or repr(function)
            yield f"{name}={called}: initial weights are not drawn from a normal distribution of initializer_std"
