"""Would a checkpoint load into a model: of a pattern with sizes, of a pattern alone, or of another checkpoint. Pure.

Brackets and `|` never matter: a checkpoint is canonical whatever is fused. What does is said in `reasons`.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.arch.architecture import Architecture
from workbench.checkpoint.inference.kind_reasons import kind_reasons
from workbench.checkpoint.inference.reasons import reasons, shapes_of
from workbench.checkpoint.inference.sublayers import Key, Shapes, Sorted, by_sublayer, ranges
from workbench.checkpoint.inspection import Preflight
from workbench.checkpoint.interop import from_gpt_refusals, gpt_layers
from workbench.pattern.model import Pattern

NAMES_AND_SHAPES, KINDS = "names and shapes", "layer kinds"


@dataclass(frozen=True)
class Wanted:
    """The model that a checkpoint is to be loaded into: what it is called, its pattern, and its names and shapes.

    `shapes` is None where only the pattern is known. `notes` are what its source says about it.
    """

    name: str
    pattern: Pattern
    shapes: Shapes | None = None
    notes: tuple[str, ...] = ()


def wanted_by(architecture: Architecture, name: str, notes: tuple[str, ...] = ()) -> Wanted:
    """The model of a pattern with sizes."""
    return Wanted(name, architecture.pattern, shapes_of(architecture), notes)


def preflight(found: Shapes, wanted: Wanted, layout: str) -> Preflight:
    """Whether a checkpoint with these canonical names and shapes, written in a layout, loads into a model."""
    notes = [*_of_layout(layout), *wanted.notes]
    refused: list[str] = []
    if layout == "gpt" and not _is_gpt(found):
        notes.append(
            "it has a GPT model's names for layers that megatron does not translate: workbench convert SRC DST --to canonical "
            "makes it loadable"
        )
    elif layout == "gpt" and (symbols := wanted.pattern.symbols) != _turns(symbols):
        refused, wanted, more = _from_gpt(wanted)
        notes += more
    if layout == "hugging_face":
        refused.append(
            "its names are those of a transformers model, which megatron does not read: it has to be exported"
        )
    if refused and layout == "gpt":
        lines = []
    elif wanted.shapes is not None:
        lines = reasons(wanted.shapes, found, wanted.pattern) if wanted.shapes != found else []
    else:
        lines = _kinds(found, wanted.pattern, notes)
    return Preflight(
        wanted.name,
        str(wanted.pattern),
        NAMES_AND_SHAPES if wanted.shapes is not None else KINDS,
        not (refused or lines),
        (*refused, *lines),
        tuple(notes),
    )


# ------------------------------------------------------------------------------------------------------


def _of_layout(layout: str) -> tuple[str, ...]:
    """What has to be done to a checkpoint of another layout before megatron's loader takes it."""
    if layout in ("fused", "grouped"):
        return (
            f"it has the names of a {layout} model: workbench convert SRC DST --to canonical makes it loadable anywhere",
        )
    return ()


def _turns(symbols: str) -> str:
    """The order in which a GPT model has as many self-attentions and MLPs."""
    return ("*E" if "E" in symbols else "*-") * (len(symbols) // 2)


def _is_gpt(found: Shapes) -> bool:
    """Names of one layer for two sub-layers are also those of the newer dialect, which groups other kinds too."""
    symbols = by_sublayer(found).text(None)
    return symbols == _turns(symbols)


def _from_gpt(wanted: Wanted) -> tuple[list[str], Wanted, list[str]]:
    """A GPT checkpoint goes by count: the g-th `*` and the g-th MLP are layer g's, and `M` starts fresh.

    Returns reasons against it, the part of the model that it fills (in GPT order), and what to know.
    """
    refusals = from_gpt_refusals(wanted.pattern)
    if refusals:
        return [f"a GPT checkpoint cannot be loaded into {wanted.pattern}: {reason}" for reason in refusals], wanted, []
    layers = gpt_layers(wanted.pattern)
    notes = ["its layers go by count: the g-th * and the g-th MLP are GPT layer g's"]
    if layers.fresh:
        many = "sub-layer" if len(layers.fresh) == 1 else "sub-layers"
        notes.append(f"{many} {ranges(sorted(layers.fresh))} (Mamba-2) have no counterpart and start fresh")
    places = {**{index: 2 * layer for index, layer in layers.attention.items()}}
    places |= {index: 2 * layer + 1 for index, layer in layers.channel.items()}
    part = Pattern(_turns(wanted.pattern.symbols.replace("M", "")))
    shapes = None if wanted.shapes is None else _renumbered(wanted.shapes, places)
    return [], Wanted(wanted.name, part, shapes, wanted.notes), notes


def _renumbered(shapes: Shapes, places: dict[int, int]) -> dict[str, tuple[int, ...]]:
    sorted_shapes = by_sublayer(shapes)
    kept = dict(sorted_shapes.outside)
    for (depth, index), held in sorted_shapes.layers.items():
        if depth is None and index in places:
            kept |= {f"decoder.layers.{places[index]}.{name}": shape for name, shape in held.items()}
    return kept


def _kinds(found: Shapes, pattern: Pattern, notes: list[str]) -> list[str]:
    """Layer kinds alone, where there are no sizes to compare."""
    held = by_sublayer(found)
    keys: list[Key] = [(None, layer.index) for layer in pattern.sublayers]
    depths = pattern.mtp.depths if pattern.mtp else 0
    if depths > 1 and held.depths == [0]:
        depths = 1
        notes.append(
            "one MTP depth is stored: the model needs mtp_use_repeated_layer, so that every depth runs the same"
        )
    if pattern.mtp is not None:
        keys += [(depth, layer.index) for depth in range(depths) for layer in pattern.mtp.sublayers]
    lines, _ = kind_reasons(Sorted({key: {} for key in keys}, {}), held, pattern)
    notes.append("only layer kinds were compared: a pattern alone has no sizes")
    return [line for _, line in lines]
