"""The values of the letters that only FLOP formulas use; what they stand for is in `workbench.cost.letters`. Pure."""

from __future__ import annotations

from workbench.arch.sizes import ModelSizes
from workbench.cost.formulas import float_or_int
from workbench.cost.letters import chunk_letters, letters_of


def flop_letters(sizes: ModelSizes, *, sequence_length: int, causal: bool, chunk: int) -> dict[str, float]:
    """Every letter that a FLOP formula of a forward or backward pass may use; lengths in tokens."""
    s = sequence_length
    limit = sizes.dsa_index_topk or s
    return {
        **letters_of(sizes),
        **chunk_letters(s, chunk),
        "keys": float_or_int((s + 1) / 2) if causal else s,
        "kept": _mean_of_at_most(limit, s) if causal else min(limit, s),
    }


def decode_letters(sizes: ModelSizes, *, context_length: int) -> dict[str, float]:
    """The letters for one generated token that reads `context_length` keys, its own among them."""
    kept = min(sizes.dsa_index_topk or context_length, context_length)
    return letters_of(sizes) | {"s": 1, "keys": context_length, "kept": kept}


def _mean_of_at_most(limit: int, s: int) -> float:
    """The mean of min(limit, position) over the positions 1 to s."""
    short = min(limit, s)
    return float_or_int((short * (short + 1) / 2 + (s - short) * limit) / s)
