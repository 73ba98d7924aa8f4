"""Build a model with Hugging Face weights, fused or not, or fill one: `from_hugging_face`, `load_hugging_face`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from megatron.core.models.hybrid.hybrid_model import HybridModel
from torch import nn

from workbench.errors import WorkbenchError
from workbench.fusion.config import transformer_config
from workbench.fusion.hugging_face.reading import HuggingFaceWeights, read_hugging_face
from workbench.fusion.model import build_model, model_arguments, unwrapped
from workbench.fusion.stack_spec import choose_backend
from workbench.fusion.state import load_canonical_state_dict
from workbench.pattern.model import Pattern

# Arguments of `HybridModel` that decide how positions enter.
_POSITIONS = ("position_embedding_type", "rotary_percent", "rotary_base")
# Fields of megatron's config that decide what a model of given weights computes, as far as `transformer_config` sets them.
_COMPUTING = (
    "normalization", "layernorm_epsilon", "layernorm_zero_centered_gamma", "fp32_residual_connection",
    "activation_func", "gated_linear_unit", "num_attention_heads", "num_query_groups", "attention_output_gate",
    "softmax_type", "mamba_head_dim", "mamba_num_groups", "linear_num_key_heads", "linear_key_head_dim",
    "moe_router_topk", "moe_router_score_function", "moe_router_pre_softmax", "moe_router_topk_scaling_factor",
    "moe_router_num_groups", "moe_router_group_topk", "moe_shared_expert_gate",
)  # fmt: skip


def from_hugging_face(
    source: Any,
    config: Any = None,
    *,
    fused: bool = True,
    pattern: Pattern | str | None = None,
    dtype: str = "fp32",
    backend: str = "auto",
    assume: Mapping[str, Any] | None = None,
    skip: Collection[str] = (),
) -> HybridModel:
    """A Hugging Face causal language model as Megatron's `HybridModel`, which computes the same logits.

    `source` is a folder that `save_pretrained` wrote, a live model, or a state dict, which needs its `config`: a mapping,
    a configuration object, or the path of a `config.json`. With `fused` every adjacent pair is one block; `pattern` is
    another fusion, or stages, of the same sub-layers. `dtype` ("fp32", "bf16") and `backend` are those of `build_model`.
    `assume` holds fields to take instead of the configuration's, `skip` names or prefixes (`"mtp.*"`) to leave out.

    Raises `WorkbenchError` for a family without rules; with every reason, when Megatron would compute something else than
    transformers; with the names, when a tensor of either side has no counterpart; and `CheckpointMismatch` with the
    shapes that differ. Nothing is approximated.
    """
    read = read_hugging_face(source, config, assume=assume, skip=skip)
    chosen = Pattern(pattern) if pattern is not None else read.pattern.fused() if fused else read.pattern
    _check_pattern(chosen, read)
    backend = choose_backend(backend)
    made = transformer_config(chosen, read.sizes, dtype=dtype, backend=backend, **read.fields)
    model = build_model(chosen, made, backend=backend, **model_arguments(chosen, read.sizes))
    load_canonical_state_dict(model, read.tensors)
    return model


def load_hugging_face(
    model: nn.Module,
    source: Any,
    config: Any = None,
    *,
    assume: Mapping[str, Any] | None = None,
    skip: Collection[str] = (),
) -> HuggingFaceWeights:
    """Copy Hugging Face weights into a model of `build_model` that has the same sub-layers and config, whatever it fuses.

    The arguments and errors are those of `from_hugging_face`. A config that computes something else is an error too. Returns
    what was read.
    """
    read = read_hugging_face(source, config, assume=assume, skip=skip)
    built = unwrapped(model)
    _check_pattern(built.pattern, read)
    if differences := list(_differences(built, read)):
        raise WorkbenchError(f"the model computes something else than {read.where}:\n  " + "\n  ".join(differences))
    load_canonical_state_dict(model, read.tensors)
    return read


# ------------------------------------------------------------------------------------------------------


def _check_pattern(pattern: Pattern, read: HuggingFaceWeights) -> None:
    ours, theirs = ([layer.symbol for layer in each.sublayers] for each in (pattern, read.pattern))
    if ours != theirs or pattern.mtp is not None:
        raise WorkbenchError(
            f"{read.where} is the pattern {read.pattern}, and {pattern} has other sub-layers: they may differ in brackets and '|'"
        )


def _differences(built: Any, read: HuggingFaceWeights) -> Iterator[str]:
    """What makes a function of the weights and shows in no name and no shape."""
    wanted = transformer_config(built.pattern, read.sizes, backend=built.backend, **read.fields)
    for name in _COMPUTING:
        ours, theirs = getattr(built.config, name), getattr(wanted, name)
        if ours != theirs:
            yield f"{name} is {ours!r} in the model's config and must be {theirs!r}"
    for name in _POSITIONS:
        ours, theirs = built.arguments.get(name), model_arguments(built.pattern, read.sizes)[name]
        if ours != theirs:
            yield f"{name} is {ours!r} in the model and must be {theirs!r}"
