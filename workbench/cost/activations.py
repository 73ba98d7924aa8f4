"""How many bytes a forward keeps for its backward: block by block, stage by stage, with and without recompute. Pure.

Two implementations, and only one of them was measured:

* "local": megatron's local modules with this project's CPU kernels. `tests/contracts/test_activation_memory.py` holds
  every block to the tensors that autograd saves.
* "te": a GPU with Transformer Engine, flash attention, mamba-ssm and FLA. Derived from papers and sources
  (`workbench.cost.activation_te`), not measured; `Activations.verified` is False.

What is counted: every distinct storage that is saved from forward to backward and is no weight, once, whole even where a
part of it is kept. What is read by several is counted where it is kept first. Bytes are of one micro-batch: a 1F1B
schedule holds those of up to `stages - rank` micro-batches on the pipeline rank `rank` at a time. Routed experts keep by
tokens times experts a token; how these spread over the experts does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from workbench.arch.architecture import ELEMENT_BYTES, Architecture
from workbench.cost.activation_letters import activation_letters
from workbench.cost.activation_local import LOCAL_ROWS
from workbench.cost.activation_outside import (
    ANGLES,
    BLOCK_INPUT,
    MASK,
    embedding_rows,
    final_norm_rows,
    mtp_rows,
    output_rows,
)
from workbench.cost.activation_saved import Divided, Rows, Saved
from workbench.cost.activation_te import TE_ROWS
from workbench.errors import WorkbenchError, check_choice, check_whole
from workbench.pattern.blocks import Block

IMPLEMENTATIONS: dict[str, dict[str, Rows]] = {"te": TE_ROWS, "local": LOCAL_ROWS}
# Upstream also has `moe_act`, which needs grouped GEMM, and `gdn_norm_out`, which hybrid models cannot ask for.
MODULES = ("core_attn", "layernorm", "mla_up_proj", "mlp", "moe", "shared_experts")


@dataclass(frozen=True)
class Recompute:
    """What backward computes again: nothing, every block from its input (`full`), or some `modules` (`MODULES`).

    `full` is megatron's `recompute_granularity="full"` with method "uniform" and one layer a checkpoint: a fused pair is
    one checkpoint and keeps one input, its two sub-layers standing alone keep two.
    """

    full: bool = False
    modules: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        unknown = sorted(self.modules - set(MODULES))
        if unknown:
            raise WorkbenchError(f"recompute: unknown module {', '.join(unknown)}; there are {', '.join(MODULES)}")
        if self.full and self.modules:
            raise WorkbenchError("recompute: full recompute leaves no modules to choose")

    @classmethod
    def of(cls, value: Recompute | str) -> Recompute:
        """A `Recompute`, or its text: "none", "full", or modules separated by commas ("core_attn,mlp")."""
        if isinstance(value, Recompute):
            return value
        if value in ("none", "full"):
            return cls(full=value == "full")
        names = [name.strip() for name in value.split(",")]
        if set(names) - set(MODULES):
            raise WorkbenchError(f"recompute must be none, full, or modules of {', '.join(MODULES)}, not {value!r}")
        return cls(modules=frozenset(names))

    def __str__(self) -> str:
        return "full" if self.full else ",".join(sorted(self.modules)) or "none"


@dataclass(frozen=True)
class Term:
    """One row that is kept: what it is, how its bytes are computed, where that comes from, and the bytes on one rank.

    `letters` are the formula's, with the values that were put in; the formula gives bytes before they are divided.
    """

    name: str
    formula: str
    source: str
    bytes: int
    divided: Divided
    letters: dict[str, float] = field(repr=False, hash=False)


@dataclass(frozen=True)
class Kept:
    """What one piece of the model keeps: a block, or what lies outside of them.

    `what` is "block", "shared", "embedding", "final norm", "output layer" or "MTP projection". `index` and `symbols` are
    a block's, within the main pattern or, with a `depth` (from 0), within MTP's. `input_bytes` is the size of a block's
    input, which full recompute keeps instead of all else.
    """

    what: str
    stage: int
    terms: tuple[Term, ...]
    index: int | None = None
    symbols: str = ""
    depth: int | None = None
    input_bytes: int = 0

    @property
    def bytes(self) -> int:
        """Bytes of one micro-batch on one rank."""
        return sum(term.bytes for term in self.terms)


@dataclass(frozen=True)
class Activations:
    """What a model keeps of one micro-batch. `verified` says whether these formulas were measured on real modules."""

    pieces: tuple[Kept, ...]
    stages: int
    implementation: str
    recompute: Recompute
    verified: bool

    @property
    def blocks(self) -> tuple[Kept, ...]:
        """The blocks of the main pattern, in order."""
        return tuple(piece for piece in self.pieces if piece.what == "block" and piece.depth is None)

    @property
    def by_stage(self) -> tuple[int, ...]:
        """Bytes of one micro-batch on each pipeline stage."""
        return tuple(sum(piece.bytes for piece in self.pieces if piece.stage == stage) for stage in range(self.stages))

    @property
    def total(self) -> int:
        """Bytes of one micro-batch on all stages together."""
        return sum(piece.bytes for piece in self.pieces)

    def to_json(self) -> dict[str, Any]:
        """Everything but the terms' sources."""
        return {
            "implementation": self.implementation,
            "verified": self.verified,
            "recompute": str(self.recompute),
            "total_bytes": self.total,
            "stage_bytes": list(self.by_stage),
            "block_bytes": [block.bytes for block in self.blocks],
            "outside_bytes": self.total - sum(block.bytes for block in self.blocks),
        }


