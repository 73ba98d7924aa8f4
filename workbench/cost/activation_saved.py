"""`Saved`: one row of what the backward pass keeps, as a formula for its bytes, and what divides or drops it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from workbench.cost.formulas import Formula

Divided = Literal["tp", "sp", "none"]


@dataclass(frozen=True)
class Saved:
    """A tensor that is kept from forward to backward.

    `formula` gives bytes. `divided` says which parallelism divides it: "tp" tensor parallelism, "sp" sequence
    parallelism on top of it, "none" neither. `dropped_by` names the selective recomputes that throw it away, `kept_by`
    those that keep it and nothing else does (empty: it is kept without recompute).
    """

    formula: Formula
    divided: Divided
    dropped_by: frozenset[str] = frozenset()
    kept_by: frozenset[str] = frozenset()

    def is_kept(self, recomputed: frozenset[str]) -> bool:
        """Whether it is kept when these modules are recomputed."""
        return not (self.dropped_by & recomputed) and (not self.kept_by or bool(self.kept_by & recomputed))


Rows = tuple[Saved, ...]


def saved(
    name: str,
    bytes_text: str,
    source: str,
    divided: Divided,
    dropped_by: Iterable[str] = (),
    *,
    kept_by: Iterable[str] = (),
) -> Saved:
    """A row of a table of saved tensors."""
    return Saved(Formula(name, bytes_text, source), divided, frozenset(dropped_by), frozenset(kept_by))
