"""Families whose sequence mixer is self-attention alone: Llama, Mistral, Mixtral, Qwen2, Qwen3, gpt-oss. Pure.

Each function reads a `Config` and returns the pattern's text and the sizes.
"""

from __future__ import annotations

from workbench.arch.hugging_face import parts
from workbench.arch.hugging_face.config import Config
from workbench.arch.hugging_face.parts import Sizes

Found = tuple[str, Sizes]


def llama(config: Config) -> Found:
    """`llama` and `mistral`: attention and a gated MLP in every block."""
    sizes = _attending(config) | parts.biases(config) | _mlp(config)
    parts.window(config)
    return "*-" * config.layers(), sizes


def mixtral(config: Config) -> Found:
    """`mixtral`: attention and experts in every block."""
    sizes = _attending(config) | {"activation": parts.activation(config, "hidden_act", parts.GATED)}
    sizes |= parts.experts(config, number="num_local_experts", width="intermediate_size")
    parts.window(config)
    return "*E" * config.layers(), sizes | parts.shared_experts(0, 0)


def qwen2(config: Config) -> Found:
    """`qwen2`: a Llama with biases on queries, keys and values."""
    _late_windows(config)
    return "*-" * config.layers(), _attending(config) | {"qkv_bias": True} | _mlp(config)


def qwen3(config: Config) -> Found:
    """`qwen3`: a Llama with norms on queries and keys."""
    _late_windows(config)
    sizes = _attending(config) | parts.biases(config, mlp=False) | {"qk_layernorm": True} | _mlp(config)
    return "*-" * config.layers(), sizes


def qwen3_moe(config: Config) -> Found:
    """`qwen3_moe`: the same with experts in most blocks, and in some an MLP."""
    sizes = _attending(config) | parts.biases(config, mlp=False) | {"qk_layernorm": True} | _mlp(config)
    pattern = "".join("*" + mixer for mixer in sparse_layers(config))
    if "E" in pattern:
        number = config.first("num_experts", "num_local_experts")
        sizes |= parts.experts(config, number=number, width="moe_intermediate_size")
    parts.window(config)
    return pattern, only_used(pattern, sizes | parts.shared_experts(0, 0))


def gpt_oss(config: Config) -> Found:
    """`gpt_oss`: experts in every block, biases everywhere, a learned sink in every head's softmax."""
    if not config.flag("attention_bias"):
        raise config.error(
            "attention_bias must be true: the experts of gpt_oss always have biases, and the sizes know all or none"
        )
    config.choice("hidden_act", ("silu",))
    sizes = _attending(config) | {"linear_bias": True, "attention_sinks": True, "activation": "geglu"}
    config.say("The experts' gate is x·σ(1.702x), clamped (quick GELU): written as geglu, which has the same weights.")
    sizes |= parts.experts(config, number="num_local_experts", width="intermediate_size")
    layers = config.layers()
    kinds = config.words("layer_types", {"sliding_attention": "s", "full_attention": "f"}, layers)
    parts.window(config, (layers + 1) // 2 if kinds is None else kinds.count("s"))
    return "*E" * layers, sizes | parts.shared_experts(0, 0)


# ------------------------------------------------------------------------------------------------------


def sparse_layers(config: Config) -> str:
    """`E` or `-` for every layer, after `num_experts`, `mlp_only_layers` and `decoder_sparse_step` of the Qwen families."""
    layers, step = config.layers(), config.whole("decoder_sparse_step")
    dense = config.places("mlp_only_layers", layers)
    number = config.whole(config.first("num_experts", "num_local_experts"), least=0)
    return "".join("E" if number and layer not in dense and (layer + 1) % step == 0 else "-" for layer in range(layers))


def only_used(pattern: str, sizes: Sizes) -> Sizes:
    """The same sizes without those of MLPs or experts that the pattern does not have."""
    unused = [name for name in sizes if ("-" not in pattern and name == "ffn_hidden_size")]
    if "E" not in pattern:
        unused += [name for name in sizes if name.startswith("moe_") or name == "shared_expert_gate"]
    return {name: value for name, value in sizes.items() if name not in unused}


def _attending(config: Config) -> Sizes:
    return parts.stream(config) | parts.attention(config) | parts.rotation(config)


def _mlp(config: Config) -> Sizes:
    return {
        "ffn_hidden_size": config.whole("intermediate_size"),
        "activation": parts.activation(config, "hidden_act", parts.GATED),
    }


def _late_windows(config: Config) -> None:
    """Windows of Qwen2 and Qwen3: in the layers that are listed, or from `max_window_layers` on."""
    layers = config.layers()
    kinds = config.words("layer_types", {"sliding_attention": "s", "full_attention": "f"}, layers)
    late = max(0, layers - config.whole("max_window_layers", least=0))
    parts.window(config, late if kinds is None else kinds.count("s"))
