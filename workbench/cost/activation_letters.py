"""The letters of the activation formulas, beside those of `workbench.cost.letters`: widths in bytes, and options as 0 or 1.

An option is a factor of a formula, so that one text holds for every model and can be read and evaluated alike. Pure.
"""

from __future__ import annotations

from workbench.arch.sizes import ModelSizes
from workbench.cost.letters import letters_of

# Letter → what it is.
ACTIVATION_LEGEND: dict[str, str] = {
    "w": "bytes of an element of the model: 2 in bf16, 4 in fp32",
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
    "qc": "1 with compressed queries, else 0",
    "hd": "1 with hidden dropout, else 0",
    "ad": "1 with attention dropout, else 0",
    "act": "tensors of MLP width that the activation keeps, its output left out",
    "scores": "1 where the router takes the scores of all experts (sigmoid, or one expert a token), else 0",
    "some": "1 where a token has several experts, else 0",
    "sig": "1 with sigmoid scores (a balancing bias), else 0",
    "aux": "1 with an auxiliary balancing loss, else 0",
    "il": "1 with a loss of the sparse-attention indexer, else 0",
    "t": "chunks of the recurrence: s / c rounded up",
    "later": "1 with more than one chunk, else 0",
    "padded": "1 where the last chunk is filled up, else 0",
    "strided": "1 where chunks are views of the sequence that products have to copy (nothing is filled up), else 0",
    "single": "1 with one delta-net value head, else 0",
    "many": "1 with several sequences of a micro-batch, else 0",
    "apart": "1 where B and C of several groups are views that products have to copy, else 0",
    "again": "1 where B, and C after the first chunk, are copied once more for the states, else 0",
    "learned": "1 with learned positions, else 0",
    "slot": "1 where an empty MLP slot follows whose input nothing else keeps, else 0",
}

# Tokens of a chunk: `MambaMixer`'s default (mamba_mixer.py:176); the chunk of workbench/kernels/delta.py.
LOCAL_CHUNK = {"M": 128, "G": 16}


def activation_letters(
    sizes: ModelSizes, *, symbol: str, sequence_length: int, micro_batch: int, width: int, slot: bool = True
) -> dict[str, float]:
    """Every letter that an activation formula of a layer of kind `symbol` may use; `width` is 2 or 4 bytes."""
    letters: dict[str, float] = letters_of(sizes)
    heads, cast = sizes.num_attention_heads, int(width < 4)
    rms, mha = int(sizes.normalization == "RMSNorm"), int(sizes.num_query_groups in (None, heads))
    sliced = mha or sizes.num_query_groups == 1
    turned = int((sizes.attention_head_dim or 0) * sizes.rotary_percent)
    chunk = min(LOCAL_CHUNK.get(symbol, 1), sequence_length)
    chunks = -(-sequence_length // chunk)
    groups, separate = (sizes.mamba_num_groups or 1) > 1, micro_batch > 1 or chunks > 1
    single = sizes.gdn_num_value_heads == 1
    some = int((sizes.moe_topk or 0) > 1)
    return letters | {
        "s": sequence_length,
        "b": micro_batch,
        "w": width,
        "cast": cast,
        "rms": rms,
        "nw": 4 if rms else width,
        "copies": rms * cast,
        "mha": mha,
        "qkn": int(sizes.qk_layernorm),
        "turned": turned,
        "turns": int(turned > 0),
        "sliced": int(sliced),
        "fresh": int(turned > 0 or sizes.qk_layernorm or not (mha or (sliced and micro_batch == 1))),
        "apiece": int(turned > 0 or sizes.qk_layernorm or not mha),
        "sink": int(sizes.attention_sinks),
        "qc": int(sizes.q_lora_rank is not None),
        "hd": int(sizes.hidden_dropout > 0),
        "ad": int(sizes.attention_dropout > 0),
        "act": _kept_by_activation(sizes),
        "scores": int(sizes.moe_router_bias or not some),
        "some": some,
        "sig": int(sizes.moe_router_bias),
        "aux": int(sizes.aux_loss_coeff > 0),
        "il": int(sizes.dsa_index_loss_coeff > 0),
        "c": chunk,
        "t": chunks,
        "later": int(chunks > 1),
        "padded": int(sequence_length % chunk > 0),
        "strided": int(sequence_length % chunk == 0 and separate and not single),
        "single": int(single),
        "many": int(micro_batch > 1),
        "apart": int(groups and separate),
        "again": int(_copied_again(sizes, groups, micro_batch > 1, chunks > 1, bool(cast))),
        "learned": int(sizes.rotary_variant == "learned"),
        "slot": int(slot),
    }


def _copied_again(sizes: ModelSizes, groups: bool, many: bool, later: bool, cast: bool) -> bool:
    """Whether `ssd_chunked` copies B for the states: repeated for the heads of a group, or cut so that it is no plain view."""
    if later:
        return True
    if sizes.mamba_heads != sizes.mamba_num_groups:
        return many or groups
    return many and not cast


def _kept_by_activation(sizes: ModelSizes) -> int:
    """Of `MLP.forward` without fusion (megatron/core/transformer/mlp.py:318-335)."""
    if sizes.gated:
        # The double projection, the activated half, and the other half with its offset added.
        return 4
    # relu's backward reads its output, which the second linear keeps anyway.
    return 0 if sizes.activation == "relu" else 1
