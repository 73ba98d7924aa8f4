"""The sentences that say why names and shapes differ: layer kinds first, then sizes, then what is left. Pure.

Sizes are said where they explain: the model, and the checkpoint but for what is said of it beside, must be exactly what
`Architecture` makes of a pattern and sizes. What no size explains is said by sub-layer, the same in many of them once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from workbench.arch.architecture import Architecture
from workbench.arch.needs import check_needs
from workbench.arch.sizes import SizesError
from workbench.checkpoint.inference.equations import Either, Equation, Product
from workbench.checkpoint.inference.infer import Inferred, infer, say
from workbench.checkpoint.inference.kind_reasons import Order, Paired, kind_reasons, listed
from workbench.checkpoint.inference.sublayers import Shape, Shapes, Sorted, by_sublayer, ranges
from workbench.checkpoint.inference.unknown_sizes import IS_GATED, PADDED
from workbench.checkpoint.inference.whole_shapes import whole_shapes
from workbench.checkpoint.places import describe
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import symbol_of

_EVERY = 3  # sub-layers from which those of a kind are not listed when it is all of them
_MOST_EXPERTS = 2_000_000  # of a whole model; nothing larger is predicted
_SHOWN = 6  # tensors of another shape that are named; the rest is counted
_WORDS = {PADDED: "the padded vocabulary", IS_GATED: "a gated activation"}
_MODEL, _OWN = "the model", "a model of the checkpoint's own sizes"


def reasons(wanted: Mapping[str, Shape], found: Mapping[str, Shape], pattern: Pattern) -> list[str]:
    """Sentences for everything in which a checkpoint (`found`) is not what a model of this pattern has (`wanted`).

    Both are name → shape, canonical or as a distributed checkpoint stores them. Empty where they are the same.
    """
    model, held = by_sublayer(wanted), by_sublayer({name: tuple(shape) for name, shape in found.items()})
    kinds, pairs = kind_reasons(model, held, pattern)
    explained = size_reasons(whole_shapes(wanted), whole_shapes(found))
    if explained is not None and (explained or kinds):
        return [*(line for _, line in kinds), *explained]
    left = list(differences(model, held, pairs, pattern, _MODEL))
    shapes = [line for order, line in left if order is None]
    rest = sorted([*kinds, *((order, line) for order, line in left if order is not None)], key=lambda entry: entry[0])
    return [*(line for _, line in rest), *shapes]


def shapes_of(architecture: Architecture) -> dict[str, Shape]:
    """Canonical name → shape of a model; layers of a kind have their rows expanded once."""
    expanded: dict[int, list[tuple[str, Shape]]] = {}
    found: dict[str, Shape] = {}
    for part in architecture.parts:
        rows = expanded.get(id(part.rows))
        if rows is None:
            rows = [(weight.name, weight.shape) for row in part.rows for weight in row.each()]
            expanded[id(part.rows)] = rows
        for name, shape in rows:
            found[part.prefix + name] = shape
    return found


def size_reasons(wanted: Shapes, found: Shapes) -> list[str] | None:
    """A sentence a size that differs, and what else is odd about the checkpoint; None where sizes do not explain it."""
    ours, theirs = infer(wanted), infer(found)
    if theirs.pattern is None or (predicted := _predicted(theirs)) is None or _predicted(ours) != wanted:
        return None
    lines = [*_known(ours, theirs), *_proven(ours, theirs)]
    if predicted != found:
        model, held = by_sublayer(predicted), by_sublayer(found)
        pairs = [(key, key) for key in model.layers if key in held.layers]
        lines += [line for _, line in differences(model, held, pairs, theirs.pattern, _OWN)]
    return lines


def own_reasons(inferred: Inferred, found: Shapes) -> list[str]:
    """What in a checkpoint is not as in a model of its own pattern and sizes; nothing where it has no pattern."""
    if inferred.pattern is None:
        return []
    predicted = _predicted(inferred)
    if predicted is None:
        return [f"no model has exactly these tensors: {_impossible(inferred)}"]
    if predicted == found:
        return []
    model, held = by_sublayer(predicted), by_sublayer(found)
    pairs = [(key, key) for key in model.layers if key in held.layers and key not in inferred.odd_layers]
    return [line for _, line in differences(model, held, pairs, inferred.pattern, _OWN)]


def differences(
    model: Sorted, held: Sorted, pairs: Iterable[Paired], pattern: Pattern, side: str
) -> Iterator[tuple[Order | None, str]]:
    """What differs in sub-layers of one kind, and outside of them; shapes come last, without an order.

    `pairs` are (model's, checkpoint's) sub-layers that are the same one; `side` is what the model is called.
    """
    said: dict[tuple[int | None, str, str], list[int]] = {}
    shapes: list[str] = []
    kinds: Counter[tuple[int | None, str]] = Counter()
    for key, other in pairs:
        ours, theirs = model.layers[key], held.layers[other]
        name = symbol_of(model.symbols[key]).name if len(model.symbols[key]) == 1 else "of several kinds"
        kinds[key[0], name] += 1
        if ours == theirs:
            continue
        if lacking := ours.keys() - theirs.keys():
            said.setdefault((key[0], name, f"the checkpoint lacks {listed(lacking)}"), []).append(key[1])
        if extra := theirs.keys() - ours.keys():
            said.setdefault((key[0], name, f"the checkpoint also holds {listed(extra)}"), []).append(key[1])
        prefix = _prefix(key)
        shapes += (
            _shape(f"{prefix}{rest}", ours[rest], theirs[rest], pattern, side)
            for rest in sorted(ours.keys() & theirs.keys())
            if tuple(ours[rest]) != theirs[rest]
        )
    for (depth, name, text), indices in said.items():
        where = "" if depth is None else f"MTP depth {depth + 1}, "
        if len(indices) > _EVERY and len(indices) == kinds[depth, name]:
            which = f"every sub-layer, {name}"
        else:
            which = f"{'sub-layer' if len(indices) == 1 else 'sub-layers'} {ranges(sorted(indices))}, {name}"
        yield (-1 if depth is None else depth, indices[0]), f"{where}{which}: {text}"
    absent = _absent_depths(model, held)
    outside = {name for name in model.outside.keys() - held.outside.keys() if not name.startswith(absent)}
    if outside:
        yield (-1, -1), f"the checkpoint lacks {listed(outside)}"
    if others := {name for name in held.outside.keys() - model.outside.keys() if not name.startswith(absent)}:
        yield (-1, -1), f"the checkpoint also holds {listed(others)}"
    shapes += (
        _shape(name, model.outside[name], held.outside[name], pattern, side)
        for name in sorted(model.outside.keys() & held.outside.keys())
        if tuple(model.outside[name]) != held.outside[name]
    )
    for line in shapes[:_SHOWN]:
        yield None, line
    if len(shapes) > _SHOWN:
        yield None, f"and {len(shapes) - _SHOWN} more tensors of another shape"


# ------------------------------------------------------------------------------------------------------


def _predicted(inferred: Inferred) -> dict[str, Shape] | None:
    """Names and shapes of a model of the pattern and sizes that were inferred; None where there is none."""
    sizes = inferred.example()
    if inferred.pattern is None or sizes is None or _experts(inferred) > _MOST_EXPERTS:
        return None
    try:
        return shapes_of(Architecture(inferred.pattern, sizes))
    except SizesError:  # a size that a layer kind cannot do without did not show
        return None


def _experts(inferred: Inferred) -> int:
    """Experts of the whole model: a stranger's file may say any number."""
    assert inferred.pattern is not None, "asked of a pattern"
    return int(inferred.pattern.symbol_counts["E"] * (inferred.values.get("moe_experts") or 0))


