"""`Architecture`: a pattern and sizes, and with them every weight that the model has, without building it. Pure.

A model is a row of *parts*: the embedding, the sub-layers, the final norm, the output layer, and for every MTP depth
its projection and its sub-layers. Each part knows its canonical prefix, its weights and its pipeline stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar

from workbench.arch.names import canonical_to_local, fused_name
from workbench.arch.needs import check_needs
from workbench.arch.sizes import ModelSizes
from workbench.arch.weights import (
    Rows,
    Weight,
    embedding_weights,
    final_norm_weights,
    layer_weights,
    mtp_weights,
    output_weights,
)
from workbench.errors import check_choice
from workbench.pattern.blocks import Block, SubLayer
from workbench.pattern.model import Pattern

DTYPES = {"bf16": "bfloat16", "fp32": "float32"}
ELEMENT_BYTES = {"bf16": 2, "fp32": 4}
BACKENDS = ("te", "local")


@dataclass(frozen=True)
class Tensor:
    """One entry of a state dict: name, shape in elements, dtype ("bfloat16" or "float32"); a buffer is not `trained`."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    trained: bool = True


@dataclass(frozen=True)
class Part:
    """A piece of the model that lives in one place.

    `kind` is a layer kind ("mamba", …) or "embedding", "final norm", "output layer", "MTP projection". `prefix` is its
    canonical prefix ("decoder.layers.3."), "" for pieces whose rows hold whole names. `stage` counts pipeline stages;
    `depth` counts MTP depths from 0 and is None in the main model. `layer` and `block` are the pattern's.
    """

    kind: str
    prefix: str
    rows: Rows
    stage: int
    depth: int | None = None
    layer: SubLayer | None = None
    block: Block | None = None

    @cached_property
    def parameters(self) -> int:
        """Trained elements."""
        return sum(row.elements for row in self.rows if row.trained)

    @property
    def name(self) -> str:
        """What people call it: "sub-layer 3 (Mamba-2)", "MTP depth 1, sub-layer 0 (self-attention)"."""
        where = "" if self.depth is None else f"MTP depth {self.depth + 1}, "
        return f"{where}sub-layer {self.layer.index} ({self.layer.name})" if self.layer else f"{where}{self.kind}"

    @property
    def position(self) -> int:
        """0 or 1: which half of its block a sub-layer is."""
        assert self.layer is not None, "only sub-layers have a place in a block"
        assert self.block is not None, "only sub-layers have a block"
        return self.layer.index - self.block.sublayers[0]


