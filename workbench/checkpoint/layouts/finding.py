"""`layout_of`: which layout a checkpoint's names are of, and the same tensors under canonical names. numpy only.

Every name is taken apart once, each layer is looked at for what it holds, and that says the rest. Whatever a checkpoint
lacks or has too much, nothing of it is dropped: what no rule knows keeps its name and is listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from operator import itemgetter

from workbench.checkpoint.layout import Backend, Layout, Named
from workbench.checkpoint.layouts.axis import entries
from workbench.checkpoint.layouts.foreign import foreign
from workbench.checkpoint.layouts.gathering import MOST_ENTRIES, gathered
from workbench.checkpoint.layouts.members import all_rests, members_of
from workbench.checkpoint.layouts.order import LAYERS, place_outside
from workbench.checkpoint.layouts.parts import Parts
from workbench.checkpoint.layouts.shape import Held, Shape, shape_of
from workbench.checkpoint.layouts.stages import Layers, one_numbering
from workbench.checkpoint.layouts.written import ALONG_AXIS, MAIN, Layer, Outside, taken_apart
from workbench.checkpoint.places import MOST_LAYERS
from workbench.checkpoint.source import Checkpoint
from workbench.checkpoint.tensors import StoredTensor

_MOST_REASONS = 40
_STACK = ("layers.", "final_norm.", "final_layernorm.")

FINAL_NORM, GPT_FINAL_NORM = "decoder.final_norm.", "decoder.final_layernorm."


def layout_of(checkpoint: Checkpoint) -> Layout:
    """The layout of a checkpoint, from names and shapes alone; never raises for what it holds."""
    names = taken_apart(checkpoint.tensors)
    if not names.layers and not names.outside:
        return _of_stack(checkpoint) or foreign(checkpoint)
    found = _Found(checkpoint)
    layers, outside = one_numbering(names, found.reasons, found.left)
    found.lost = bool(found.left)
    along_axis = found.spread(layers)
    held = {layer: members_of(all_rests(entries)) for layer, entries in layers.items()}
    if not any(member.symbol for members in held.values() for member in members) and not any(
        place_outside(entry.name) or entry.name.startswith(GPT_FINAL_NORM) for entry in outside
    ):
        return foreign(checkpoint)  # another library's `decoder.layers.`
    norms = _final_norms(outside)
    shape = shape_of(held, norms, _mtp_depths(outside), along_axis=along_axis, lost=found.lost)
    found.gather(layers, held, shape)
    found.put_outside(outside)
    canonical = found.in_order(names.states)
    unknown = found.keep_the_rest(canonical, names.other)
    backend = found.backend()
    return Layout(
        shape.name,
        "distributed" if found.stored else "state_dict",
        backend,
        shape.pattern,
        canonical,
        unknown,
        found.all_reasons(shape),
    )


def _of_stack(checkpoint: Checkpoint) -> Layout | None:
    """The layout of a stack saved without its model: `layers.0.mixer.A_log`; None where it holds no kind of layer."""
    whole = {f"decoder.{name}" if name.startswith(_STACK) else name: name for name in checkpoint.tensors}
    names = taken_apart(whole).layers.get(None, {})
    if not any(member.symbol for entries in names.values() for member in members_of(all_rests(entries))):
        return None
    tensors = {name: checkpoint.tensors[written] for name, written in whole.items()}
    found = layout_of(replace(checkpoint, tensors=tensors))
    canonical = {
        name: Named(named.tensor, tuple(whole[written] for written in named.written))
        for name, named in found.canonical.items()
    }
    reason = "the names are those of a stack of layers without its model: decoder. is added in front"
    return replace(found, canonical=canonical, reasons=(*found.reasons, reason))


class _Found:
    """What has been found so far; the methods are called in the order that they stand in."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.reasons: list[str] = []
        self.left: list[str] = []
        self.lost = False  # whole layers were left without a place
        self.room = MOST_ENTRIES
        self.stored = checkpoint.format == "torch_dist"
        self.backends: set[str] = set()
        self.slices: dict[Layer, dict[str, StoredTensor]] = {}
        self.parts: Parts[tuple[str, Named]] = Parts()

    def spread(self, layers: Layers) -> bool:
        """Give each entry of a layer axis its own layer; True where the layers are such an axis."""
        entry_of = Layer(MAIN, ALONG_AXIS, True)
        names = layers.pop(entry_of, [])
        if not names:
            return False
        shapes = {entry.written: self.checkpoint.tensors[entry.written].shape for entry in names}
        counts = Counter(shape[0] for shape in shapes.values() if shape and shape[0] <= MOST_LAYERS)
        count = counts.most_common(1)[0][0] if counts else 0
        fitting = [entry for entry in names if shapes[entry.written][:1] == (count,)]
        if any(layer.depth == MAIN for layer in layers):
            fitting, self.lost = [], True
            self.reasons.append(
                "some layers are numbered and others an axis of each tensor: the latter keep their names"
            )
        elif not count:
            fitting, self.lost = [], True
            self.reasons.append(
                "the layers have no numbers, and their tensors no axis of layers: they keep their names"
            )
        elif count * len(fitting) > self.room:
            fitting, self.lost = [], True
            self.reasons.append(
                f"{count} layers are more than {self.room:,} tensors, which no model has: they keep their names"
            )
        elif len(fitting) < len(names):
            self.reasons.append(
                f"{len(names) - len(fitting)} tensors of the layers have not {count} of them, as most have"
            )
        fits = set(fitting)
        self.left += [entry.written for entry in names if entry not in fits]
        for number in range(count if fitting else 0):
            layers[Layer(MAIN, number, True)] = fitting
            self.slices[Layer(MAIN, number, True)] = {}
        for entry in fitting:
            for number, tensor in enumerate(entries(self.checkpoint.tensors[entry.written])):
                self.slices[Layer(MAIN, number, True)][entry.written] = tensor
        self.room -= count * len(fitting)
        self.stored |= bool(fitting)
        return bool(fitting)

    def gather(self, layers: Layers, held: Held, shape: Shape) -> None:
        """Every layer's canonical tensors."""
        for layer in sorted(layers):
            where = (
                f"layer {layer.number}" if layer.depth == MAIN else f"MTP depth {layer.depth + 1}, layer {layer.number}"
            )
            tensors = self.slices.get(layer, self.checkpoint.tensors)
            found = gathered(held[layer], layers[layer], tensors, where, self.room)
            self.room = found.room
            self.stored |= found.stored
            self.backends |= found.backends
            self.reasons += found.reasons
            self.left += found.left
            stem = "decoder." if layer.depth == MAIN else f"mtp.layers.{layer.depth}.mtp_model_layer."
            first = shape.first[layer]
            for (state, position, rest), named in found.tensors.items():
                name = f"{state}{stem}layers.{first + position}.{rest}"
                self.parts.of(state, layer.depth, LAYERS).append((name, named))

    def put_outside(self, outside: Iterable[Outside]) -> None:
        """Embedding, final norm, output layer, and what MTP has beside its layers."""
        found: list[tuple[tuple[int, int, int], bool, Outside, str]] = []
        for entry in outside:
            name = entry.name
            if name.startswith(GPT_FINAL_NORM):
                name = FINAL_NORM + name.removeprefix(GPT_FINAL_NORM)
            place = place_outside(name)
            if place is None:
                self.left.append(entry.written)
            else:
                found.append((place, not name.endswith(".weight"), entry, name))
        for place, _, entry, name in sorted(found, key=itemgetter(0, 1)):
            named = Named(self.checkpoint.tensors[entry.written], (entry.written,))
            self.parts.of(entry.state, place[0], place[1]).append((f"{entry.state}{name}", named))

    def in_order(self, states: Iterable[str]) -> dict[str, Named]:
        """All canonical tensors in the order of the model, the weights first, then each optimizer state."""
        canonical: dict[str, Named] = {}
        for name, named in self.parts.in_order(states):
            if name in canonical:
                self.reasons.append(f"{named.written[0]} and {canonical[name].written[0]} are two names of one tensor")
                self.left += named.written
            else:
                canonical[name] = named
        return canonical

    def keep_the_rest(self, canonical: dict[str, Named], other: Iterable[str]) -> tuple[str, ...]:
        """Add every tensor that has no canonical name under the one that it has; returns these names."""
        unknown = []
        for written in dict.fromkeys((*self.left, *other)):
            name = written
            while name in canonical:  # another layer was numbered to where this one says it is
                name = f"{name} (as written)"
            canonical[name] = Named(self.checkpoint.tensors[written], (written,))
            unknown.append(name)
        return tuple(unknown)

    def backend(self) -> Backend | None:
        """Whose names they are; a distributed checkpoint has Transformer Engine's whoever wrote it, but for one of GPT's."""
        if self.backends == {"local", "te"} and not self.stored:
            self.reasons.append("some names are local modules', others Transformer Engine's")
            return None
        if "local" in self.backends:
            return "local"
        return "te" if self.backends and not self.stored else None

    def all_reasons(self, shape: Shape) -> tuple[str, ...]:
        """Every reason, or as many as can be read and how many more there are."""
        reasons = list(dict.fromkeys((*shape.reasons, *self.reasons)))
        rest = len(reasons) - _MOST_REASONS
        return tuple(reasons) if rest <= 0 else (*reasons[:_MOST_REASONS], f"and {rest} more remarks of this kind")


def _final_norms(outside: Iterable[Outside]) -> frozenset[str]:
    norms = {"final_norm": FINAL_NORM, "final_layernorm": GPT_FINAL_NORM}
    return frozenset(norm for norm, start in norms.items() if any(entry.name.startswith(start) for entry in outside))


def _mtp_depths(outside: Iterable[Outside]) -> frozenset[int]:
    places = (place_outside(entry.name) for entry in outside)
    return frozenset(place[0] for place in places if place is not None and place[0] != MAIN)
