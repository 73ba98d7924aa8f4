"""Rows by the part of the model that they belong to, given back in the order of the model. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass
class Parts[Row]:
    """The weights first, then each optimizer state; in each the main model, then the MTP depths; in each of these the parts.

    Rows of one part stay in the order in which they were added.
    """

    rows: dict[str, dict[tuple[int, int], list[Row]]] = field(default_factory=dict)

    def of(self, state: str, depth: int, part: int) -> list[Row]:
        """The rows of one part, to add to; `state` is "" or an optimizer state's prefix."""
        return self.rows.setdefault(state, {}).setdefault((depth, part), [])

    def in_order(self, states: Iterable[str]) -> Iterator[Row]:
        """Every row; `states` in the order in which they are to come, the weights before them."""
        for state in sorted(states, key=bool):
            parts = self.rows.get(state, {})
            for place in sorted(parts):
                yield from parts[place]
