"""Hybrid families: Nemotron-H, Qwen3-Next and Qwen3.5, Granite 4.0, Bamba, Jamba, and Mamba-2 alone. Pure."""

from __future__ import annotations

from workbench.arch.hugging_face import parts, remarks
from workbench.arch.hugging_face.attention import Found, only_used, sparse_layers
from workbench.arch.hugging_face.config import MOST_DEPTHS, MOST_EXPERTS, MOST_LAYERS, Config
from workbench.arch.hugging_face.parts import Sizes

_NEMOTRON_LAYERS = {
    "mamba": "M", "linear_attention": "M", "attention": "*", "full_attention": "*", "mlp": "-", "moe": "E",
}  # fmt: skip
_MIXERS = {"mamba": "M", "linear_attention": "M", "attention": "*", "full_attention": "*"}


def nemotron_h(config: Config) -> Found:
    """`nemotron_h`: one symbol a layer, as Megatron writes them; no position embedding."""
    pattern = _nemotron_layers(config, "hybrid_override_pattern", ("layers_block_type", "layer_types"))
    if pattern is None:
        raise config.error("hybrid_override_pattern or layers_block_type must say what the layers are")
    if config.has("num_hidden_layers") and config.layers() != len(pattern):
        config.say(
            f"num_hidden_layers says {config.layers()}; the layers that are listed are {len(pattern)}, and count."
        )
    depths = config.whole("num_nextn_predict_layers", least=0, most=MOST_DEPTHS)
    if depths:
        inner = _nemotron_layers(config, "mtp_hybrid_override_pattern", ("mtp_layers_block_type",)) or "*E"
        pattern += f"/{inner}" * depths
    sizes = parts.stream(config, "layer_norm_epsilon")
    sizes["activation"] = parts.activation(config, "mlp_hidden_act", parts.PLAIN)
    if "*" in pattern:
        sizes |= parts.attention(config, config.first("head_dim", "attention_head_dim"))
    if "-" in pattern:
        sizes["ffn_hidden_size"] = config.whole("intermediate_size")
    if "M" in pattern:
        sizes |= _nemotron_mamba(config)
    if "E" in pattern:
        sizes |= _nemotron_experts(config)
    parts.window(config)
    return pattern, sizes | parts.biases(config)


def _nemotron_layers(config: Config, text: str, lists: tuple[str, ...]) -> str | None:
    for name in lists:
        if config.has(name):
            return config.words(name, _NEMOTRON_LAYERS)
    if not config.has(text):
        return None
    pattern = config.text(text)
    wrong = next((symbol for symbol in pattern if symbol not in "M*-E"), None)
    if wrong is not None or not 0 < len(pattern) <= MOST_LAYERS:
        what = f"{wrong!r}" if wrong is not None else f"{len(pattern)} symbols"
        raise config.error(f"{text} must be 1 to {MOST_LAYERS} of the symbols M, *, - and E, not {what}")
    return pattern


def _nemotron_mamba(config: Config) -> Sizes:
    for name in ("mamba_proj_bias", "use_bias"):
        parts.refuse_projection_bias(config, name)
    remarks.step_limit(config)
    return parts.mamba(
        config,
        state="ssm_state_size",
        heads="mamba_num_heads",
        width="mamba_head_dim",
        groups=config.first("n_groups", "mamba_n_groups"),
        kernel=config.first("conv_kernel", "mamba_d_conv"),
        conv_bias=config.first("use_conv_bias", "mamba_conv_bias"),
    )


def _nemotron_experts(config: Config) -> Sizes:
    sizes = parts.experts(config, number="n_routed_experts", width="moe_intermediate_size")
    # One shared MLP of this width, whatever n_shared_experts says.
    sizes |= parts.shared_experts(1, config.whole("moe_shared_expert_intermediate_size"))
    return sizes | {"moe_latent_size": config.optional_whole("moe_latent_size"), "moe_router_bias": True}


def qwen3_next(config: Config) -> Found:
    """`qwen3_next`, and the language part of `qwen3_5` and `qwen3_5_moe`: gated delta nets with gated attention among them."""
    layers, interval = config.layers(), config.whole("full_attention_interval")
    kinds = config.words("layer_types", {"linear_attention": "G", "full_attention": "*"}, layers)
    kinds = kinds or "".join("G" if (layer + 1) % interval else "*" for layer in range(layers))
    channels = sparse_layers(config)
    pattern = "".join(mixer + channel for mixer, channel in zip(kinds, channels, strict=True))
    sizes = parts.stream(config) | parts.attention(config) | parts.biases(config, mlp=False)
    gate = config.flag("attn_output_gate") if config.has("attn_output_gate") else True
    sizes |= parts.rotation(config, partial=0.25) | {"attention_output_gate": gate, "qk_layernorm": True}
    sizes |= {
        "gdn_num_key_heads": config.whole("linear_num_key_heads"),
        "gdn_num_value_heads": config.whole("linear_num_value_heads"),
        "gdn_key_head_dim": config.whole("linear_key_head_dim"),
        "gdn_value_head_dim": config.whole("linear_value_head_dim"),
        "gdn_conv_kernel": config.whole("linear_conv_kernel_dim"),
        "ffn_hidden_size": config.whole("intermediate_size"),
        "activation": parts.activation(config, "hidden_act", parts.GATED),
    }
    if "E" in pattern:
        sizes |= parts.experts(config, number="num_experts", width="moe_intermediate_size")
        shared = config.whole("shared_expert_intermediate_size", least=0)
        sizes |= parts.shared_experts(1, shared) | {"shared_expert_gate": shared > 0}
    config.say("Norms are zero-centred (Megatron's apply_layernorm_1p).")
    pattern += _qwen_mtp(config, channels[-1])
    return pattern, only_used(pattern, sizes)


