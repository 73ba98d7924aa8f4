"""Where each sub-layer goes in a target layout: the number of its layer, and what shares that layer. Pure: patterns only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from workbench.checkpoint.interop import grouped_refusals, to_gpt_refusals
from workbench.checkpoint.layouts.written import MAIN
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import CHANNEL_MIXERS, symbol_of

Target = Literal["canonical", "fused", "gpt", "grouped"]
TARGETS: tuple[Target, ...] = ("canonical", "fused", "gpt", "grouped")


@dataclass(frozen=True, slots=True)
class Seat:
    """`layer` is the number in the target; `symbols` those of the fused block or GPT layer, "" for a name of its own."""

    layer: int
    symbols: str = ""
    position: int = 0


@dataclass(frozen=True)
class Plan:
    """Seats by (MTP depth or `MAIN`, canonical index), MTP's under depth 0 for every depth; what the final norm is called."""

    seats: dict[tuple[int, int], Seat]
    final_norm: str = "final_norm"

    def seat(self, depth: int, index: int) -> Seat:
        """Every MTP depth is built alike."""
        return self.seats[depth if depth == MAIN else 0, index]


def plan(to: Target, held: Pattern, wanted: Pattern | str | None) -> Plan:
    """Where the sub-layers of `held` go; `wanted` has the brackets, None for every pair that there is.

    Raises `WorkbenchError` with every reason where the target cannot hold them.
    """
    if to == "gpt":
        if refusals := to_gpt_refusals(held):
            raise WorkbenchError(f"{held} is no GPT model's pattern: {'; '.join(refusals)}")
        wanted = held.fused()
    if to == "grouped":
        return _grouped(held, wanted)
    pattern = Pattern(wanted) if wanted is not None else held.fused()
    _check_same(held, pattern)
    seats = {(MAIN, index): seat for index, seat in enumerate(_seats([block.symbols for block in pattern.blocks]))}
    if pattern.mtp is not None:
        blocks = [block.symbols for block in pattern.mtp.blocks]
        seats |= {(0, index): seat for index, seat in enumerate(_seats(blocks))}
    return Plan(seats, "final_layernorm" if to == "gpt" else "final_norm")


# ------------------------------------------------------------------------------------------------------


def _seats(blocks: list[str]) -> Iterator[Seat]:
    for layer, symbols in enumerate(blocks):
        for position in range(len(symbols)):
            yield Seat(layer, symbols if len(symbols) > 1 else "", position)


def _check_same(held: Pattern, wanted: Pattern) -> None:
    """Raise `WorkbenchError` unless both have the same sub-layers; stages and the number of MTP depths are not in the names."""
    for what, mine, theirs in (
        ("", held.symbols, wanted.symbols),
        ("MTP ", _mtp_symbols(held), _mtp_symbols(wanted)),
    ):
        if mine == theirs:
            continue
        at = next(
            (i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), min(len(mine), len(theirs))
        )
        here = symbol_of(mine[at]).name if at < len(mine) else "nothing"
        there = symbol_of(theirs[at]).name if at < len(theirs) else "nothing"
        raise WorkbenchError(
            f"{wanted} is not a pattern of this checkpoint: {what}sub-layer {at} is {here} in it, not {there}"
        )


def _mtp_symbols(pattern: Pattern) -> str:
    return pattern.mtp.symbols if pattern.mtp else ""


def _grouped(held: Pattern, wanted: Pattern | str | None) -> Plan:
    """One layer a group, its members under their own names; brackets of any length, which a `Pattern` has not."""
    if wanted is None:
        main, mtp = held.fused().main, held.unfused().mtp
        text = main + (f"/{mtp}" * mtp.depths if mtp else "")
    else:
        text = str(wanted)
    main, _, mtp_text = text.partition("/")
    if "[" in mtp_text:
        raise WorkbenchError(
            "; ".join(grouped_refusals(Pattern(text))) if isinstance(wanted, Pattern) else _NO_MTP_GROUP
        )
    groups = _groups(main)
    _check_same(held, Pattern(text.replace("[", "").replace("]", "")))
    seats: dict[tuple[int, int], Seat] = {}
    for layer, symbols in enumerate(groups):
        _check_group(symbols)
        for _ in symbols:
            seats[MAIN, len(seats)] = Seat(layer)
    seats |= {(0, index): Seat(index) for index in range(len(_mtp_symbols(held)))}
    return Plan(seats, "final_layernorm" if "[" in main else "final_norm")


_NO_MTP_GROUP = "it has a group in its MTP pattern, which the newer dialect rejects"


def _groups(main: str) -> list[str]:
    """The items of a main pattern with groups of any length: their symbols.

    >>> _groups("[M*-]E|M")
    ['M*-', 'E', 'M']
    """
    groups: list[str] = []
    inside = False
    for character in main:
        if character == "[" and not inside:
            inside = True
            groups.append("")
        elif character == "]" and inside and groups[-1]:
            inside = False
        elif character in "[]" or (character == "|" and inside):
            raise WorkbenchError(f"{main!r} has a bracket out of place: a group is [symbols], within one stage")
        elif character != "|":
            if inside:
                groups[-1] += character
            else:
                groups.append(character)
    if inside:
        raise WorkbenchError(f"{main!r} has a group that is not closed")
    return groups


def _check_group(symbols: str) -> None:
    """Members of one sort would have the same names, and their order is not in the names."""
    sorts = [0 if symbol == "M" else 2 if symbol in CHANNEL_MIXERS else 1 for symbol in symbols]
    if len(set(sorts)) < len(sorts):
        raise WorkbenchError(
            f"[{symbols}] is no group of the newer dialect: at most one Mamba, one attention or delta net, and one MLP or "
            "mixture of experts share a layer"
        )
    if sorts != sorted(sorts):
        raise WorkbenchError(
            f"[{symbols}] cannot be told from another order by its names: write Mamba, then attention, then the channel mixer"
        )
