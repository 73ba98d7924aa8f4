"""Which sizes a model of some layer kinds has, and why shapes do not show each of them. Pure."""

from __future__ import annotations

from dataclasses import fields

from workbench.arch.sizes import ModelSizes
from workbench.arch.used import READ_BY

# What follows from several fields, or is not a field: shown beside the field that it is part of.
PADDED, IS_GATED = "padded_vocabulary", "gated"
_BESIDE = {"vocab_size": PADDED, "activation": IS_GATED}

_TRACELESS = "it leaves no trace in names or shapes"
_HEADS = "no weight is as wide as one head: only products show"
_REASONS = {
    "vocab_size": "the embedding's rows may be padded, and how far does not show",
    "vocab_multiple": "the embedding's rows may be padded, and how far does not show",
    "max_sequence_length": "there is no table of positions, so no weight has it",
    "position_embedding": "rotary embeddings have no weights, and none at all have none either",
    "normalization": "no norm is there",
    "linear_bias": "Mamba and gated delta nets have no biases in any case",
    "num_attention_heads": _HEADS,
    "num_query_groups": _HEADS,
    "head_dim": _HEADS,
    "qkv_bias": "a model whose linears have biases has this one in any case",
    "attention_output_gate": "the rows are those of heads that share nothing, or of gated ones that share keys by two",
    "activation": "whether it is gated shows, which function it is does not",
    "mamba_num_groups": "B and C show the product only",
    "mamba_state_dim": "B and C show the product only",
    "gdn_num_key_heads": "queries and keys show the product only",
    "gdn_key_head_dim": "queries and keys show the product only",
    "moe_topk": "how many experts a token goes to is in no weight",
    "moe_shared_experts": "shared experts are stored as one MLP, as wide as all of them together",
    "mla_down_proj_fusion": "it shows in a state dict of compressed queries only: a distributed checkpoint stores both ways alike",
    "mtp_use_repeated_layer": "one depth is stored: there is one, or there are several that run the same weights",
}
_LEAVE_NO_TRACE = frozenset(
    {
        *("rotary_base", "norm_epsilon", "initializer_std", "hidden_dropout", "attention_dropout"),
        *("dsa_index_topk", "dsa_index_loss_coeff", "moe_aux_loss_coeff"),
    }
)


def sizes_of_kinds(symbols: frozenset[str], *, mtp: bool) -> tuple[str, ...]:
    """Every size that a model of these layer kinds reads, in the order of `ModelSizes`, each group's proofs before it."""
    found: list[str] = []
    for field in fields(ModelSizes):
        if not symbols & set(READ_BY.get(field.name, symbols)) and field.name in READ_BY:
            continue
        if field.name == "mtp_use_repeated_layer" and not mtp:
            continue
        if field.name in _BESIDE:
            found.append(_BESIDE[field.name])
        found.append(field.name)
    return tuple(found)


def reason(name: str) -> str:
    """Why shapes do not show a size; the plain one where the tensors that would are missing.

    >>> reason("rotary_base"), reason("hidden_size")
    ('it leaves no trace in names or shapes', 'the tensors that show it are not there')
    """
    if name in _LEAVE_NO_TRACE:
        return _TRACELESS
    return _REASONS.get(name, "the tensors that show it are not there")
