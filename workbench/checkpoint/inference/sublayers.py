"""Canonical names sorted by the sub-layer they belong to, and the pattern that they spell. Pure: names and shapes only.

Made for a hundred thousand names: each is looked at once, and layers that are alike are one object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from workbench.checkpoint.kinds import symbols_held
from workbench.checkpoint.places import MOST_LAYERS, locate
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import symbol_of

type Shape = tuple[int, ...]
type Shapes = Mapping[str, Shape]
type Key = tuple[int | None, int]  # MTP depth (None in the main model), index within it

_MOST_DEPTHS = 1000


@dataclass(frozen=True)
class Sorted:
    """`layers` holds the shapes of each sub-layer by names relative to it, `outside` the rest by whole names."""

    layers: Mapping[Key, Shapes]
    outside: Shapes
    symbols: Mapping[Key, str] = field(default_factory=dict)  # what each layer holds: "M", "*-" for a fused block, ""

    @cached_property
    def _by_depth(self) -> Mapping[int | None, list[int]]:
        found: dict[int | None, list[int]] = {}
        for depth, index in self.layers:
            found.setdefault(depth, []).append(index)
        return {depth: sorted(indices) for depth, indices in found.items()}

    @property
    def main(self) -> list[int]:
        """Indices of the main model's sub-layers, sorted."""
        return self.of_depth(None)

    @property
    def depths(self) -> list[int]:
        """MTP depths that have sub-layers, sorted."""
        return sorted(depth for depth in self._by_depth if depth is not None)

    def of_depth(self, depth: int | None) -> list[int]:
        """Indices of the sub-layers of a depth, sorted."""
        return self._by_depth.get(depth, [])

    def text(self, depth: int | None) -> str:
        """The symbols of a depth one after the other; "?" for a layer that is of no kind or of two."""
        held = (self.symbols[depth, index] for index in self.of_depth(depth))
        return "".join(symbols if len(symbols) == 1 else "?" for symbols in held)


@dataclass(frozen=True)
class Spelled:
    """The pattern that names spell, None where they spell none; `problems` are sentences that say why, or what is odd."""

    pattern: Pattern | None
    problems: tuple[str, ...] = ()


def by_sublayer(names: Shapes) -> Sorted:
    """Canonical name → shape, sorted by sub-layer."""
    layers: dict[Key, dict[str, Shape]] = {}
    outside: dict[str, Shape] = {}
    for name, shape in names.items():
        place = locate(name)
        if place.index is None:
            outside[name] = shape
        else:
            layers.setdefault((place.depth, place.index), {})[place.rest] = shape
    kinds: dict[frozenset[str], str] = {}
    symbols = {}
    for key, held in layers.items():
        alike = frozenset(held)
        if alike not in kinds:
            kinds[alike] = symbols_held(alike)
        symbols[key] = kinds[alike]
    return Sorted(layers, outside, symbols)


def spelled(found: Sorted) -> Spelled:
    """The pattern of a sorted checkpoint, without brackets; sub-layers must be numbered from 0 without a gap."""
    if len(found.layers) > MOST_LAYERS:
        return Spelled(None, (f"it has {len(found.layers):,} sub-layers: no model has more than {MOST_LAYERS:,}",))
    problems = [*_gaps(found), *_kinds(found)]
    text = found.text(None)
    depths = found.depths
    if depths:
        spellings = {found.text(depth) for depth in depths}
        if len(spellings) > 1:
            listed = ", ".join(f"/{found.text(depth)}" for depth in depths[:4])
            problems.append(f"its MTP depths differ ({listed}): a pattern says one for all")
        if depths != list(range(len(depths))) or len(depths) > _MOST_DEPTHS:
            problems.append(f"its MTP depths are numbered {ranges(depths)}, not from 0 without a gap")
        text += "".join(f"/{found.text(depth)}" for depth in depths[:_MOST_DEPTHS])
    if problems or not found.layers:
        return Spelled(None, tuple(problems))
    try:
        return Spelled(Pattern(text))
    except WorkbenchError as error:
        messages = "; ".join(entry.message for entry in getattr(error, "diagnostics", ()))
        return Spelled(None, (f"its sub-layers spell {text[:200]}, which is no pattern: {messages or error}",))


def _gaps(found: Sorted) -> Iterable[str]:
    for depth in (None, *found.depths):
        indices = found.of_depth(depth)
        if indices != list(range(len(indices))):
            where = "its sub-layers" if depth is None else f"the sub-layers of its MTP depth {depth + 1}"
            yield f"{where} are numbered {ranges(indices)}, not from 0 without a gap: a part of a model, or damaged"


def _kinds(found: Sorted) -> Iterable[str]:
    wrong = [(key, symbols) for key, symbols in found.symbols.items() if len(symbols) != 1]
    for (depth, index), symbols in sorted(wrong, key=lambda entry: (entry[0][0] or -1, entry[0][1]))[:4]:
        where = f"sub-layer {index}" if depth is None else f"MTP depth {depth + 1}, sub-layer {index}"
        if symbols:
            yield f"{where} holds {' and '.join(symbol_of(each).name for each in symbols)} under one number"
        else:
            yield f"{where} is of no kind that is known: it holds {', '.join(sorted(found.layers[depth, index])[:4])}"
    if len(wrong) > 4:
        yield f"and {len(wrong) - 4} more sub-layers of no single kind"


def ranges(numbers: list[int]) -> str:
    """Sorted numbers with runs folded.

    >>> ranges([0, 1, 2, 5, 7, 8])
    '0–2, 5, 7–8'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [f"{low}–{high}" if high > low else f"{low}" for low, high in runs]
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")