def activation_terms(symbol: str, implementation: str = "te") -> Rows:
    """The rows of one layer kind, also those that an option or a recompute switches off; `WorkbenchError` for no such."""
    tables = _tables(implementation)
    if symbol not in tables:
        raise WorkbenchError(f"no layer kind {symbol!r}; the kinds are {' '.join(tables)}")
    return tables[symbol]


def activation_bytes(
    architecture: Architecture,
    *,
    sequence_length: int,
    micro_batch: int = 1,
    implementation: str = "te",
    recompute: Recompute | str = "none",
    tensor_parallel: int = 1,
    sequence_parallel: bool = False,
) -> Activations:
    """What a forward of `micro_batch` sequences of `sequence_length` tokens keeps on one tensor-parallel rank.

    Dropout is that of the sizes. Tensor parallelism divides what lies between the column- and the row-parallel linear,
    sequence parallelism the rest of the residual path (Korthikanti et al., section 4.2). Raises `WorkbenchError`, which
    names the argument.
    """
    check_whole("sequence_length", sequence_length)
    check_whole("micro_batch", micro_batch)
    check_whole("tensor_parallel", tensor_parallel)
    counting = _Counting(
        architecture, sequence_length, micro_batch, implementation, _tables(implementation), Recompute.of(recompute),
        tensor_parallel, sequence_parallel,
    )  # fmt: skip
    return Activations(
        pieces=tuple(counting.pieces()),
        stages=len(architecture.pattern.stages),
        implementation=implementation,
        recompute=counting.recompute,
        verified=implementation == "local" and tensor_parallel == 1,
    )


# ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Counting:
    architecture: Architecture
    sequence_length: int
    micro_batch: int
    implementation: str
    tables: dict[str, Rows]
    recompute: Recompute
    tensor_parallel: int
    sequence_parallel: bool

    def pieces(self) -> Iterator[Kept]:
        pattern, local = self.architecture.pattern, self.implementation
        last = len(pattern.stages) - 1
        mtp = pattern.mtp
        for stage, blocks in enumerate(pattern.stages):
            if stage == 0:
                yield Kept("embedding", 0, self._terms(embedding_rows(local)))
            for block, following in zip(blocks, (*blocks, None)[1:], strict=True):
                yield self._block(block, following, stage, None)
            here = [*blocks, *(mtp.blocks if mtp and stage == last else ())]
            if shared := self._terms(self._shared({layer.symbol for block in here for layer in block.layers})):
                yield Kept("shared", stage, shared)
        yield Kept("final norm", last, self._terms(final_norm_rows(local)))
        yield Kept("output layer", last, self._terms(output_rows(mtp.depths if mtp else 0)))
        for depth in range(mtp.depths if mtp else 0):
            assert mtp is not None, "there are depths only with MTP"
            yield Kept("MTP projection", last, self._terms(mtp_rows(local, full=self.recompute.full)), depth=depth)
            if not self.recompute.full:
                for block, following in zip(mtp.blocks, (*mtp.blocks[1:], None), strict=True):
                    yield self._block(block, following, last, depth)

    def _block(self, block: Block, following: Block | None, stage: int, depth: int | None) -> Kept:
        once = self._terms(BLOCK_INPUT)
        if self.recompute.full:
            terms = once
        else:
            slot = not block.fused and (following is None or not self._renorms(following))
            terms = tuple(term for layer in block.layers for term in self._layer(layer.symbol, block, slot))
        return Kept("block", stage, terms, block.index, block.symbols, depth, once[0].bytes)

    def _renorms(self, block: Block) -> bool:
        """Whether the block computes its first norm again, and keeps its input for that; a `MambaLayer` never does."""
        return "layernorm" in self.recompute.modules and (block.fused or block.symbols != "M")

    def _layer(self, symbol: str, block: Block, slot: bool) -> tuple[Term, ...]:
        modules = self.recompute.modules
        if symbol == "M" and not self._renorms(block):
            modules = modules - {"layernorm"}
        return self._terms((row for row in self.tables[symbol] if row.is_kept(modules)), symbol, slot)

    def _shared(self, symbols: set[str]) -> Rows:
        if self.recompute.full:
            # Every checkpoint is handed the same table of angles.
            return ANGLES if "*" in symbols else ()
        masked = self.implementation == "local" and "core_attn" not in self.recompute.modules
        return MASK if masked and symbols & {"*", "+"} else ()

    def _terms(self, rows: Iterable[Saved], symbol: str = "", slot: bool = False) -> tuple[Term, ...]:
        letters = activation_letters(
            self.architecture.sizes,
            symbol=symbol,
            sequence_length=self.sequence_length,
            micro_batch=self.micro_batch,
            width=ELEMENT_BYTES[self.architecture.dtype],
            slot=slot,
        )
        found = ((row.formula, self._share(row, letters), row.divided) for row in rows)
        return tuple(
            Term(formula.name, formula.shown, formula.source, share, divided, formula.given(letters))
            for formula, share, divided in found
            if share
        )

    def _share(self, row: Saved, letters: dict[str, float]) -> int:
        split = row.divided == "tp" or (row.divided == "sp" and self.sequence_parallel)
        return -(-int(row.formula.value(letters)) // (self.tensor_parallel if split else 1))


def _tables(implementation: str) -> dict[str, Rows]:
    check_choice("implementation", implementation, IMPLEMENTATIONS)
    return IMPLEMENTATIONS[implementation]
