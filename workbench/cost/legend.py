"""The letters that a model's formulas were computed with: what each stands for, and its value. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.cost.letters import LEGEND


@dataclass(frozen=True)
class Letter:
    """A letter, its meaning, and its values, each with the parts of the model that have it: one, or one a layer kind."""

    letter: str
    meaning: str
    values: tuple[tuple[float, tuple[str, ...]], ...]

    def to_json(self) -> dict[str, Any]:
        """The letter and its meaning, and every value with where it holds."""
        values = [{"value": value, "where": list(where)} for value, where in self.values]
        return {"letter": self.letter, "meaning": self.meaning, "values": values}


def letters_used(terms: Iterable[tuple[str, Mapping[str, float]]]) -> tuple[Letter, ...]:
    """The letters of terms, in the order of `LEGEND`; each term is where it stands, and its letters with their values.

    >>> [(entry.letter, entry.values) for entry in letters_used([("mamba", {"c": 128, "h": 8}), ("gdn", {"c": 64})])]
    [('h', ((8, ('mamba',)),)), ('c', ((128, ('mamba',)), (64, ('gdn',))))]
    """
    found: dict[str, dict[float, dict[str, None]]] = {}
    for where, letters in terms:
        for letter, value in letters.items():
            found.setdefault(letter, {}).setdefault(value, {})[where] = None
    return tuple(
        Letter(letter, meaning, tuple((value, tuple(where)) for value, where in found[letter].items()))
        for letter, meaning in LEGEND.items()
        if letter in found
    )