def _impossible(inferred: Inferred) -> str:
    """Why there is no model of the pattern and sizes that were inferred."""
    if _experts(inferred) > _MOST_EXPERTS:
        return f"they show {inferred.values['moe_experts']} experts a layer"
    sizes = inferred.example()
    assert inferred.pattern is not None, "asked of a pattern"
    if sizes is None:
        return "the sizes that they show contradict each other"
    try:
        check_needs(inferred.pattern, sizes)
    except SizesError as error:
        return str(error).replace("which the sizes leave out", "which they do not show")
    return "a size that they need does not show"


def _known(ours: Inferred, theirs: Inferred) -> Iterator[str]:
    for name in ours.names:
        if name not in ours.known or name not in theirs.known:
            continue
        mine, other = ours.known[name].value, theirs.known[name].value
        if mine != other:
            yield f"{_WORDS.get(name, name)} is {say(mine)} in the model and {say(other)} in the checkpoint"


def _proven(ours: Inferred, theirs: Inferred) -> Iterator[str]:
    """Products that differ, of sizes that are not all known on both sides."""
    mine, other = _topics(ours), _topics(theirs)
    for topic in mine.keys() & other.keys():
        left, right = mine[topic], other[topic]
        if left == right or all(name in ours.known and name in theirs.known for name in topic):
            continue
        if isinstance(left, Product) and isinstance(right, Product):
            yield f"{' × '.join(topic)} is {left.value} in the model and {right.value} in the checkpoint"
        else:
            yield f"{left.text} in the model, and {right.text} in the checkpoint"


def _topics(inferred: Inferred) -> dict[tuple[str, ...], Equation]:
    found: dict[tuple[str, ...], Equation] = {}
    for equation in inferred.equations:
        if isinstance(equation, Product):
            found[equation.names] = equation
        elif isinstance(equation, Either):
            found[equation.cases[0][1].names] = equation
    return found


def _shape(name: str, ours: Shape, theirs: Shape, pattern: Pattern, side: str) -> str:
    return f"{describe(name, pattern)}: {name} is {list(ours)} in {side} and {list(theirs)} in the checkpoint"


def _prefix(key: tuple[int | None, int]) -> str:
    depth, index = key
    return f"decoder.layers.{index}." if depth is None else f"mtp.layers.{depth}.mtp_model_layer.layers.{index}."


def _absent_depths(model: Sorted, held: Sorted) -> tuple[str, ...]:
    """Prefixes of MTP depths that one side has and the other has not: that is said of their sub-layers already."""
    return tuple(f"mtp.layers.{depth}." for depth in set(model.depths) ^ set(held.depths))
