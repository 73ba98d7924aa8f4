"""What a Hugging Face configuration computes, as a pattern, sizes and fields of megatron's config, or a refusal.

`workbench.arch.hugging_face` reads the pattern and the sizes, and has a sentence for everything that they have no place
for. Here some of that becomes a field of `TransformerConfig`, and every sentence that is left is a reason to refuse: a
model that is loaded computes what transformers computes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from workbench.arch.hugging_face import FAMILIES as CONFIGURATIONS
from workbench.arch.hugging_face import from_hugging_face
from workbench.arch.hugging_face.config import Config, shown
from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError
from workbench.fusion.hugging_face.rules import FAMILIES
from workbench.pattern.model import Pattern

MAMBA_NORM_EPSILON = 1e-5  # of the gated norm; no config field reaches it (megatron/core/ssm/mamba_mixer.py:418)
LATENT_NORM_EPSILON = 1e-6  # of the norms of compressed queries and keys in transformers, whatever rms_norm_eps says

# Sentences of `workbench.arch.hugging_face` that say what a field of megatron's config does.
_SAID_BY_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "Norms are zero-centred (Megatron's apply_layernorm_1p).": {"layernorm_zero_centered_gamma": True},
    # In a text all positions of a token are the same number, and this is the plain rotation.
    "The rotary embedding takes several positions a token (mrope), which is read and not built.": {},
}
# Fields that are read here, at the values at which the conversion says nothing about them.
_NEUTRAL = {"routed_scaling_factor": 1.0, "n_group": 1, "norm_topk_prob": True, "residual_in_fp32": False}
_DEPTHS = ("mtp_num_hidden_layers", "num_nextn_predict_layers")  # of multi-token prediction
_SIGMOID = ("nemotron_h", "deepseek_v3")  # whose routers score with a sigmoid, as ours do where they have a bias


@dataclass(frozen=True)
class Expressed:
    """A configuration: its `model_type`, the pattern, the sizes, and `fields` of `TransformerConfig` beyond the sizes."""

    model_type: str
    pattern: Pattern
    sizes: ModelSizes
    fields: Mapping[str, Any]


def expressed(config: Mapping[str, Any], source: str = "config.json") -> Expressed:
    """A configuration as Megatron computes it exactly.

    Raises `WorkbenchError` for a family without rules, and with every reason when Megatron computes something else than
    transformers does.
    """
    if isinstance(config.get("text_config"), Mapping):
        config = _language_part(config)
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise WorkbenchError(
            f"{source}: there are no rules for the weights of model_type {shown(kind)}; there are for {known}"
        )
    reader = Config(config, CONFIGURATIONS[kind][1], source)
    neutral = {**config, **{name: value for name, value in _NEUTRAL.items() if reader.given(name)}}
    if kind in _SIGMOID:
        neutral.pop("scoring_func", None)
    if "G" in FAMILIES[kind].kinds and not any(reader.has(name) for name in _DEPTHS):
        neutral["num_nextn_predict_layers"] = 0  # or the conversion mentions what releases have
    converted = from_hugging_face(neutral, source=source)
    fields: dict[str, Any] = {}
    problems = []
    for sentence in converted.caveats:
        if sentence in _SAID_BY_FIELDS:
            fields |= _SAID_BY_FIELDS[sentence]
        else:
            problems.append(sentence)
    if reader.given("residual_in_fp32") and reader.flag("residual_in_fp32"):
        fields["fp32_residual_connection"] = True
    # transformers' embedding has the vocabulary's rows and no more.
    sizes, pattern = replace(converted.sizes, vocab_multiple=1), converted.pattern
    if sizes.rotary_variant == "mrope":
        sizes = replace(sizes, position_embedding=str(sizes.position_embedding).removeprefix("m"))
    problems += _multi_token_prediction(reader, pattern)
    problems += _recurrence(reader, kind, pattern, sizes)
    problems += _latent_attention(reader, pattern, sizes)
    problems += _routing(reader, pattern, sizes, fields)
    if problems:
        raise WorkbenchError(
            f"{source}: Megatron would not compute what transformers computes:\n  "
            + "\n  ".join(problems)
            + "\nWhere that is known and meant, say what to take instead: assume={'FIELD': value}"
        )
    return Expressed(kind, pattern, sizes, fields)


# ------------------------------------------------------------------------------------------------------


def _language_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the part that reads text; the whole model's word on tied embeddings goes first."""
    whole = {name: config[name] for name in ("model_type", "tie_word_embeddings") if name in config}
    return {**config["text_config"], **whole}