class Architecture:
    """A pattern with sizes: `Architecture("M[*-]", ModelSizes(hidden_size=128))`. Immutable, equal by what it holds.

    `dtype` is that of the weights, "bf16" or "fp32"; some stay in fp32. Raises `PatternError`, and `SizesError` when a
    layer kind of the pattern has sizes that are `None`, or the vocabulary is.
    """

    # How a notebook shows an architecture; the views set it (`workbench/__init__.py`).
    view: ClassVar[Callable[[Architecture], dict[str, str]] | None] = None

    def __init__(self, pattern: Pattern | str, sizes: ModelSizes | None = None, *, dtype: str = "bf16") -> None:
        check_choice("dtype", dtype, DTYPES)
        self.pattern, self.sizes, self.dtype = Pattern(pattern), sizes or ModelSizes(), dtype
        check_needs(self.pattern, self.sizes)
        self.sizes.vocabulary  # noqa: B018  (raises where it is not known)

    # -------------------------------------------------------------------------------------- the parts

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Every part, in the order of the model: embedding, sub-layers, final norm, output layer, MTP."""
        last = len(self.pattern.stages) - 1
        found = [Part("embedding", "", embedding_weights(self.sizes), 0)]
        for stage, blocks in enumerate(self.pattern.stages):
            found += self._layers(blocks, "decoder.", stage, None)
        found.append(Part("final norm", "", final_norm_weights(self.sizes), last))
        found.append(Part("output layer", "", output_weights(self.sizes), last))
        for depth in range(self.built_depths):
            prefix = f"mtp.layers.{depth}."
            found.append(Part("MTP projection", prefix, mtp_weights(self.sizes), last, depth))
            assert self.pattern.mtp is not None, "there are depths to build only with MTP"
            found += self._layers(self.pattern.mtp.blocks, f"{prefix}mtp_model_layer.", last, depth)
        return tuple(found)

    @property
    def built_depths(self) -> int:
        """MTP depths that have weights of their own: one where every depth runs the same."""
        if self.pattern.mtp is None:
            return 0
        return 1 if self.sizes.mtp_use_repeated_layer else self.pattern.mtp.depths

    @cached_property
    def stages(self) -> tuple[tuple[Part, ...], ...]:
        """The parts of each pipeline stage; the first has the embedding too, the last all that is behind the layers.

        A stage that runs tied output or MTP beside the first holds a copy of the embedding, which is not listed again.
        """
        return tuple(
            tuple(part for part in self.parts if part.stage == stage) for stage in range(len(self.pattern.stages))
        )

    @cached_property
    def sublayers(self) -> tuple[Part, ...]:
        """The parts that are sub-layers of the main pattern, by canonical index."""
        return tuple(part for part in self.parts if part.layer is not None and part.depth is None)

    @cached_property
    def blocks(self) -> tuple[tuple[Part, ...], ...]:
        """The main pattern's blocks, each the parts of its one or two sub-layers."""
        return tuple(tuple(self.sublayers[index] for index in block.sublayers) for block in self.pattern.blocks)

    @property
    def parameters(self) -> int:
        """Trained elements of the whole model, MTP included, a tied output layer counted once."""
        return sum(part.parameters for part in self.parts)

    # ------------------------------------------------------------------------------------- state dicts

    def canonical(self) -> tuple[Tensor, ...]:
        """Every entry of the canonical state dict (Transformer Engine names, nothing fused), buffers included."""
        return tuple(
            self.tensor(f"{part.prefix}{weight.name}", weight) for part in self.parts for weight in _each(part.rows)
        )

    def built(self, backend: str = "te") -> tuple[Tensor, ...]:
        """Every entry of `state_dict()` of a model built from this pattern, fused as it is fused, on one rank.

        `backend` is "te" or "local". Extra states of Transformer Engine modules are left out: they hold no weights.
        """
        return tuple(tensor for tensor, _ in self.built_and_canonical(backend))

    def built_and_canonical(
        self, backend: str = "te", parts: Iterable[Part] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(entry of a built model, the same in the canonical layout), in the order of `canonical`; of all or some parts."""
        check_choice("backend", backend, BACKENDS)
        for part in self.parts if parts is None else parts:
            for weight in _each(part.rows):
                canonical = self.tensor(f"{part.prefix}{weight.name}", weight)
                yield self.tensor(_built_name(part, weight.name, backend), weight), canonical

    # ------------------------------------------------------------------------------------------------

    def _layers(self, blocks: tuple[Block, ...], prefix: str, stage: int, depth: int | None) -> Iterator[Part]:
        for block in blocks:
            for layer in block.layers:
                rows = _layer_rows(layer.symbol, self.sizes)
                yield Part(layer.kind, f"{prefix}layers.{layer.index}.", rows, stage, depth, layer, block)

    def tensor(self, name: str, weight: Weight) -> Tensor:
        """A row of weights as an entry of a state dict under `name`, in the dtype that this model has it in."""
        dtype = "float32" if weight.dtype == "fp32" else DTYPES[self.dtype]
        return Tensor(name, weight.shape, dtype, weight.trained)

    def __repr__(self) -> str:
        return f"Architecture({str(self.pattern)!r}, hidden_size={self.sizes.hidden_size}, dtype={self.dtype!r})"

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, Architecture) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[Pattern, ModelSizes, str]:
        return self.pattern, self.sizes, self.dtype

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if Architecture.view is None:
            return {"text/plain": repr(self)}
        return Architecture.view(self)


@lru_cache(maxsize=256)
def _layer_rows(symbol: str, sizes: ModelSizes) -> Rows:
    """All layers of a kind are alike: a model of a hundred of them has a handful of rows."""
    return layer_weights(symbol, sizes)


def _each(rows: Rows) -> Iterator[Weight]:
    for row in rows:
        yield from row.each()


def _built_name(part: Part, name: str, backend: str) -> str:
    """The live name of a tensor: blocks are numbered by themselves, and hold their sub-layers under their own names."""
    if part.layer is None or part.block is None:
        return part.prefix + name
    if backend == "local":
        name = canonical_to_local(part.layer.symbol, name)
    name = fused_name(part.block.symbols, part.position, name)
    prefix = part.prefix.removesuffix(f"{part.layer.index}.")
    return f"{prefix}{part.block.index}.{name}"
