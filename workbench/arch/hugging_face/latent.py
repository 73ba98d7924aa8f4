"""Families with multi-latent attention: DeepSeek-V2, V3, V3.2 and Kimi-K2. Pure."""

from __future__ import annotations

from workbench.arch.hugging_face import parts
from workbench.arch.hugging_face.attention import Found, only_used
from workbench.arch.hugging_face.config import MOST_DEPTHS, MOST_EXPERTS, Config
from workbench.arch.hugging_face.parts import Sizes


def deepseek(config: Config) -> Found:
    """`deepseek_v2`, `deepseek_v3` and `kimi_k2`: latent attention; MLPs in the first blocks, then experts."""
    return _deepseek(config, "+", {})


def deepseek_v32(config: Config) -> Found:
    """`deepseek_v32`: the same with the indexer of sparse attention."""
    indexer = {
        "dsa_index_heads": config.whole("index_n_heads"),
        "dsa_index_head_dim": config.whole("index_head_dim"),
        "dsa_index_topk": config.whole("index_topk"),
    }
    return _deepseek(config, "D", indexer)


def _deepseek(config: Config, mixer: str, more: Sizes) -> Found:
    sizes = parts.stream(config) | parts.rotation(config) | _latent(config) | more
    sizes["ffn_hidden_size"] = config.whole("intermediate_size")
    sizes["activation"] = parts.activation(config, "hidden_act", parts.GATED)
    if config.optional_whole("n_routed_experts", most=MOST_EXPERTS) is not None:
        sizes |= _experts(config)
    layers = config.layers()
    pattern = "".join(mixer + _channel(config, layer) for layer in range(layers))
    depths = config.whole("num_nextn_predict_layers", least=0, most=MOST_DEPTHS)
    if depths:
        # The module is block number `num_hidden_layers`, and has what that block would have.
        pattern += f"/{mixer}{_channel(config, layers)}" * depths
        config.say(
            "A release repeats the embedding and the output layer in every MTP module; here they are there once."
        )
    return pattern, only_used(pattern, sizes)


def _latent(config: Config) -> Sizes:
    if config.flag("attention_bias"):
        config.say("Attention's projections have biases, which the sizes of latent attention leave out.")
    heads, hidden, value = config.whole("num_attention_heads"), config.whole("hidden_size"), config.whole("v_head_dim")
    return {
        "num_attention_heads": heads,
        # Latent attention does not read it; the sizes want an even share of the residual stream or a width.
        "head_dim": value if hidden % (2 * heads) else None,
        "q_lora_rank": config.optional_whole("q_lora_rank"),
        "kv_lora_rank": config.whole("kv_lora_rank"),
        "qk_nope_head_dim": config.whole("qk_nope_head_dim"),
        "qk_rope_head_dim": config.whole("qk_rope_head_dim"),
        "v_head_dim": value,
        "qk_layernorm": True,  # the norms of compressed queries and keys
    }


def _experts(config: Config) -> Sizes:
    sizes = parts.experts(config, number="n_routed_experts", width="moe_intermediate_size")
    shared = config.optional_whole("n_shared_experts", least=0, most=MOST_EXPERTS) or 0
    sizes |= parts.shared_experts(shared, shared * config.whole("moe_intermediate_size"))
    method = config.choice("topk_method", ("noaux_tc", "greedy", "group_limited_greedy", None))
    # Only this method has a correction bias for every expert.
    sizes["moe_router_bias"] = method == "noaux_tc"
    return sizes


def _channel(config: Config, layer: int) -> str:
    if config.optional_whole("n_routed_experts", most=MOST_EXPERTS) is None:
        return "-"
    sparse = layer >= config.whole("first_k_dense_replace", least=0) and layer % config.whole("moe_layer_freq") == 0
    return "E" if sparse else "-"