def _multi_token_prediction(reader: Config, pattern: Pattern) -> Iterator[str]:
    if pattern.mtp is not None:
        name = reader.first(*_DEPTHS)
        yield (
            f"{name} is not 0: transformers computes no multi-token prediction with the model, and there are no rules for its weights. "
            f"assume={{{name!r}: 0}} with skip=('mtp.*',), or what they are called, is the model without it."
        )


def _recurrence(reader: Config, kind: str, pattern: Pattern, sizes: ModelSizes) -> Iterator[str]:
    """What Mamba and gated delta nets cannot be told in Megatron."""
    symbols = {layer.symbol for layer in pattern.sublayers}
    if "M" in symbols:
        if sizes.norm_epsilon != MAMBA_NORM_EPSILON:
            yield (
                f"the norms' epsilon is {sizes.norm_epsilon:g}: the gated norm of Megatron's Mamba mixer always has "
                f"{MAMBA_NORM_EPSILON:g} (ssm/mamba_mixer.py)."
            )
        name = "mamba_hidden_act" if kind == "nemotron_h" else "hidden_act"
        if reader.has(name) and not reader.is_text(name, "silu"):
            yield f"{name} is not silu, which is all that Megatron's Mamba mixer has."
        # transformers' NemotronH limits the step size from below by this field; its Mamba-2 starts from it, no more.
        least = reader.number("time_step_min") if reader.has("time_step_min") else 0.001
        if kind == "nemotron_h" and least > 0:
            yield (
                f"time_step_min is {least:g}: transformers makes no step size smaller than that, Megatron's Mamba mixer has "
                "no such limit (ssm/mamba_mixer.py:1019). assume={'time_step_min': 0.0} is the model without it."
            )
    if "G" in symbols and not reader.is_text("hidden_act", "silu"):
        yield "hidden_act is not silu, which is all that Megatron's gated delta net has after its convolution."


def _latent_attention(reader: Config, pattern: Pattern, sizes: ModelSizes) -> Iterator[str]:
    if not any(layer.symbol == "+" for layer in pattern.sublayers):
        return
    if sizes.norm_epsilon != LATENT_NORM_EPSILON:
        yield (
            f"rms_norm_eps is {sizes.norm_epsilon:g}: transformers has {LATENT_NORM_EPSILON:g} in the norms inside of latent "
            "attention all the same, Megatron one epsilon for all."
        )
    if sizes.q_lora_rank is None:
        yield (
            "q_lora_rank is null: Megatron has no latent attention that norms compressed keys and leaves whole queries as they are "
            "(transformer/mla_qk_norm_config.py)."
        )
    if reader.has("rope_interleave") and not reader.flag("rope_interleave"):
        yield "rope_interleave is false: Megatron's latent attention rotates neighbouring channels."


def _routing(reader: Config, pattern: Pattern, sizes: ModelSizes, fields: dict[str, Any]) -> Iterator[str]:
    """How the chosen experts are weighted; what Megatron has a field for goes into `fields`."""
    if not any(layer.symbol == "E" for layer in pattern.sublayers):
        return
    normalised = reader.flag("norm_topk_prob") if reader.given("norm_topk_prob") else True
    chosen = sizes.moe_topk or 0
    if normalised and chosen == 1:
        yield (
            "num_experts_per_tok is 1 and its weight is divided by itself: Megatron does not normalise the score of one expert "
            "(transformer/moe/moe_utils.py)."
        )
    if not sizes.moe_router_bias:
        if not normalised:
            fields["moe_router_pre_softmax"] = True
        return
    if not normalised and chosen > 1:
        yield "norm_topk_prob is false: Megatron always divides sigmoid scores by their sum."
    if reader.given("routed_scaling_factor") and (scale := reader.number("routed_scaling_factor")) != 1.0:
        fields["moe_router_topk_scaling_factor"] = scale
    groups = reader.whole("n_group") if reader.given("n_group") else 1
    if groups > 1:
        kept = reader.whole("topk_group") if reader.given("topk_group") else 1
        fields |= {"moe_router_num_groups": groups, "moe_router_group_topk": kept}
        if chosen // kept != 2:
            yield (
                f"num_experts_per_tok {chosen} over topk_group {kept} is not 2: transformers ranks groups by their two best experts, "
                "Megatron by that many."
            )
