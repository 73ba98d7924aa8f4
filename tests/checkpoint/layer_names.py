"""The names of every layer kind in its three layouts: canonical (from the oracle), local, and inside a fused block."""

from __future__ import annotations

import json
from pathlib import Path

from workbench.arch.names import canonical_to_local, fused_prefixes
from workbench.pattern.symbols import CHANNEL_MIXERS, SEQUENCE_MIXERS, SYMBOLS

ORACLE = json.loads((Path(__file__).parents[1] / "contracts" / "data" / "te_state_dict_keys.json").read_text())
CASES = sorted(ORACLE["tp1"])
PAIRS = [mixer + channel for mixer in SEQUENCE_MIXERS for channel in CHANNEL_MIXERS]


def canonical_of_case(case: str) -> list[str]:
    """The weights' names of an oracle case, relative to sub-layer 0."""
    names = ORACLE["tp1"][case]["state_dict"]
    return [
        name.removeprefix("layers.0.")
        for name in names
        if name.startswith("layers.0.") and not name.endswith("_extra_state")
    ]


def canonical_of(symbol: str) -> set[str]:
    """Every name that the oracle has for a kind, whatever the option."""
    cases = [case for case in CASES if case == symbol or case.startswith(f"{symbol}+")]
    return {name for case in cases for name in canonical_of_case(case)}


def local_of(symbol: str) -> set[str]:
    """The same weights as local modules call them."""
    return {canonical_to_local(symbol, name) for name in canonical_of(symbol)}


def fused_of(pair: str) -> dict[str, tuple[int, str]]:
    """Name in a fused block → (sub-layer, local name standing alone), for every weight of both."""
    found = {}
    for fused, (position, alone) in fused_prefixes(pair).items():
        for name in local_of(pair[position]):
            if name.startswith(alone):
                found[fused + name.removeprefix(alone)] = (position, name)
    return found


assert set(SYMBOLS) == {case for case in CASES if len(case) == 1}, "the oracle lacks a kind"
