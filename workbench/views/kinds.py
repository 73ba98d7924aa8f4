"""What people call the kinds that counts are summed under."""

from __future__ import annotations

from workbench.cost.kinds import MTP
from workbench.pattern.symbols import SYMBOLS

_NAMES = {row.kind: row.name for row in SYMBOLS.values()} | {MTP: "multi-token prediction"}


def kind_name(kind: str) -> str:
    """The name of a layer kind; other kinds ("output layer") are words already.

    >>> kind_name("mamba"), kind_name("mtp"), kind_name("output layer")
    ('Mamba-2', 'multi-token prediction', 'output layer')
    """
    return _NAMES.get(kind, kind)
