"""Sums by kind: every layer kind of the main model, what stands around the layers, and all of multi-token prediction. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

MTP = "mtp"


class HasKind(Protocol):
    """A part of a model."""

    @property
    def kind(self) -> str:
        """A layer kind ("mamba"), or what stands around the layers ("output layer")."""

    @property
    def depth(self) -> int | None:
        """The MTP depth, from 0; None in the main model."""


def sums_by_kind[P: HasKind, N: (int, float)](parts: Iterable[P], value: Callable[[P], N]) -> dict[str, N]:
    """The sum of a value over the parts of each kind, in order of appearance; all of MTP is under "mtp"."""
    found: dict[str, N] = {}
    for part in parts:
        kind = part.kind if part.depth is None else MTP
        found[kind] = found.get(kind, 0) + value(part)
    return found
