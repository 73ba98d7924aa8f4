"""Two architectures side by side as a scene: where they part, what differs, and by how much the costs do.

It says what the patterns say. Whether two models are the same function is for a verdict, and never said here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

from workbench.arch.sizes import ModelSizes
from workbench.cost.summary import Cost
from workbench.pattern.blocks import SubLayer
from workbench.pattern.model import Pattern
from workbench.render import scene
from workbench.views import pattern as pattern_view
from workbench.views.numbers import count, counted, operations, size

_SHOWN_SIZES = 6  # sizes that differ and are named in one line


def comparison(this: Cost, other: Cost) -> tuple[scene.Part, ...]:
    """The two patterns, what is the same of them, and the table of counts and costs."""
    left, right = this.architecture.pattern, other.architecture.pattern
    return (
        scene.Paragraph(summary(this, other)),
        scene.SideBySide((_side("This pattern", left), _side("The other pattern", right))),
        _sameness(this, other),
        _costs(this, other),
    )


def summary(this: Cost, other: Cost) -> str:
    """What differs, in one or two sentences."""
    left, right = this.architecture.pattern, other.architecture.pattern
    parted = parting(left, right)
    if parted:
        return parted
    differing = [what for what, same in _aspects(left, right).items() if not same]
    if this.architecture.sizes != other.architecture.sizes:
        differing.append("sizes")
    if not differing:
        return "The two patterns are one: the same sub-layers, blocks and stages, with the same sizes."
    end = "" if "sizes" in differing else ", with the same sizes"
    return (
        f"They differ in {' and '.join(differing)} only: the same sub-layers in the same order{end}. Whether they are the same "
        "function is what a verdict says."
    )


def parting(left: Pattern, right: Pattern) -> str:
    """The sentence that says where two sequences of sub-layers part; "" where they do not.

    >>> parting(Pattern("M-M-"), Pattern("[M-]*-"))
    'They part at sub-layer 2: Mamba-2 M here, self-attention * in the other pattern.'
    """
    mains = _part_at(left.sublayers, right.sublayers)
    if mains:
        return f"They part at sub-layer {mains}."
    one, other = left.mtp, right.mtp
    if one is None and other is None:
        return ""
    if one is None or other is None:
        return f"The main sub-layers are the same; only {'the other pattern' if one is None else 'this one'} has MTP."
    if at := _part_at(one.sublayers, other.sublayers):
        return f"The main sub-layers are the same; MTP parts at its sub-layer {at}."
    if one.depths != other.depths:
        return f"The sub-layers are the same; MTP has {counted(one.depths, 'depth')} here, {count(other.depths)} in the other pattern."
    return ""


# ------------------------------------------------------------------------------------------------------


def _part_at(left: Sequence[SubLayer], right: Sequence[SubLayer]) -> str:
    for one, other in zip(left, right, strict=False):
        if one.symbol != other.symbol:
            return f"{one.index}: {_layer(one)} here, {_layer(other)} in the other pattern"
    at = min(len(left), len(right))
    if len(left) > at:
        return f"{at}: this pattern goes on with {_layer(left[at])}, where the other one ends"
    if len(right) > at:
        return f"{at}: the other pattern goes on with {_layer(right[at])}, where this one ends"
    return ""


def _layer(layer: SubLayer) -> str:
    return f"{layer.name} {layer.symbol}"


def _aspects(left: Pattern, right: Pattern) -> dict[str, bool]:
    """What two patterns of the same sub-layers can still differ in, and whether they are the same in it."""
    return {"fusion": _fused(left) == _fused(right), "stages": _ends(left) == _ends(right)}


def _fused(pattern: Pattern) -> tuple[tuple[int, ...], ...]:
    """The sub-layers of every fused block, of the main pattern and of MTP."""
    blocks = (*pattern.blocks, *(pattern.mtp.blocks if pattern.mtp else ()))
    return tuple(block.sublayers for block in blocks if block.fused)


def _ends(pattern: Pattern) -> tuple[int, ...]:
    """How many sub-layers each stage has."""
    return tuple(sum(len(block.symbols) for block in stage) for stage in pattern.stages)


def _side(title: str, pattern: Pattern) -> scene.Section:
    return scene.Section(title, (pattern_view.facts(pattern), scene.Code(str(pattern)), pattern_view.strip(pattern)))


def _sameness(this: Cost, other: Cost) -> scene.Table:
    left, right = this.architecture, other.architecture
    parted = parting(left.pattern, right.pattern)
    aspects = _aspects(left.pattern, right.pattern)
    rows: list[tuple[scene.Cell, ...]] = [("sub-layers", _status(not parted), parted)]
    rows.append(("fusion", _status(aspects["fusion"]), _fusion(left.pattern, right.pattern, aspects["fusion"])))
    stages = f"{_sizes(_ends(left.pattern))} here, {_sizes(_ends(right.pattern))} in the other pattern"
    rows.append(("stages", _status(aspects["stages"]), "" if aspects["stages"] else f"sub-layers a stage: {stages}"))
    rows.append(("sizes", _status(left.sizes == right.sizes), _sizes_that_differ(left.sizes, right.sizes)))
    rows.append(
        (
            "dtype of the weights",
            _status(left.dtype == right.dtype),
            "" if left.dtype == right.dtype else f"{left.dtype}, {right.dtype}",
        )
    )
    columns = (scene.Column("what"), scene.Column("is it the same?"), scene.Column("how they differ"))
    return scene.Table(columns, tuple(rows), "What the two patterns have in common.")


def _status(same: bool) -> scene.Status:
    """To differ is no failure."""
    return scene.Status("pass", "the same") if same else scene.Status("not-run", "differs")


def _fusion(left: Pattern, right: Pattern, same: bool) -> str:
    if same:
        return ""
    one, other = len(_fused(left)), len(_fused(right))
    mtp = ", MTP's included" if left.mtp or right.mtp else ""
    return f"{counted(one, 'fused pair')} here, {count(other)} in the other pattern{mtp}"


def _sizes(ends: Sequence[int]) -> str:
    return ", ".join(map(count, ends))


def _sizes_that_differ(left: ModelSizes, right: ModelSizes) -> str:
    return differing_sizes(left.to_json(), right.to_json())


def differing_sizes(left: dict[str, object], right: dict[str, object]) -> str:
    """The sizes that are not the same, by name: "hidden_size 64 here, 8192 there"; "" where all are."""
    names = [field.name for field in fields(ModelSizes) if left.get(field.name) != right.get(field.name)]
    said = [f"{name} {_value(left, name)} here, {_value(right, name)} there" for name in names[:_SHOWN_SIZES]]
    more = len(names) - _SHOWN_SIZES
    return "; ".join([*said, f"{counted(more, 'more size')}"] if more > 0 else said)


def _value(sizes: dict[str, object], name: str) -> str:
    """A size in words; one from a file may not be there at all."""
    value = sizes.get(name, "not said")
    return "none" if value is None else str(value)


# A cost, how it is read from a `Cost`, and how it is written.
_COSTS: tuple[tuple[str, Callable[[Cost], float], Callable[[float], str]], ...] = (
    ("blocks", lambda cost: len(cost.architecture.pattern.blocks), lambda value: count(int(value))),
    ("sub-layers", lambda cost: len(cost.architecture.pattern.sublayers), lambda value: count(int(value))),
    ("fused pairs", lambda cost: cost.architecture.pattern.counts["fused"], lambda value: count(int(value))),
    ("stages", lambda cost: len(cost.architecture.pattern.stages), lambda value: count(int(value))),
    ("parameters", lambda cost: cost.parameters.total, lambda value: count(int(value))),
    ("active for a token", lambda cost: cost.parameters.active, lambda value: count(int(value))),
    ("FLOPs a token, training", lambda cost: cost.flops_per_token, operations),
    ("FLOPs a token, decoding", lambda cost: cost.flops.decode_per_token(cost.sequence_length), operations),
    ("inference state a sequence", lambda cost: cost.state.total_bytes, size),
    ("memory of the fullest rank", lambda cost: max(entry.bytes for entry in cost.ranks), size),
    ("cost of the slowest stage", lambda cost: max(cost.stages.stage_costs), operations),
)


def _costs(this: Cost, other: Cost) -> scene.Table:
    columns = (
        scene.Column("what"),
        scene.Column("this pattern", "right"),
        scene.Column("the other", "right"),
        scene.Column("difference", "right"),
    )
    rows = tuple(
        (what, shown(read(this)), shown(read(other)), _difference(read(this), read(other)))
        for what, read, shown in _COSTS
    )
    return scene.Table(columns, rows, "Counts and costs of both; the difference is this pattern's to the other.")


def _difference(this: float, other: float) -> str:
    if this == other:
        return "none"
    if not other:
        return "–"
    change = this / other - 1
    return f"{change:+.2%}".replace("%", " %").replace("-", "−") if abs(change) >= 0.00005 else "below 0.01 %"
