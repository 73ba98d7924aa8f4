"""The letters of every formula: what each stands for, and its value for given sizes. Pure.

The letters are those of Megatron-LM's and Mamba's papers where there is a habit: h hidden size, s tokens, b sequences.
"""

from __future__ import annotations

from workbench.arch.sizes import ModelSizes
from workbench.arch.weights import MAMBA_CONV_KERNEL

# Letter → what it is. Sizes in elements; a letter whose size is not given has no value (see `letters_of`).
LEGEND: dict[str, str] = {
    "h": "hidden size",
    "v": "vocabulary, padded",
    "a": "attention heads",
    "g": "query groups (key-value heads)",
    "d": "attention head width",
    "gate": "1 with an attention output gate, else 0",
    "f": "MLP width",
    "p": "projections of the first linear: 2 with a gated activation, else 1",
    "mh": "Mamba heads",
    "md": "Mamba head width",
    "mg": "Mamba groups",
    "n": "Mamba state width",
    "mc": "Mamba convolution kernel, tokens",
    "gk": "delta-net key heads",
    "gv": "delta-net value heads",
    "dk": "delta-net key head width",
    "dv": "delta-net value head width",
    "gc": "delta-net convolution kernel, tokens",
    "qr": "rank of compressed queries, 0 where they are not compressed",
    "kr": "rank of compressed keys and values",
    "nope": "latent attention: width of a head's part without rotation",
    "rope": "latent attention: width of a head's rotated part",
    "vd": "latent attention: value head width",
    "ih": "sparse attention: indexer heads",
    "id": "sparse attention: indexer head width",
    "it": "sparse attention: keys kept a query, tokens",
    "e": "experts",
    "k": "experts a token",
    "ef": "expert width",
    "sf": "width of all shared experts together, 0 without",
    "sg": "1 with a gate on the shared experts, else 0",
    "l": "width that routed experts work on: the latent size, or the hidden size",
    "latent": "1 with a latent size, else 0",
    "s": "tokens of a sequence",
    "b": "sequences of a micro-batch",
    "c": "tokens of a chunk of the recurrence",
}


def letters_of(sizes: ModelSizes) -> dict[str, float]:
    """The letters that sizes give; one whose size is `None` is left out, so that a formula that needs it says so."""
    heads = sizes.num_attention_heads
    found: dict[str, float | None] = {
        "h": sizes.hidden_size,
        "v": None if sizes.vocab_size is None else sizes.padded_vocabulary,
        "a": heads,
        "g": sizes.num_query_groups or heads,
        "d": sizes.attention_head_dim,
        "gate": int(sizes.attention_output_gate),
        "f": sizes.ffn_hidden_size,
        "p": 2 if sizes.gated else 1,
        "mh": sizes.mamba_heads,
        "md": sizes.mamba_head_dim,
        "mg": sizes.mamba_num_groups,
        "n": sizes.mamba_state_dim,
        "mc": MAMBA_CONV_KERNEL,
        "gk": sizes.gdn_num_key_heads,
        "gv": sizes.gdn_num_value_heads,
        "dk": sizes.gdn_key_head_dim,
        "dv": sizes.gdn_value_head_dim,
        "gc": sizes.gdn_conv_kernel,
        "qr": sizes.q_lora_rank or 0,
        "kr": sizes.kv_lora_rank,
        "nope": sizes.qk_nope_head_dim,
        "rope": sizes.qk_rope_head_dim,
        "vd": sizes.v_head_dim,
        "ih": sizes.dsa_index_heads,
        "id": sizes.dsa_index_head_dim,
        "it": sizes.dsa_index_topk,
        "e": sizes.moe_experts,
        "k": sizes.moe_topk,
        "ef": sizes.moe_ffn,
        "sf": sizes.moe_shared_ffn or 0,
        "sg": int(sizes.shared_expert_gate),
        "l": sizes.moe_latent_size or sizes.hidden_size,
        "latent": int(sizes.moe_latent_size is not None),
    }
    return {letter: value for letter, value in found.items() if value is not None}
