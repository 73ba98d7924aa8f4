"""Pipeline stages of an architecture: what each costs, and where the boundaries would be best. Pure."""

from __future__ import annotations

from dataclasses import replace

from workbench.arch.architecture import Architecture
from workbench.cost.balance import Balance, balance, stage_balance
from workbench.cost.flops import Flops, flops
from workbench.cost.parameters import parameters
from workbench.errors import check_choice

BY = ("flops", "parameters")


def present_stages(architecture: Architecture, *, by: str = "flops", sequence_length: int = 8192) -> Balance:
    """The stages that the pattern has.

    `by="flops"`: forward and backward FLOPs a token at a sequence length in tokens; `by="parameters"`: elements.
    """
    costs, first, last = _costs(architecture, by, sequence_length)
    return replace(stage_balance(architecture.pattern, costs, first=first, last=last), by=by)


def counted_stages(counted: Flops) -> Balance:
    """The stages that a pattern has, by forward and backward FLOPs that were counted already."""
    costs, first, last = _block_flops(counted)
    return replace(stage_balance(counted.architecture.pattern, costs, first=first, last=last), by="flops")


def best_stages(architecture: Architecture, stages: int, *, by: str = "flops", sequence_length: int = 8192) -> Balance:
    """The stages whose slowest is as quick as it can be; the ones that the pattern has are ignored.

    The first has the embedding, the last the final norm, the output layer and multi-token prediction, as Megatron
    places them.
    """
    costs, first, last = _costs(architecture, by, sequence_length)
    return replace(balance(architecture.pattern, stages, costs, first=first, last=last), by=by)


def staged(architecture: Architecture, pipeline: int) -> Architecture:
    """The architecture with `|` where Megatron splits a pattern without one evenly; as it is where it has stages.

    `WorkbenchError` where it cannot be split.
    """
    pattern = architecture.pattern
    if pipeline == 1 or len(pattern.stages) > 1:
        return architecture
    segments = [pattern.segment(rank, pipeline) for rank in range(pipeline)]
    text = "|".join("".join(map(str, segment.blocks)) for segment in segments) + pattern.text[len(pattern.main) :]
    return Architecture(text, architecture.sizes, dtype=architecture.dtype)


# ------------------------------------------------------------------------------------------------------


def _costs(architecture: Architecture, by: str, sequence_length: int) -> tuple[list[float], float, float]:
    """The cost of every block, of what stands before them, and of what stands behind them."""
    check_choice("by", by, BY)
    if by == "parameters":
        counts = parameters(architecture)
        blocks: list[float] = list(counts.by_block)
        return blocks, counts.embedding, counts.total - counts.embedding - sum(counts.by_block)
    return _block_flops(flops(architecture, sequence_length=sequence_length))


def _block_flops(counted: Flops) -> tuple[list[float], float, float]:
    costs: list[float] = [0] * len(counted.architecture.pattern.blocks)
    last: float = 0
    for part in counted.parts:
        if part.depth is None and part.block is not None:
            costs[part.block] += part.forward + part.backward
        else:
            # The embedding costs no arithmetic: everything that is no block is behind them.
            last += part.forward + part.backward
    return costs, 0, last
