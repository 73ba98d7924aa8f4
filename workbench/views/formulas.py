"""Every formula that a cost was computed with as a scene: its text, its result, its source, and what its letters stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from workbench.cost.legend import Letter
from workbench.cost.summary import Cost
from workbench.render import scene
from workbench.views.kinds import kind_name
from workbench.views.numbers import count, operations, size


def formulas(cost: Cost) -> Iterator[scene.Details]:
    """The formulas of FLOPs, activations and inference state, and the letters that they are written in."""
    flops = ((kind_name(part.kind), term, operations(term.forward)) for part in cost.flops.parts for term in part.terms)
    kept = (
        (piece.symbols or piece.what, term, size(term.bytes))
        for piece in cost.activations.pieces
        for term in piece.terms
    )
    state = ((kind_name(layer.kind), term, size(term.bytes)) for layer in cost.state.layers for term in layer.terms)
    yield _details("FLOPs", ("kind", "term", "forward"), flops, "FLOPs a token of one layer of each kind.")
    yield _details(
        "activations",
        ("piece", "what is kept", "bytes"),
        kept,
        "Bytes that one micro-batch keeps in one block of each sort, and around the blocks.",
    )
    yield _details(
        "inference state", ("kind", "what is kept", "bytes"), state, "Bytes a sequence in one layer of each kind."
    )
    yield scene.Details("letters of the formulas", (letters_table(cost.letters),))


def letters_table(letters: Iterable[Letter]) -> scene.Table:
    """What each letter stands for, and its value in this model; one that layer kinds give values of their own has them all."""
    columns = (scene.Column("letter", code=True), scene.Column("what it is"), scene.Column("value", "right"))
    rows = tuple((entry.letter, entry.meaning, _value(entry)) for entry in letters)
    return scene.Table(columns, rows, "Sizes in elements, lengths in tokens.")


# ------------------------------------------------------------------------------------------------------


class _Term(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def formula(self) -> str: ...
    @property
    def source(self) -> str: ...


def _details(
    what: str, labels: tuple[str, str, str], terms: Iterable[tuple[str, _Term, str]], caption: str
) -> scene.Details:
    """A folded table of terms: where each stands, itself, its result. Layers of a kind are alike: the first one speaks."""
    where, name, result = labels
    columns = (
        scene.Column(where),
        scene.Column(name),
        scene.Column("formula", code=True),
        scene.Column(result, "right"),
        scene.Column("source"),
    )
    rows: dict[tuple[str, str], tuple[scene.Cell, ...]] = {}
    for place, term, value in terms:
        rows.setdefault((place, term.name), (place, term.name, term.formula, value, term.source))
    return scene.Details(f"{what}: every formula", (scene.Table(columns, tuple(rows.values()), caption),))


def _value(letter: Letter) -> str:
    if len(letter.values) == 1:
        return _number(letter.values[0][0])
    return ", ".join(f"{_number(value)} ({', '.join(map(kind_name, where))})" for value, where in letter.values)


def _number(value: float) -> str:
    """Exact where it is whole: whoever puts it into a formula gets the result that stands there."""
    return count(value) if isinstance(value, int) else f"{value:,.9g}"
