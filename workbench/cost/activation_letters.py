"""The values of the letters that only activation formulas use; what they stand for is in `workbench.cost.letters`. Pure."""

from __future__ import annotations

from workbench.arch.sizes import ModelSizes
from workbench.cost.letters import LOCAL_CHUNKS, chunk_letters, letters_of

_FEW_ELEMENTS = 128 * 1024  # workbench/kernels/norm.py, _SMALL_ELEMENTS


def activation_letters(
    sizes: ModelSizes, *, symbol: str, sequence_length: int, micro_batch: int, width: int, slot: bool = True
) -> dict[str, float]:
    """Every letter that an activation formula of a layer of kind `symbol` may use; `width` is 2 or 4 bytes."""
    heads, cast = sizes.num_attention_heads, int(width < 4)
    rms, mha = int(sizes.normalization == "RMSNorm"), int(sizes.num_query_groups in (None, heads))
    sliced = mha or sizes.num_query_groups == 1
    turned = int((sizes.attention_head_dim or 0) * sizes.rotary_percent)
    chunks = chunk_letters(sequence_length, LOCAL_CHUNKS.get(symbol, 1))
    many = micro_batch > 1
    some = int((sizes.moe_topk or 0) > 1)
    return {
        **letters_of(sizes),
        **chunks,
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
        "hd": int(sizes.hidden_dropout > 0),
        "ad": int(sizes.attention_dropout > 0),
        "act": _kept_by_activation(sizes),
        "scores": int(sizes.moe_router_bias or not some),
        "some": some,
        "sig": int(sizes.moe_router_bias),
        "aux": int(sizes.aux_loss_coeff > 0),
        "many": int(many),
        "few": int(sequence_length * micro_batch * _normed(sizes, symbol) <= _FEW_ELEMENTS),
        "learned": int(sizes.rotary_variant == "learned"),
        "slot": int(slot),
    }


def _normed(sizes: ModelSizes, symbol: str) -> int:
    """Channels of a token that the norm of the groups (Mamba) or the L2 norm of queries and keys (delta net) sees."""
    if symbol == "M":
        return (sizes.mamba_heads or 0) * (sizes.mamba_head_dim or 0)
    return 2 * (sizes.gdn_num_key_heads or 0) * (sizes.gdn_key_head_dim or 0)


def _kept_by_activation(sizes: ModelSizes) -> int:
    """Of `MLP.forward` without fusion (megatron/core/transformer/mlp.py:318-335)."""
    if sizes.gated:
        # The double projection, the activated half, and the other half with its offset added.
        return 4
    # relu's backward reads its output, which the second linear keeps anyway.
    return 0 if sizes.activation == "relu" else 1
