"""What was found out about a checkpoint, as frozen data: the views show it, the command line prints it. Pure: no numpy, no torch.

`workbench.checkpoint.inspect` makes these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from workbench.arch.sizes import ModelSizes
from workbench.checkpoint.interop import Option
from workbench.checkpoint.plain import plain
from workbench.pattern.model import Pattern

SCHEMA = "workbench.inspect/1"
FROM_SHAPES = "names and shapes"
_FIELDS = frozenset(entry.name for entry in dataclasses.fields(ModelSizes))


@dataclass(frozen=True)
class Size:
    """A size that is known: a field of `ModelSizes`, or "padded_vocabulary" or "gated", which follow from several.

    `source` is "names and shapes", or what of the checkpoint says it ("config.json"); `evidence` is the tensor or the field
    that shows it.
    """

    name: str
    value: Any
    source: str = FROM_SHAPES
    evidence: str = ""


@dataclass(frozen=True)
class Unknown:
    """A size that cannot be known, why, and what is proven of it all the same ("" where nothing is)."""

    name: str
    reason: str
    equation: str = ""


@dataclass(frozen=True)
class TensorGroup:
    """Tensors that a person reads as one row: the same name in consecutive sub-layers of one kind, with one shape and dtype.

    `place` is "layers 0–51" or "embedding"; `tensors` counts them, `elements` those of all of them.
    """

    place: str
    symbol: str | None
    name: str
    shape: tuple[int, ...]
    dtype: str
    tensors: int
    elements: int


@dataclass(frozen=True)
class Parameters:
    """Trained elements: `total`, and `by_kind` of layer ("mamba"), of "mtp", and of what stands around the layers.

    `buffers` are elements that are in a checkpoint and are not trained. Tensors that no rule knows are in neither.
    """

    total: int
    by_kind: Mapping[str, int]
    buffers: int = 0


@dataclass(frozen=True)
class OptimizerStates:
    """States of an optimizer beside the weights: what they are called, how many tensors and bytes."""

    states: tuple[str, ...]
    tensors: int
    nbytes: int


@dataclass(frozen=True)
class Preflight:
    """Whether a checkpoint would load into a model.

    `against` names the model, `pattern` is its. `compared` is "names and shapes", or "layer kinds" where no sizes were given.
    `loads` is False with at least one of `reasons`; `notes` are what to know besides.
    """

    against: str
    pattern: str
    compared: str
    loads: bool
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint is.

    `pattern` is the one whose model has these names, or as near as could be found (`pattern_from` says from what); None where
    the names are of no hybrid model. `tensors`, `nbytes` and `dtypes` (type → tensors) are of
    everything, optimizer states included. `findings` are contradictions: between layers of a kind, between shapes, between
    what the checkpoint says of itself and what it is. `reasons` say what the layout was found out from.
    """

    where: str
    format: str
    layout: str
    form: str
    backend: str | None
    pattern: Pattern | None
    fused_pattern: Pattern | None
    pattern_from: str
    parameters: Parameters
    sizes: tuple[Size, ...]
    unknown: tuple[Unknown, ...]
    tensors: int
    nbytes: int
    dtypes: Mapping[str, int]
    groups: tuple[TensorGroup, ...] = ()
    optimizer: OptimizerStates | None = None
    options: tuple[Option, ...] = ()
    iteration: int | None = None
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    preflight: Preflight | None = None
    unnamed: tuple[str, ...] = ()  # names that no rule knows

    # How a notebook shows it; the package sets it (`workbench/__init__.py`).
    view: ClassVar[Callable[[Inspection], dict[str, str]] | None] = None

    @property
    def known(self) -> dict[str, Any]:
        """Every known size and its value."""
        return {size.name: size.value for size in self.sizes}

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data with a versioned `schema`.

        `sizes` holds the known fields of `ModelSizes`, as `--sizes` takes them; `known` every known size with its source.
        """
        found = plain(self)
        found["known"] = found.pop("sizes")
        return {
            "schema": SCHEMA,
            **found,
            "sizes": {name: value for name, value in self.known.items() if name in _FIELDS},
        }

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self)} if Inspection.view is None else Inspection.view(self)

    def __repr__(self) -> str:
        pattern = "no pattern" if self.pattern is None else repr(str(self.pattern))
        return f"Inspection({self.where!r}, {self.format}, {self.layout}, {pattern}, {self.tensors:,} tensors)"
