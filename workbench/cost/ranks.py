"""What each rank holds under tensor, pipeline, expert and data parallelism: weights, gradients, optimizer state. Pure.

Bytes an element, as Megatron trains with Adam (its guide to the distributed optimizer, "Theoretical memory savings";
`tests/contracts/test_rank_memory.py` measures them on real optimizers):

|      | weight | gradient | optimizer                              |
|------|--------|----------|----------------------------------------|
| bf16 | 2      | 4 (fp32) | 12: fp32 master weight and two moments |
| fp32 | 4      | 4        | 8: two moments                         |

The distributed optimizer divides the last column over the data-parallel ranks. Left out: the few bytes that
Megatron pads its buffers with, and communication buffers. Weights are laid out as Transformer Engine's are: the
down-projections of latent attention, the latent projections of experts, routers and norms are whole on every
tensor-parallel rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from workbench.arch.architecture import ELEMENT_BYTES, Architecture, Part
from workbench.arch.needs import symbols_in
from workbench.arch.weights import Weight
from workbench.errors import WorkbenchError, check_whole
from workbench.pattern.blocks import Segment

OPTIMIZER_BYTES = {"bf16": 12, "fp32": 8}
GRADIENT_BYTES = 4
_BUFFER_BYTES = 4  # the router's balancing bias stays in fp32


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """Parallel sizes in ranks, under Megatron's names without `_model_parallel_size`.

    `data` counts replicas of the dense part. Experts are divided by `expert`, and each of them by `expert_tensor`
    (None: as `tensor`); what is left of the ranks of a pipeline stage replicates them. Raises `WorkbenchError` where
    the ranks do not come out even.
    """

    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    data: int = 1
    expert_tensor: int | None = None

    def __post_init__(self) -> None:
        for name in ("tensor", "pipeline", "expert", "data", "expert_tensor"):
            if name != "expert_tensor" or self.expert_tensor is not None:
                check_whole(f"{name} parallel size", getattr(self, name))
        if self.tensor * self.data % (self.expert * self.experts_tensor):
            raise WorkbenchError(
                f"tensor {self.tensor} × data {self.data} ranks are not a multiple of expert {self.expert} × expert tensor "
                f"{self.experts_tensor}: a stage's ranks must hold whole copies of its experts"
            )

    @property
    def experts_tensor(self) -> int:
        """Ranks that one expert is divided over."""
        return self.tensor if self.expert_tensor is None else self.expert_tensor

    @property
    def expert_data(self) -> int:
        """Copies of each expert in a pipeline stage."""
        return self.tensor * self.data // (self.expert * self.experts_tensor)

    @property
    def ranks(self) -> int:
        """Ranks in all (context parallelism is not counted: it divides no weights)."""
        return self.tensor * self.pipeline * self.data


@dataclass(frozen=True)
class Held:
    """One row of weights as a rank holds it: `weight` has the local shape and copies, `replicas` ranks hold the same."""

    part: Part
    weight: Weight
    replicas: int


@dataclass(frozen=True)
class RankMemory:
    """Bytes on every rank of one pipeline rank (they are alike). `parameters` are the trained elements it holds."""

    pipeline_rank: int
    stages: tuple[int, ...]
    parameters: int
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int

    @property
    def bytes(self) -> int:
        """Weights, gradients and optimizer state together."""
        return self.weight_bytes + self.gradient_bytes + self.optimizer_bytes


def rank_memory(
    architecture: Architecture, parallel: Parallel | None = None, *, distributed_optimizer: bool = True
) -> tuple[RankMemory, ...]:
    """The memory of each pipeline rank; `WorkbenchError` where something cannot be divided, naming it."""
    parallel = parallel or Parallel()
    _check_heads(architecture, parallel.tensor)
    return tuple(_memory(architecture, parallel, rank, distributed_optimizer) for rank in range(parallel.pipeline))


def held(architecture: Architecture, parallel: Parallel, pipeline_rank: int) -> tuple[Held, ...]:
    """Every row of weights that a rank of this pipeline rank holds, shapes and copies divided, in the model's order."""
    return tuple(
        _divided(part, row, parallel) for part in _parts(architecture, parallel, pipeline_rank) for row in part.rows
    )