def _qwen_mtp(config: Config, channel: str) -> str:
    name = config.first("mtp_num_hidden_layers", "num_nextn_predict_layers")
    if not config.has(name):
        config.say(
            f"The file says nothing of multi-token prediction, which releases of the family have: /*{channel} after the "
            "pattern adds it."
        )
        return ""
    if config.has("mtp_use_dedicated_embeddings") and config.flag("mtp_use_dedicated_embeddings"):
        config.say("The MTP modules have embeddings of their own, which are left out.")
    return f"/*{channel}" * config.whole(name, least=0, most=MOST_DEPTHS)


def granite(config: Config) -> Found:
    """`granitemoehybrid`: Mamba or attention, then experts with a shared one, or only that where there are no experts."""
    layers = config.layers()
    mixers = config.words(config.first("layer_types", "layers_block_type"), _MIXERS, layers) or "M" * layers
    experts = config.whole("num_local_experts", least=0, most=MOST_EXPERTS)
    pattern = "".join(mixer + ("E" if experts else "-") for mixer in mixers)
    sizes = parts.stream(config) | {"activation": parts.activation(config, "hidden_act", parts.GATED)}
    if "*" in mixers:
        sizes |= parts.attention(config) | parts.biases(config, mlp=False)
        remarks.attention_scale(config, sizes["head_dim"])
        if config.choice("position_embedding_type", ("rope", "nope", None)) == "rope":
            sizes |= parts.rotation(config)
    if "M" in mixers:
        sizes |= _expanded_mamba(config)
    shared = config.whole("shared_intermediate_size", least=0 if experts else 1)
    if experts:
        sizes |= parts.experts(config, number="num_local_experts", width="intermediate_size")
        sizes |= parts.shared_experts(1, shared)
    else:
        sizes["ffn_hidden_size"] = shared
    return pattern, sizes


def bamba(config: Config) -> Found:
    """`bamba`: Mamba-2, attention in the listed layers, and a gated MLP in every block; half of a head rotates."""
    layers = config.layers()
    attends = config.places("attn_layer_indices", layers)
    pattern = "".join(("*" if layer in attends else "M") + "-" for layer in range(layers))
    sizes = parts.stream(config) | _expanded_mamba(config)
    sizes["ffn_hidden_size"] = config.whole("intermediate_size")
    sizes["activation"] = parts.activation(config, "hidden_act", parts.GATED)
    if attends:
        sizes |= parts.attention(config) | parts.rotation(config, partial=0.5)
    return pattern, sizes | parts.biases(config)


def _expanded_mamba(config: Config) -> Sizes:
    """Mamba-2 of Bamba and Granite, whose heads together are `mamba_expand` times as wide as the residual stream."""
    parts.refuse_projection_bias(config, "mamba_proj_bias")
    remarks.step_limit(config)
    inner = config.whole("mamba_expand") * config.whole("hidden_size")
    heads = config.whole("mamba_n_heads")
    width = inner // heads if config.is_text("mamba_d_head", "auto") else config.whole("mamba_d_head")
    if width * heads != inner:
        raise config.error(
            f"mamba_n_heads {heads} times mamba_d_head {width} must be mamba_expand × hidden_size, {inner}"
        )
    sizes = parts.mamba(
        config,
        state="mamba_d_state",
        heads="mamba_n_heads",
        width="mamba_n_heads",
        groups="mamba_n_groups",
        kernel="mamba_d_conv",
        conv_bias="mamba_conv_bias",
    )
    return sizes | {"mamba_head_dim": width}


def jamba(config: Config) -> Found:
    """`jamba`: the layout only, since its Mamba layers are Mamba-1; no position embedding."""
    layers, period = config.layers(), config.whole("attn_layer_period")
    offset, sparse_period = config.whole("attn_layer_offset", least=0), config.whole("expert_layer_period")
    sparse_offset = config.whole("expert_layer_offset", least=0)
    experts = config.whole("num_experts", most=MOST_EXPERTS) > 1
    pattern = "".join(
        ("*" if layer % period == offset else "M")
        + ("E" if experts and layer % sparse_period == sparse_offset else "-")
        for layer in range(layers)
    )
    sizes = parts.stream(config) | parts.attention(config)
    sizes["ffn_hidden_size"] = config.whole("intermediate_size")
    sizes["activation"] = parts.activation(config, "hidden_act", parts.GATED)
    sizes |= parts.experts(config, number="num_experts", width="intermediate_size") | parts.shared_experts(0, 0)
    config.say("M is Mamba-1 here and Mamba-2 in Megatron: the pattern is the layout, and the sizes leave Mamba out.")
    parts.window(config)
    return pattern, only_used(pattern, sizes)


def mamba2(config: Config) -> Found:
    """`mamba2`: Mamba-2 alone."""
    parts.refuse_projection_bias(config, "use_bias")
    remarks.step_limit(config)
    sizes = parts.stream(config, "layer_norm_epsilon") | parts.mamba(
        config,
        state="state_size",
        heads="num_heads",
        width="head_dim",
        groups="n_groups",
        kernel="conv_kernel",
        conv_bias="use_conv_bias",
    )
    inner = config.whole("expand") * config.whole("hidden_size")
    if sizes["mamba_num_heads"] * sizes["mamba_head_dim"] != inner:
        raise config.error(
            f"num_heads {sizes['mamba_num_heads']} times head_dim {sizes['mamba_head_dim']} must be expand × hidden_size, {inner}"
        )
    sizes["vocab_multiple"] = config.whole("pad_vocab_size_multiple")
    return "M" * config.layers(), sizes
