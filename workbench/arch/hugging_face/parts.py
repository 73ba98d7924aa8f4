"""What families share: the residual stream, attention, rotary embeddings, Mamba-2, experts. Pure.

Each function reads fields of a `Config` and returns `ModelSizes` fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from workbench.arch.hugging_face.config import MOST_EXPERTS, Config, shown
from workbench.arch.sizes import ModelSizes
from workbench.arch.weights import MAMBA_CONV_KERNEL

Sizes = dict[str, Any]

# Every size of a layer kind is absent until a family says it: the defaults of `ModelSizes` are a tiny model of all kinds.
NOTHING: Sizes = {
    field.name: None
    for field in fields(ModelSizes)
    if str(field.type).endswith("None") and field.name not in ("vocab_size", "position_embedding")
} | {"position_embedding": "none"}

GATED = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu", "gelu_new": "geglu", "gelu_pytorch_tanh": "geglu"}
PLAIN = {"relu2": "squared_relu", "relu": "relu", "silu": "silu", "swish": "silu", "gelu": "gelu"}
PLAIN |= {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu"}
_TANH = ("gelu_new", "gelu_pytorch_tanh")


def stream(config: Config, epsilon: str = "rms_norm_eps") -> Sizes:
    """The residual stream, the vocabulary, norms and dropout."""
    return {
        "hidden_size": config.whole("hidden_size"),
        "vocab_size": config.whole("vocab_size"),
        "max_sequence_length": config.whole("max_position_embeddings"),
        "tied_embeddings": config.flag("tie_word_embeddings"),
        "norm_epsilon": config.number(epsilon),
        "initializer_std": config.number("initializer_range"),
        "attention_dropout": config.number("attention_dropout") if config.given("attention_dropout") else 0.0,
        "hidden_dropout": config.number("hidden_dropout") if config.given("hidden_dropout") else 0.0,
    }


def attention(config: Config, head_dim: str = "head_dim") -> Sizes:
    """Self-attention's heads; as many key and value heads as query heads where the file has null for them."""
    heads = config.whole("num_attention_heads")
    width = config.optional_whole(head_dim)
    hidden = config.whole("hidden_size")
    if width is None and hidden % heads:
        raise config.error(
            f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}, and there is no head_dim"
        )
    return {
        "num_attention_heads": heads,
        "num_query_groups": config.optional_whole("num_key_value_heads") or heads,
        "head_dim": width if width is not None else hidden // heads,
    }


def biases(config: Config, *, mlp: bool = True) -> Sizes:
    """`attention_bias` and `mlp_bias`; the sizes know all linears, or queries, keys and values alone."""
    on_attention, on_mlp = config.flag("attention_bias"), mlp and config.flag("mlp_bias")
    if on_attention and on_mlp:
        return {"linear_bias": True}
    if on_attention:
        config.say(
            "Attention's output projection has a bias, hidden_size parameters a layer, which the sizes leave out."
        )
        return {"qkv_bias": True}
    if on_mlp:
        config.say("The MLPs have biases and attention has none: the sizes leave the MLPs' out.")
    return {}


def activation(config: Config, name: str, known: Mapping[str, str]) -> str:
    """The activation of MLPs and experts; `known` is `GATED` or `PLAIN`."""
    word = config.choice(name, known)
    assert word is not None, "no activation is null"
    if word in _TANH:
        config.say("GELU is in its tanh approximation.")
    return known[word]


