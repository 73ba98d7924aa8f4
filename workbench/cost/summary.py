"""`estimate`: everything that an architecture costs, in one result. Pure; milliseconds for a model of any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from workbench.arch.architecture import Architecture
from workbench.cost.activations import Activations, Recompute, activation_bytes
from workbench.cost.balance import Balance
from workbench.cost.flops import Flops, FlopsAtLength, flops, flops_at_lengths
from workbench.cost.legend import Letter, letters_used
from workbench.cost.parameters import Parameters, parameters
from workbench.cost.ranks import Parallel, RankMemory, rank_memory, stages_of
from workbench.cost.stages import counted_stages, staged
from workbench.cost.state import InferenceState, inference_state
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

SCHEMA = "workbench.cost/1"
LENGTHS = (1024, 4096, 16384, 65536, 262144)  # tokens, for the table of FLOPs


@dataclass(frozen=True)
class PipelineRank:
    """One pipeline rank's memory in bytes: what is always there, and the activations of the micro-batches in flight."""

    memory: RankMemory
    activation_bytes: int
    in_flight: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Weights, gradients, optimizer state and activations."""
        return self.memory.bytes + self.activation_bytes


@dataclass(frozen=True)
class Cost:
    """What an architecture costs; see `estimate`. Every part is a result of its own, with its formulas and sources."""

    # How a notebook shows a cost; the views set it (`workbench/__init__.py`).
    view: ClassVar[Callable[[Cost], dict[str, str]] | None] = None

    architecture: Architecture
    sequence_length: int
    micro_batch: int
    parallel: Parallel
    distributed_optimizer: bool
    parameters: Parameters
    flops: Flops
    activations: Activations
    state: InferenceState
    ranks: tuple[PipelineRank, ...]
    stages: Balance

    @property
    def flops_per_token(self) -> float:
        """Training FLOPs of one token: forward, backward, and what is recomputed."""
        return self.flops.training_per_token

    @cached_property
    def by_length(self) -> tuple[FlopsAtLength, ...]:
        """FLOPs a token at several lengths, up to a million tokens."""
        return flops_at_lengths(
            self.architecture, sorted({*LENGTHS, self.sequence_length}), recompute=self.flops.recompute
        )

    @cached_property
    def letters(self) -> tuple[Letter, ...]:
        """The letters of every formula of FLOPs, activations and inference state, with their values."""
        pieces = self.activations.pieces
        return letters_used(
            (
                *((part.kind, term.letters) for part in self.flops.parts for term in part.terms),
                *((piece.symbols or piece.what, term.letters) for piece in pieces for term in piece.terms),
                *((layer.kind, term.letters) for layer in self.state.layers for term in layer.terms),
            )
        )

    def to_json(self) -> dict[str, Any]:
        """Everything, under stable names; bytes and FLOPs are whole numbers where they are exact."""
        return {
            "schema": SCHEMA,
            "pattern": str(self.architecture.pattern),
            "dtype": self.architecture.dtype,
            "sizes": self.architecture.sizes.to_json(),
            "parameters": self.parameters.to_json(),
            "flops_per_token": self.flops_per_token,
            "flops": self.flops.to_json(),
            "flops_by_length": [vars(entry) for entry in self.by_length],
            "memory": self._memory(),
            "stages": self.stages.to_json(),
            "letters": [letter.to_json() for letter in self.letters],
        }

    def _memory(self) -> dict[str, Any]:
        parallel = {
            name: getattr(self.parallel, name)
            for name in ("tensor", "pipeline", "expert", "experts_tensor", "data", "ranks")
        }
        return {
            "parallel": parallel,
            "distributed_optimizer": self.distributed_optimizer,
            "sequence_length": self.sequence_length,
            "micro_batch": self.micro_batch,
            "pipeline_ranks": [
                {
                    "rank": entry.memory.pipeline_rank,
                    "stages": list(entry.memory.stages),
                    "parameters": entry.memory.parameters,
                    "weight_bytes": entry.memory.weight_bytes,
                    "gradient_bytes": entry.memory.gradient_bytes,
                    "optimizer_bytes": entry.memory.optimizer_bytes,
                    "activation_bytes": entry.activation_bytes,
                    "micro_batches_in_flight": list(entry.in_flight),
                    "total_bytes": entry.bytes,
                }
                for entry in self.ranks
            ],
            "activations": self.activations.to_json(),
            "inference_state": self.state.to_json(),
        }

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if Cost.view is None:
            return {"text/plain": repr(self)}
        return Cost.view(self)


def estimate(
    architecture: Architecture | Pattern | str,
    *,
    sequence_length: int = 8192,
    micro_batch: int = 1,
    parallel: Parallel | None = None,
    recompute: Recompute | str = "none",
    distributed_optimizer: bool = True,
) -> Cost:
    """Everything that an architecture costs: parameters, FLOPs, memory, stages. Nothing is built.

    `sequence_length` is in tokens, `micro_batch` in sequences. Without `parallel` there is one rank a stage. A pattern
    without `|` on several pipeline ranks is split evenly, as Megatron does. Activations are those of a GPU with
    Transformer Engine (`Activations.verified` is False), as many as a 1F1B schedule holds at once. Raises
    `WorkbenchError` (its subclasses for patterns and sizes) that names what does not fit.
    """
    if not isinstance(architecture, Architecture):
        architecture = Architecture(architecture)
    if not architecture.pattern.sublayers:
        raise WorkbenchError("an empty pattern has no layers: there is nothing to count")
    parallel = parallel or Parallel(pipeline=len(architecture.pattern.stages))
    architecture = staged(architecture, parallel.pipeline)
    recompute = Recompute.of(recompute)
    kept = activation_bytes(
        architecture,
        sequence_length=sequence_length,
        micro_batch=micro_batch,
        recompute=recompute,
        tensor_parallel=parallel.tensor,
        # Megatron asks for it beside experts and tensor parallelism (transformer/moe/moe_layer.py:630), and users rarely
        # run tensor parallelism without.
        sequence_parallel=parallel.tensor > 1,
    )
    memory = rank_memory(architecture, parallel, distributed_optimizer=distributed_optimizer)
    counted = flops(architecture, sequence_length=sequence_length, recompute="full" if recompute.full else "none")
    return Cost(
        architecture=architecture,
        sequence_length=sequence_length,
        micro_batch=micro_batch,
        parallel=parallel,
        distributed_optimizer=distributed_optimizer,
        parameters=parameters(architecture),
        flops=counted,
        activations=kept,
        state=inference_state(architecture, context_length=sequence_length),
        ranks=tuple(_rank(entry, architecture, parallel, kept) for entry in memory),
        stages=counted_stages(counted),
    )


def in_flight(parallel: Parallel, rank: int, virtual: int) -> tuple[int, ...]:
    """Micro-batches whose activations a pipeline rank holds at once, for each of its `virtual` stages, at the peak.

    1F1B holds `pipeline - rank`. Interleaved, a rank runs (pipeline - rank - 1)·2 + (virtual - 1)·pipeline forwards
    before its first backward, and then one more, `pipeline` of each stage in turn
    (megatron/core/pipeline_parallel/schedules.py, `get_pp_rank_microbatches`). There are micro-batches enough.
    """
    if virtual == 1:
        return (parallel.pipeline - rank,)
    forwards = (parallel.pipeline - rank - 1) * 2 + (virtual - 1) * parallel.pipeline + 1
    turns = [number // parallel.pipeline % virtual for number in range(forwards)]
    return tuple(turns.count(stage) for stage in range(virtual))


def _rank(memory: RankMemory, architecture: Architecture, parallel: Parallel, kept: Activations) -> PipelineRank:
    stages = stages_of(architecture, parallel, memory.pipeline_rank)
    flying = in_flight(parallel, memory.pipeline_rank, len(stages))
    total = sum(kept.by_stage[stage] * number for stage, number in zip(stages, flying, strict=True))
    return PipelineRank(memory, total, flying)
