"""How a checkpoint's layers are built up: what each holds, how they are numbered, and the pattern that says so. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from workbench.checkpoint.layout import LayoutName
from workbench.checkpoint.layouts.members import Member
from workbench.checkpoint.layouts.written import MAIN, Layer
from workbench.checkpoint.places import MOST_LAYERS
from workbench.pattern.diagnostics import PatternError
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import can_fuse

type Held = Mapping[Layer, tuple[Member, ...]]


@dataclass
class Shape:
    """The layout's name, the canonical number of each layer's first sub-layer, and the pattern, None where it cannot be told."""

    name: LayoutName
    first: dict[Layer, int] = field(default_factory=dict)
    pattern: Pattern | None = None
    reasons: list[str] = field(default_factory=list)


def shape_of(
    held: Held, final_norms: frozenset[str], mtp_depths: frozenset[int], *, along_axis: bool, lost: bool
) -> Shape:
    """What layers that hold these members make up; `final_norms` are those there are of "final_norm", "final_layernorm".

    `mtp_depths` are those that have a projection or norms. `along_axis` says that they were stored as one axis of each tensor,
    `lost` that the checkpoint has layers that are not among them.
    """
    name, reason = _name(held, final_norms, along_axis)
    found = Shape(name, reasons=[reason])
    depths: dict[int, list[Layer]] = {}
    for layer in sorted(held):
        depths.setdefault(layer.depth, []).append(layer)
    for depth, layers in depths.items():
        _number(found, held, layers, depth)
    if lacking := sorted(mtp_depths - depths.keys()):
        found.reasons.append(f"MTP depth {lacking[0] + 1} has a projection or norms, and no layers")
    whole = not lacking and not lost
    if MAIN not in depths and not final_norms:
        found.reasons.append("there are no layers of the main model, and no final norm: it is a part of a model")
        whole = False
    _pattern(found, held, depths, whole=whole)
    return found


def _name(held: Held, final_norms: frozenset[str], along_axis: bool) -> tuple[LayoutName, str]:
    main = {layer: members for layer, members in held.items() if layer.depth == MAIN}
    wide = [members for members in held.values() if len(members) > 1]
    gpt_mtp = any(not layer.stack for layer in held)
    hybrid_mtp = any(layer.stack for layer in held if layer.depth != MAIN)
    if along_axis:
        return "gpt", "the layers are an axis of each tensor, as only a GPT model stores them"
    if not held:
        return "canonical", "it has what stands outside of a megatron model's layers, and no layer whose place is known"
    if not wide:
        if final_norms == {"final_layernorm"}:
            return (
                "grouped",
                "each layer is one sub-layer, and the final norm is called as with groups: final_layernorm",
            )
        return "canonical", "each layer is one sub-layer"
    if any(members[0].slot == "mixer" for members in wide):
        return "grouped", "a layer holds a Mamba (mixer.) beside another sub-layer, which only a bracket group does"
    if any(Member("M", "attention") in members for members in wide):
        return (
            "fused",
            "a layer holds a Mamba in the attention slot (self_attention.A_log), as a built fused block does",
        )
    pairs = all(len(members) == 2 for members in main.values())
    if "final_norm" in final_norms:
        return "fused", "a layer holds a mixer and a channel mixer, and the final norm is a hybrid model's: final_norm"
    if "final_layernorm" in final_norms or gpt_mtp:
        if hybrid_mtp and not gpt_mtp:
            return "grouped", (
                "layers hold two, the final norm is called as with groups (final_layernorm), and the MTP layers are a stack, "
                "which a GPT model's are not"
            )
        if pairs:
            return "gpt", (
                "every layer holds attention and a channel mixer, and the final norm is a GPT model's: final_layernorm (a model "
                "of the group dialect in which everything is grouped has the same names)"
            )
        return "grouped", (
            "some layers are single, others hold two, and the final norm is called final_layernorm (a GPT model has no single "
            "layers, unless halves of some are missing)"
        )
    return ("gpt" if pairs else "fused"), (
        "a layer holds a mixer and a channel mixer; there is no final norm to tell a GPT model from a fused one by, "
        + ("and every layer is such a pair" if pairs else "and not every layer is such a pair")
    )


def _number(found: Shape, held: Held, layers: list[Layer], depth: int) -> None:
    where = "" if depth == MAIN else f"MTP depth {depth + 1}: "
    missing = _gaps([layer.number for layer in layers])
    single = all(len(held[layer]) < 2 for layer in layers) and len({layer.number for layer in layers}) == len(layers)
    if single:
        found.first.update({layer: layer.number for layer in layers})
    else:
        usual = Counter(len(held[layer]) for layer in layers).most_common(1)[0][0]
        if missing:
            found.reasons.append(
                f"{where}a missing layer is counted as {usual} sub-layer(s), as most of the others are"
            )
        at = number = 0
        for layer in layers:
            at += (layer.number - number) * usual if layer.number > number else 0
            found.first[layer] = at
            at, number = at + max(len(held[layer]), 1), layer.number + 1
    if missing:
        found.reasons.append(f"{where}{_ranges(missing)} missing")


def _gaps(numbers: list[int]) -> list[tuple[int, int]]:
    """The runs (first, last) of numbers from 0 on that are not there; `numbers` ascend."""
    gaps, at = [], 0
    for number in numbers:
        if number > at:
            gaps.append((at, number - 1))
        at = number + 1
    return gaps


def _ranges(gaps: list[tuple[int, int]]) -> str:
    shown = ", ".join(f"{low}" if low == high else f"{low} to {high}" for low, high in gaps[:6])
    rest = f" and {len(gaps) - 6} more ranges" if len(gaps) > 6 else ""
    single = len(gaps) == 1 and gaps[0][0] == gaps[0][1]
    return f"layer {shown} is" if single else f"layers {shown}{rest} are"


def _pattern(found: Shape, held: Held, depths: Mapping[int, list[Layer]], *, whole: bool) -> None:
    if len(held) > MOST_LAYERS:
        found.reasons.append(f"there are {len(held):,} layers, which no model has")
        return
    texts: dict[int, str] = {}
    for depth, layers in depths.items():
        where = "" if depth == MAIN else f"MTP depth {depth + 1}, "
        items = []
        for layer in layers:
            members = held[layer]
            if not members or not all(member.symbol for member in members):
                found.reasons.append(f"{where}layer {layer.number} holds no known kind of sub-layer")
                whole = False
            items.append(_text(found, members, f"{where}layer {layer.number}"))
        texts[depth] = "".join(items)
        whole = whole and not _gaps([layer.number for layer in layers])
    mtp = [texts[depth] for depth in sorted(texts) if depth != MAIN]
    if len(set(mtp)) > 1:
        found.reasons.append(f"the MTP depths differ, which no pattern can say: {', '.join(mtp[:4])}")
        whole = False
    if [depth for depth in sorted(texts) if depth != MAIN] != list(range(len(mtp))):
        found.reasons.append("an MTP depth is missing")
        whole = False
    if whole:
        try:
            found.pattern = Pattern(texts.get(MAIN, "") + "".join(f"/{text}" for text in mtp))
        except PatternError as error:
            found.reasons.append(f"no pattern has these layers: {error.diagnostics[0].message}")


def _text(found: Shape, members: Iterable[Member], where: str) -> str:
    symbols = "".join(member.symbol for member in members)
    if len(symbols) < 2 or found.name in ("canonical", "gpt"):
        return symbols
    if len(symbols) == 2 and can_fuse(*symbols):
        return f"[{symbols}]"
    found.reasons.append(
        f"{where} is written as the group [{symbols}], which a pattern here has no brackets for; the order of its members is "
        "taken to be Mamba, attention, channel mixer: names do not say it"
    )
    return symbols