def rotation(config: Config, partial: float = 1.0) -> Sizes:
    """Rotary embeddings, from `rope_theta` and `rope_scaling` or from `rope_parameters`.

    `partial` is the family's share of a head that rotates.
    """
    parameters, scaling = config.mapping("rope_parameters"), config.mapping("rope_scaling")
    if parameters and all(isinstance(value, Mapping) for value in parameters.values()):
        config.say("Rotary embeddings differ between kinds of layers; the sizes have the first kind's.")
        parameters = next(iter(parameters.values()))
    inner = Config(
        parameters, {"partial_rotary_factor": partial, "rope_theta": None}, f"{config.source}: rope_parameters"
    )
    outer = config.has("partial_rotary_factor")
    share = (config if outer else inner).number("partial_rotary_factor")
    percent = round(100 * share)
    if not 0 < percent <= 100 or abs(100 * share - percent) > 1e-6:
        raise config.error(f"partial_rotary_factor must be a whole percentage of a head, not {shown(share)}")
    theta = (inner if inner.has("rope_theta") else config).number("rope_theta")
    if theta != int(theta) or theta < 1:
        raise config.error(f"rope_theta must be a whole number of at least 1, not {shown(theta)}")
    name = "mrope" if "mrope_section" in {**scaling, **parameters} else "rope"
    text = name if percent == 100 else f"{name} {percent}%"
    if name == "mrope":
        config.say("The rotary embedding takes several positions a token (mrope), which is read and not built.")
    kind = scaling.get("rope_type") or scaling.get("type") or parameters.get("rope_type") or parameters.get("type")
    if kind == "yarn":
        text += " (yarn)"
        config.say("The rotary frequencies are stretched to a longer context (yarn), which is read and not built.")
    elif kind in ("linear", "dynamic", "llama3", "longrope", "su"):
        config.say(f"The rotary frequencies are scaled ({kind}); the sizes have them unscaled.")
    elif kind not in (None, "default", "mrope"):
        config.say("The rotary frequencies are scaled in a way that is not known here; the sizes have them unscaled.")
    return {"position_embedding": text, "rotary_base": int(theta)}


def window(config: Config, sliding: int | None = None) -> None:
    """Say that attention sees a window only; `sliding` is in how many layers, None for all that attend."""
    if not config.given("sliding_window") or sliding == 0:
        return
    if config.given("use_sliding_window") and not config.flag("use_sliding_window"):
        return
    where = "Attention sees" if sliding is None else f"In {sliding} layer{'s' if sliding > 1 else ''} attention sees"
    config.say(f"{where} a window of {config.whole('sliding_window')} tokens only.")


def mamba(config: Config, *, state: str, heads: str, width: str, groups: str, kernel: str, conv_bias: str) -> Sizes:
    """Mamba-2 under a family's own field names; refuses what Megatron's mixer cannot be told."""
    if (tokens := config.whole(kernel)) != MAMBA_CONV_KERNEL:
        raise config.error(
            f"{kernel} must be {MAMBA_CONV_KERNEL}, which Megatron's Mamba mixer always has, not {tokens}"
        )
    if not config.flag(conv_bias):
        raise config.error(f"{conv_bias} must be true: Megatron's Mamba mixer always has a convolution bias")
    return {
        "mamba_state_dim": config.whole(state),
        "mamba_num_heads": config.whole(heads),
        "mamba_head_dim": config.whole(width),
        "mamba_num_groups": config.whole(groups),
    }


def refuse_projection_bias(config: Config, name: str) -> None:
    """Mamba's projections have no biases in Megatron."""
    if config.flag(name):
        raise config.error(f"{name} must be false: Megatron's Mamba mixer has no biases on its projections")


def experts(config: Config, *, number: str, width: str, chosen: str = "num_experts_per_tok") -> Sizes:
    """Routed experts under a family's own field names, and the weight of their balancing loss where the file has one."""
    sizes: Sizes = {
        "moe_experts": config.whole(number, most=MOST_EXPERTS),
        "moe_topk": config.whole(chosen, most=MOST_EXPERTS),
        "moe_ffn": config.whole(width),
    }
    if config.given("router_aux_loss_coef"):
        sizes["moe_aux_loss_coeff"] = config.number("router_aux_loss_coef")
    return sizes


def shared_experts(number: int, width: int) -> Sizes:
    """`number` shared experts, `width` wide all together; none where either is 0."""
    if not number or not width:
        return {"moe_shared_experts": 0, "moe_shared_ffn": None}
    return {"moe_shared_experts": number, "moe_shared_ffn": width}
