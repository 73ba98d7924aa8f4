"""The sizes at which twins are compared: one where the host is what limits a step, one where the arithmetic is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError, check_choice


@dataclass(frozen=True)
class Problem:
    """What a step works on: a model's sizes, `rows` sequences of `sequence` tokens, torch's threads (None: torch's own)."""

    sizes: ModelSizes
    rows: int
    sequence: int
    threads: int | None


# Every layer kind eight times as wide as the tiny sizes, with heads as wide as small published models have them.
_WIDE = ModelSizes(
    hidden_size=512,
    vocab_size=1024,
    max_sequence_length=256,
    num_attention_heads=8,
    num_query_groups=4,
    ffn_hidden_size=1536,
    mamba_state_dim=64,
    mamba_head_dim=64,
    gdn_num_key_heads=4,
    gdn_num_value_heads=8,
    gdn_key_head_dim=64,
    gdn_value_head_dim=64,
    q_lora_rank=256,
    kv_lora_rank=128,
    qk_nope_head_dim=64,
    qk_rope_head_dim=32,
    v_head_dim=64,
    dsa_index_head_dim=64,
    dsa_index_topk=64,
    moe_ffn=512,
)

# Threads at tiny sizes only wait for each other.
REGIMES = {
    "host": Problem(ModelSizes(), rows=1, sequence=16, threads=1),
    "compute": Problem(_WIDE, rows=1, sequence=256, threads=None),
}

CLOCKS = ("wall", "cpu")


def problems(
    regimes: Sequence[str], sizes: ModelSizes | None = None, threads: int | None = None, clock: str = "wall"
) -> dict[str, Problem]:
    """The problem of each regime by its name, as `problem` gives it.

    Raises `WorkbenchError` without a regime, for an unknown one or an unknown clock, and for CPU time of several threads,
    which is longer than the step.
    """
    check_choice("clock", clock, CLOCKS)
    found = {name: problem(name, sizes, threads) for name in regimes}
    if not found:
        raise WorkbenchError("no regime is given: there is nothing to measure")
    for name, posed in found.items():
        if clock == "cpu" and posed.threads != 1:
            raise WorkbenchError(
                f"CPU time is that of a step only with one thread, and the {name} regime has "
                f"{posed.threads or 'as many as torch has'}: give --threads 1 (threads=1), or leave it to the wall clock"
            )
    return found


def problem(regime: str, sizes: ModelSizes | None = None, threads: int | None = None) -> Problem:
    """A regime's problem; `sizes` and `threads` replace its own.

    With sizes of the user's the regime is what is left of it, the length of the sequence, at most what the sizes take;
    whether the host limits it is for `host_share` to say. Raises `WorkbenchError` for an unknown name.
    """
    check_choice("regime", regime, REGIMES)
    found = REGIMES[regime]
    if sizes is not None:
        found = replace(found, sizes=sizes, sequence=min(found.sequence, sizes.max_sequence_length))
    return found if threads is None else replace(found, threads=threads)
