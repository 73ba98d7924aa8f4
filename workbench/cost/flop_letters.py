"""The letters of the FLOP formulas, beside those of `workbench.cost.letters`: how many keys a query reads, and chunks. Pure."""

from __future__ import annotations

from workbench.arch.sizes import ModelSizes
from workbench.cost.formulas import float_or_int
from workbench.cost.letters import letters_of

# Letter → what it is.
FLOP_LEGEND: dict[str, str] = {
    "keys": "keys that a query reads, the mean over the sequence: (s + 1) / 2 causal, s where the full square is computed",
    "kept": "keys that a query of sparse attention reads, the mean over the sequence: at most `it` of those it sees",
    "t": "chunks of a sequence: s / c rounded up",
    "later": "1 with more than one chunk, else 0",
    "qc": "1 with compressed queries, else 0",
    "il": "1 with a loss of the sparse-attention indexer, else 0",
}

# Tokens of a chunk. `MambaMixer` asks for 128 (mamba_mixer.py:176) of whatever kernel; the delta rule has 64 in FLA's kernel and
# in upstream's own (gated_delta_net/common.py:807), 16 in this project's (workbench/kernels/delta.py).
MODEL_CHUNKS = {"M": 128, "G": 64}
LOCAL_CHUNKS = {"M": 128, "G": 16}


def flop_letters(sizes: ModelSizes, *, sequence_length: int, causal: bool, chunk: int) -> dict[str, float]:
    """Every letter that a FLOP formula of a forward or backward pass may use; lengths in tokens."""
    s, chunk = sequence_length, min(chunk, sequence_length)
    chunks = -(-s // chunk)
    limit = sizes.dsa_index_topk or s
    return _common(sizes) | {
        "s": s,
        "keys": float_or_int((s + 1) / 2) if causal else s,
        "kept": _mean_of_at_most(limit, s) if causal else min(limit, s),
        "c": chunk,
        "t": chunks,
        "later": int(chunks > 1),
    }


def decode_letters(sizes: ModelSizes, *, context_length: int) -> dict[str, float]:
    """The letters for one generated token that reads `context_length` keys, its own among them."""
    kept = min(sizes.dsa_index_topk or context_length, context_length)
    return _common(sizes) | {"s": 1, "keys": context_length, "kept": kept}


def _common(sizes: ModelSizes) -> dict[str, float]:
    options = {"qc": int(sizes.q_lora_rank is not None), "il": int(sizes.dsa_index_loss_coeff > 0)}
    return letters_of(sizes) | options


def _mean_of_at_most(limit: int, s: int) -> float:
    """The mean of min(limit, position) over the positions 1 to s."""
    short = min(limit, s)
    return float_or_int((short * (short + 1) / 2 + (s - short) * limit) / s)