def stages_of(architecture: Architecture, parallel: Parallel, pipeline_rank: int) -> tuple[int, ...]:
    """The stages that a pipeline rank runs: with S of them on P ranks, every P-th; one without `|`, which is split evenly."""
    stages = len(architecture.pattern.stages)
    return (0,) if stages == 1 else tuple(range(pipeline_rank, stages, parallel.pipeline))


# ------------------------------------------------------------------------------------------------------


def _check_heads(architecture: Architecture, ranks: int) -> None:
    """Tensor parallelism divides heads, not only the rows that they make up."""
    sizes, found = architecture.sizes, symbols_in(architecture.pattern)
    heads = {
        "num_attention_heads": sizes.num_attention_heads if found & {"*", "+", "D"} else None,
        "mamba_num_heads": sizes.mamba_heads if "M" in found else None,
        "mamba_num_groups": sizes.mamba_num_groups if "M" in found else None,
        "gdn_num_key_heads": sizes.gdn_num_key_heads if "G" in found else None,
        "gdn_num_value_heads": sizes.gdn_num_value_heads if "G" in found else None,
    }
    for name, number in heads.items():
        if number is not None and number % ranks:
            raise WorkbenchError(f"{name} {number} cannot be divided over {ranks} tensor-parallel ranks")


def _memory(architecture: Architecture, parallel: Parallel, rank: int, distributed_optimizer: bool) -> RankMemory:
    parameters = buffers = optimizer = 0
    for entry in held(architecture, parallel, rank):
        if not entry.weight.trained:
            buffers += entry.weight.elements
            continue
        parameters += entry.weight.elements
        share = entry.replicas if distributed_optimizer else 1
        optimizer += -(-entry.weight.elements * OPTIMIZER_BYTES[architecture.dtype] // share)
    return RankMemory(
        pipeline_rank=rank,
        stages=stages_of(architecture, parallel, rank),
        parameters=parameters,
        weight_bytes=parameters * ELEMENT_BYTES[architecture.dtype] + buffers * _BUFFER_BYTES,
        gradient_bytes=parameters * GRADIENT_BYTES,
        optimizer_bytes=optimizer,
    )


def _parts(architecture: Architecture, parallel: Parallel, rank: int) -> Iterator[Part]:
    pattern, last = architecture.pattern, rank == parallel.pipeline - 1
    virtual = len(pattern.stages) // parallel.pipeline
    segments: list[Segment] = [
        pattern.segment(rank, parallel.pipeline, number if virtual > 1 else None) for number in range(max(virtual, 1))
    ]
    here = {layer.index for segment in segments for block in segment.blocks for layer in block.layers}
    # The last stage looks tokens up too: for the tied output layer, and for what MTP predicts from.
    looks_up = rank == 0 or (last and (architecture.sizes.tied_embeddings or pattern.mtp is not None))
    for part in architecture.parts:
        if part.kind == "embedding":
            if looks_up:
                yield part
        elif part.layer is not None and part.depth is None:
            if part.layer.index in here:
                yield part
        elif last:
            yield part


def _divided(part: Part, row: Weight, parallel: Parallel) -> Held:
    tensor = parallel.experts_tensor if row.expert else parallel.tensor
    copies, replicas = row.copies, parallel.data
    if row.expert:
        if copies % parallel.expert:
            raise WorkbenchError(f"{copies} experts cannot be divided over {parallel.expert} expert-parallel ranks")
        copies, replicas = copies // parallel.expert, parallel.expert_data
    shape = list(row.shape)
    if row.tp_axis is not None and tensor > 1:
        if shape[row.tp_axis] % tensor:
            raise WorkbenchError(
                f"{part.prefix}{row.name} has {shape[row.tp_axis]} on axis {row.tp_axis}, which cannot be divided over {tensor} "
                f"tensor-parallel ranks{_hint(part)}"
            )
        shape[row.tp_axis] //= tensor
    return Held(part, replace(row, shape=tuple(shape), copies=copies), replicas)


def _hint(part: Part) -> str:
    return "; vocab_multiple pads the vocabulary" if part.kind in ("embedding", "output layer") else ""
