"""The parts of a model as they run, each with its terms and their values. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from workbench.arch.architecture import Architecture, Part
from workbench.cost.flop_terms import MTP_PROJECTION, OUTPUT_LAYER, Term, Terms, terms_of
from workbench.cost.formulas import float_or_int

_OUTSIDE: dict[str, Terms] = {"output layer": OUTPUT_LAYER, "MTP projection": MTP_PROJECTION}


@dataclass(frozen=True)
class TermFlops:
    """A term with its formula as people write it, its source, and its FLOPs a token: forward, and in the backward pass.

    A `training_only` term is in the forward pass of training, not in that of inference. `letters` are the formula's, with
    the values that were put in.
    """

    name: str
    formula: str
    source: str
    forward: float
    backward: float
    training_only: bool
    letters: dict[str, float] = field(repr=False, hash=False)


@dataclass(frozen=True)
class PartFlops:
    """A part of the model as it runs: an MTP layer that every depth shares is there once a depth.

    `kind`, `stage` and `depth` are those of `workbench.arch.architecture.Part`; a part without terms costs nothing.
    """

    name: str
    kind: str
    stage: int
    depth: int | None
    terms: tuple[TermFlops, ...]
    block: int | None = None

    @property
    def forward(self) -> float:
        """FLOPs a token of a forward pass in training."""
        return total(term.forward for term in self.terms)

    @property
    def backward(self) -> float:
        """FLOPs a token of the backward pass."""
        return total(term.backward for term in self.terms)

    @property
    def prefill(self) -> float:
        """FLOPs a token of a forward pass in inference."""
        return total(term.forward for term in self.terms if not term.training_only)

    def to_json(self) -> dict[str, Any]:
        """Everything but the values of letters, which are those of the whole model (`workbench.cost.legend`)."""
        data = asdict(self) | {"forward": self.forward, "backward": self.backward}
        for term in data["terms"]:
            del term["letters"]
        return data


def executed_parts(architecture: Architecture) -> tuple[Part, ...]:
    """The parts in the order in which they run, each as often as it runs.

    Every MTP depth runs its layers, its own or shared ones, and the output layer (multi_token_prediction.py:841).
    """
    main = [part for part in architecture.parts if part.depth is None]
    mtp = architecture.pattern.mtp
    output = next(part for part in main if part.kind == "output layer")
    for depth in range(mtp.depths if mtp else 0):
        built = min(depth, architecture.built_depths - 1)
        layers = [replace(part, depth=depth) for part in architecture.parts if part.depth == built]
        main += [*layers, replace(output, depth=depth)]
    return tuple(main)


def priced(
    parts: Iterable[Part],
    form: str,
    letters_by_symbol: dict[str, dict[str, float]],
    letters: dict[str, float],
    *,
    without_training: bool = False,
) -> tuple[PartFlops, ...]:
    """The parts with the terms of a form; `letters` are those of what is not a layer.

    `without_training` leaves out the backward pass and what serves a loss.
    """
    known: dict[str, tuple[TermFlops, ...]] = {}  # a model of a hundred layers has a handful of kinds
    found = []
    for part in parts:
        symbol = part.layer.symbol if part.layer else part.kind
        if symbol not in known:
            terms = terms_of(symbol, form) if part.layer else _OUTSIDE.get(part.kind, ())
            values = letters_by_symbol[symbol] if part.layer else letters
            known[symbol] = tuple(
                _term_flops(term, values, without_training)
                for term in terms
                if not (without_training and term.training_only)
            )
        block = part.block.index if part.block else None
        found.append(PartFlops(part.name, part.kind, part.stage, part.depth, known[symbol], block))
    return tuple(found)


def _term_flops(term: Term, letters: dict[str, float], without_training: bool) -> TermFlops:
    backward_only = term.forward.text == "0"
    told = term.backward if backward_only else term.forward
    return TermFlops(
        name=term.name,
        formula=f"backward only: {told.shown}" if backward_only else told.shown,
        source=term.source,
        forward=term.forward.value(letters),
        backward=0 if without_training else term.backward.value(letters),
        training_only=term.training_only,
        letters=told.given(letters),
    )


def total(values: Iterable[float]) -> float:
    """The sum, a whole number as `int`."""
    return float_or_int(sum(values))
