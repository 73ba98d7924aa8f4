"""Why a checkpoint does not fit a model, in sentences a person can act on. Pure: names and shapes only.

Loading by name fails with hundreds of missing and unexpected keys when one layer is of another kind. Here they are grouped
by sub-layer, and each group is said once: what the model has there, and what the checkpoint holds instead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from workbench.checkpoint.kinds import symbols_held
from workbench.checkpoint.places import Place, describe, locate, symbol_at, words
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import symbol_of

Shape = tuple[int, ...]

# Names shown of a sub-layer whose kind is right but whose tensors differ; the rest is counted.
_SHOWN = 6


class CheckpointMismatch(WorkbenchError):
    """A checkpoint that does not fit a model. `missing` and `unexpected` are canonical names, `shapes` (name, model's,
    checkpoint's)."""

    def __init__(
        self,
        problems: Iterable[str],
        missing: Collection[str],
        unexpected: Collection[str],
        shapes: Collection[tuple[str, Shape, Shape]] = (),
    ) -> None:
        self.missing, self.unexpected, self.shapes = tuple(missing), tuple(unexpected), tuple(shapes)
        super().__init__("the checkpoint does not fit the model:\n  " + "\n  ".join(problems))


def check_names(
    wanted: Mapping[str, Shape], found: Mapping[str, Shape], pattern: Pattern, *, strict: bool = True
) -> None:
    """Raise `CheckpointMismatch` unless the names and shapes `found` are those `wanted` by a model of this pattern.

    Both are canonical name → shape. With `strict=False` missing and unexpected names are allowed; a wrong shape never is.
    """
    missing = sorted(wanted.keys() - found.keys()) if strict else []
    unexpected = sorted(found.keys() - wanted.keys()) if strict else []
    shapes = [
        (name, tuple(wanted[name]), tuple(found[name]))
        for name in sorted(wanted.keys() & found.keys())
        if tuple(wanted[name]) != tuple(found[name])
    ]
    if missing or unexpected or shapes:
        problems = [*_by_sublayer(missing, unexpected, found, pattern), *_shapes(shapes, pattern)]
        raise CheckpointMismatch(problems, missing, unexpected, shapes)


def _by_sublayer(
    missing: list[str], unexpected: list[str], found: Mapping[str, Shape], pattern: Pattern
) -> Iterable[str]:
    held: dict[str, list[str]] = defaultdict(list)
    for name in found:
        place = locate(name)
        held[place.layer].append(place.rest)
    groups: dict[str, tuple[Place, list[str], list[str]]] = {}
    for side, names in ((1, missing), (2, unexpected)):
        for name in names:
            place = locate(name)
            group = groups.setdefault(place.layer, (place, [], []))
            group[side].append(place.rest)  # type: ignore[union-attr]
    for layer in sorted(groups, key=lambda key: _order(groups[key][0])):
        place, lacking, extra = groups[layer]
        yield from _sublayer(place, lacking, extra, held[layer], pattern) if layer else _outside(lacking, extra)


def _order(place: Place) -> tuple[int, int]:
    return (-1 if place.depth is None else place.depth, -1 if place.index is None else place.index)


def _sublayer(place: Place, lacking: list[str], extra: list[str], held: list[str], pattern: Pattern) -> Iterable[str]:
    symbol, holds = symbol_at(place, pattern), symbols_held(held)
    where, there = words(place), " and ".join(symbol_of(each).name for each in holds)
    if symbol is None:
        yield f"{where} is not in {pattern}, and the checkpoint holds {there or 'something unknown'} there"
        return
    name = symbol_of(symbol).name
    if not held:
        yield f"{where} is {name}, and the checkpoint has nothing there"
    elif len(holds) == 2:
        yield (
            f"{where} is {name}, and the checkpoint holds {there} under one layer: it was written with the names of a fused "
            "model, not with canonical ones"
        )
    elif holds != symbol:
        yield f"{where} is {name}, and the checkpoint holds {there or 'something unknown: ' + _listed(held)} there"
    else:
        if lacking:
            yield f"{where}, {name}: the checkpoint lacks {_listed(lacking)}"
        if extra:
            yield f"{where}, {name}: the checkpoint also holds {_listed(extra)}"


def _outside(lacking: list[str], extra: list[str]) -> Iterable[str]:
    if lacking:
        yield f"the checkpoint lacks {_listed(lacking)}"
    if extra:
        yield f"the checkpoint also holds {_listed(extra)}"


def _shapes(shapes: list[tuple[str, Shape, Shape]], pattern: Pattern) -> Iterable[str]:
    for name, model, checkpoint in shapes[:_SHOWN]:
        yield f"{describe(name, pattern)}: {name} is {list(model)} in the model and {list(checkpoint)} in the checkpoint"
    if len(shapes) > _SHOWN:
        yield f"and {len(shapes) - _SHOWN} more tensors of another shape"


def _listed(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
