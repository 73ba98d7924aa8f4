"""`build_model`: a pattern and sizes in, megatron's own `HybridModel` out, with the pattern's pairs fused."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.models.hybrid.hybrid_model import HybridModel
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from workbench.arch.needs import symbols_in
from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError
from workbench.fusion import runtime
from workbench.fusion.config import check_config, transformer_config
from workbench.fusion.cpu_platform import cuda_literals_on_cpu
from workbench.fusion.stack_spec import choose_backend, model_stack_spec
from workbench.pattern.model import Pattern


def build_model(
    pattern: Pattern | str,
    config: ModelSizes | TransformerConfig | None = None,
    *,
    seed: int | None = None,
    dtype: str = "fp32",
    backend: str = "auto",
    spec: ModuleSpec | None = None,
    vp_stage: int | None = None,
    **arguments: Any,
) -> HybridModel:
    """Build the model of a pattern: `HybridModel` with one `TransformerLayer` for each group `[XY]`.

    `config` is our `ModelSizes` (default: the tiny ones) or a megatron `TransformerConfig`, which is taken as it is;
    then `dtype` is the config's, and vocabulary, sequence length and position embedding come from `arguments`
    (defaults 128 tokens, 64 tokens, rotary where something attends). `spec` is any unfused hybrid stack spec of the
    user's; without it `backend` decides ("auto", "local", "te"), which with it only says what the final norm is.
    `seed` seeds every random stream first.
    `arguments` go to `HybridModel`.

    Starts a single-process runtime when none runs. Raises `PatternError`, or `WorkbenchError` when config, spec,
    backend and pattern do not fit, such as a `num_layers` that contradicts the pattern.
    """
    pattern = Pattern(pattern)
    running = runtime.ensure()
    if not pattern.sublayers:
        raise WorkbenchError("an empty pattern has no layers: there is no model to build")
    backend = choose_backend(backend)
    if config is None:
        config = ModelSizes()
    if isinstance(config, ModelSizes):
        defaults = model_arguments(pattern, config)
        config = transformer_config(pattern, config, dtype=dtype, backend=backend)
    else:
        defaults = {
            "vocab_size": 128,
            "max_sequence_length": 64,
            "position_embedding_type": _rotary_or_none(pattern),
        }
    check_config(pattern, config, "te" if spec is not None else backend)
    fusion = str(pattern)
    stack = model_stack_spec(backend, config, fusion, spec)
    runtime.forget_models()
    if seed is not None:
        runtime.seed(seed)
    try:
        # Tied embeddings across pipeline stages are moved by `.cuda()` (language_module.py:307).
        with cuda_literals_on_cpu():
            model = HybridModel(
                config=config,
                hybrid_stack_spec=stack,
                hybrid_layer_pattern=_upstream_pattern(pattern, running.pipeline_parallel),
                pre_process=parallel_state.is_pipeline_first_stage(ignore_virtual=False, vp_stage=vp_stage),
                post_process=parallel_state.is_pipeline_last_stage(ignore_virtual=False, vp_stage=vp_stage),
                pg_collection=running.groups,
                vp_stage=vp_stage,
                **(defaults | arguments),
            )
    except WorkbenchError:
        raise
    except (AssertionError, ValueError, TypeError, ImportError) as error:
        raise WorkbenchError(f"megatron cannot build {pattern} with this config: {error}") from error
    model.pattern = pattern
    model.arguments = defaults | arguments
    model.backend = backend
    return model


def pattern_of(model: torch.nn.Module) -> Pattern:
    """The bracketed pattern that a model was built from; looks through wrappers (DDP, Float16Module)."""
    pattern: Pattern = unwrapped(model).pattern
    return pattern


def unwrapped(model: torch.nn.Module) -> Any:
    """The model of `build_model` inside its wrappers: `pattern`, `backend` and `arguments` say how it was built.

    `arguments` are `HybridModel`'s beside config, spec and pattern; upstream does not keep the rotary ones. Raises
    `WorkbenchError` for a model that `build_model` did not make.
    """
    while not isinstance(getattr(model, "pattern", None), Pattern):
        inner = getattr(model, "module", None)
        if not isinstance(inner, torch.nn.Module):
            raise WorkbenchError(
                "this model was not built by workbench.fusion.model.build_model: its pattern is not known"
            )
        model = inner
    return model


def forward_tokens(model: torch.nn.Module, tokens: Tensor, counted: Tensor | None = None) -> Tensor:
    """The next-token losses [b, s] of a batch `tokens` [b, s + 1], or what an earlier pipeline stage hands on.

    MTP and auxiliary losses are not in the value; they act on its gradient, as megatron attaches them. `counted` [b, s]
    says which targets the MTP losses are taken over (None: all); the losses of all targets are returned.
    """
    inputs, labels = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    return model(
        input_ids=inputs,
        position_ids=positions(inputs),
        attention_mask=None,
        labels=labels,
        loss_mask=torch.ones_like(labels, dtype=torch.float32) if counted is None else counted.float(),
    )


def forward_logits(model: torch.nn.Module, inputs: Tensor) -> Tensor:
    """The logits [b, s, vocabulary] of a batch of token ids [b, s]."""
    return model(input_ids=inputs, position_ids=positions(inputs), attention_mask=None)


def positions(inputs: Tensor) -> Tensor:
    """Position ids [b, s] of a batch of input ids [b, s]."""
    return torch.arange(inputs.shape[1], device=inputs.device).expand_as(inputs).contiguous()


def model_arguments(pattern: Pattern, sizes: ModelSizes) -> dict[str, Any]:
    """What `HybridModel` takes beside a config: vocabulary, sequence length, tied embeddings and positions of the sizes."""
    return {
        "vocab_size": sizes.padded_vocabulary,
        "max_sequence_length": sizes.max_sequence_length,
        "share_embeddings_and_output_weights": sizes.tied_embeddings,
        "position_embedding_type": _position_embedding(pattern, sizes),
        "rotary_percent": sizes.rotary_percent or 1.0,
        "rotary_base": sizes.rotary_base,
    }


def _position_embedding(pattern: Pattern, sizes: ModelSizes) -> str:
    if sizes.rotary_variant == "learned":
        return "learned_absolute"
    return _rotary_or_none(pattern) if sizes.rotary_percent else "none"


def _rotary_or_none(pattern: Pattern) -> str:
    # Multi-latent attention rotates by itself; nothing else but '*' uses the model's rotary embedding.
    return "rope" if "*" in symbols_in(pattern) else "none"


def _upstream_pattern(pattern: Pattern, pipeline_parallel: int) -> str:
    """The plain pattern for `HybridModel`; on one pipeline rank the stages of the pattern are one segment."""
    plain = str(pattern.unfused())
    return plain if pipeline_parallel > 1 else plain.replace("|", "")
