"""The letters of every formula: what each stands for, and the values that sizes and a chunk give. Pure.

The letters are those of Megatron-LM's and Mamba's papers where there is a habit: h hidden size, s tokens, b sequences.
An option is a letter that is 1 or 0 and a factor of a formula, so that one text holds for every model and can be read
and evaluated alike. Values that only FLOPs or only activations need are in `flop_letters` and `activation_letters`.
"""

from __future__ import annotations

from workbench.arch.sizes import ModelSizes
from workbench.arch.weights import MAMBA_CONV_KERNEL

# Tokens of a chunk. `MambaMixer` asks for 128 (mamba_mixer.py:176) of whatever kernel; the delta rule has 64 in FLA's kernel and
# in upstream's own (gated_delta_net/common.py:807), 32 in this project's (workbench/kernels/delta.py).
MODEL_CHUNKS = {"M": 128, "G": 64}
LOCAL_CHUNKS = {"M": 64, "G": 32}

# Letter → what it is. Sizes in elements; a letter whose size is not given has no value (see `letters_of`).
LEGEND: dict[str, str] = {
    # Sizes
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
    "qc": "1 with compressed queries, else 0",
    "il": "1 with a loss of the sparse-attention indexer, else 0",
    # The run
    "s": "tokens of a sequence; of the context where a state is counted",
    "b": "sequences of a micro-batch",
    "w": "bytes of an element of the model: 2 in bf16, 4 in fp32",
    "ws": "bytes of an element of Mamba's scan state: those of the model unless asked otherwise",
    "c": "tokens of a chunk of the recurrence",
    "t": "chunks of the recurrence: s / c rounded up",
    "later": "1 with more than one chunk, else 0",
    "keys": "keys that a query reads, the mean over the sequence: (s + 1) / 2 causal, s where the full square is computed",
    "kept": "keys that a query of sparse attention reads, the mean over the sequence: at most `it` of those it sees",
    # What activations depend on besides
    "cast": "1 in bf16, where work in fp32 copies what it reads, else 0",
    "rms": "1 with RMSNorm, 0 with LayerNorm",
    "nw": "bytes of an element that a local norm keeps: 4 with RMSNorm, which works in fp32, else w",
    "copies": "1 where a local norm keeps a copy of its input (RMSNorm in bf16), else 0",
    "mha": "1 with as many query groups as heads, else 0",
    "qkn": "1 with norms of queries and keys, else 0",
    "turned": "width of a head's rotated part, 0 without rotary embeddings",
    "turns": "1 with rotary embeddings, else 0",
    "sliced": "1 where queries are a slice of the projection (one query group, or one a head), else 0",
    "fresh": "1 where queries are a tensor of their own (rotated, normed or regrouped), 0 where part of the projection",
    "apiece": "1 where keys one a head are a tensor of their own, 0 where part of the projection",
    "sink": "1 with attention sinks, else 0",
    "hd": "1 with hidden dropout, else 0",
    "ad": "1 with attention dropout, else 0",
    "act": "tensors of MLP width that the activation keeps, its output left out",
    "scores": "1 where the router takes the scores of all experts (sigmoid, or one expert a token), else 0",
    "some": "1 where a token has several experts, else 0",
    "sig": "1 with sigmoid scores (a balancing bias), else 0",
    "aux": "1 with an auxiliary balancing loss, else 0",
    "many": "1 with several sequences of a micro-batch, else 0",
    "few": "1 where a recurrent mixer's local norm has few elements and runs through torch's own operations, else 0",
    "learned": "1 with learned positions, else 0",
    "slot": "1 where an empty MLP slot follows whose input nothing else keeps, else 0",
}


def chunk_letters(sequence_length: int, chunk: int) -> dict[str, float]:
    """The letters of a recurrence that works in chunks; both lengths in tokens."""
    chunk = min(chunk, sequence_length)
    chunks = -(-sequence_length // chunk)
    return {"s": sequence_length, "c": chunk, "t": chunks, "later": int(chunks > 1)}


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
        "qc": int(sizes.q_lora_rank is not None),
        "il": int(sizes.dsa_index_loss_coeff > 0),
    }
    return {letter: value for letter, value in found.items() if value is not None}
