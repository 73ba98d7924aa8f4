"""`arranged`: the tensors of a layout under the names and in the shapes of another. numpy only; no byte is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from workbench.arch.names import canonical_to_local, fused_name
from workbench.checkpoint.layout import Backend, Form, Layout
from workbench.checkpoint.layouts.axis import as_axis
from workbench.checkpoint.layouts.dividing import divided
from workbench.checkpoint.layouts.members import DENSE_NORM, EXPERT_NORM, all_rests, members_of
from workbench.checkpoint.layouts.order import LAYERS, place_outside
from workbench.checkpoint.layouts.parts import Parts
from workbench.checkpoint.layouts.placing import TARGETS, Plan, Seat, Target, plan
from workbench.checkpoint.layouts.written import MAIN, InLayer, Layer, Outside, taken_apart
from workbench.checkpoint.tensors import Shape, StoredTensor
from workbench.errors import WorkbenchError, check_choice
from workbench.pattern.model import Pattern

_FINAL_NORM = "decoder.final_norm."


def arranged(
    layout: Layout,
    to: Target,
    *,
    form: Form,
    backend: Backend = "te",
    pattern: Pattern | str | None = None,
) -> dict[str, StoredTensor]:
    """Every tensor of a layout under the name that it has in another, in the order of the model; optimizer states too.

    `to` is "canonical", "fused" (what `state_dict()` of a model built from `pattern` has), "gpt" (a `GPTModel`'s; distributed:
    with an axis of layers) or "grouped" (one layer a bracket group; `pattern` may have groups longer than two). `pattern`
    is None for every pair in brackets. `backend` makes a difference in state dicts, and in one name of GPT's. A fused
    model's distributed checkpoint is canonical. Names that no rule knows are carried along.

    Raises `WorkbenchError` where the target cannot hold the layout, or a shape that is needed is not known.
    """
    check_choice("to", to, TARGETS)
    check_choice("form", form, ("state_dict", "distributed"))
    check_choice("backend", backend, ("te", "local"))
    if layout.name in ("hugging_face", "other"):
        raise WorkbenchError(f"only a hybrid or GPT model's names can be arranged: {'; '.join(layout.reasons)}")
    unknown = set(layout.unknown)
    names = taken_apart(name for name in layout.canonical if name not in unknown)
    assert not names.other, "a canonical name is a megatron model's"
    writer = _Writer(to, form, backend, _plan(layout, to, form, pattern))
    for layer, entries in sorted(names.layers.get(None, {}).items()):
        writer.add_sublayer(_SubLayer(layer, entries, layout))
    for _, outside in names.outside:
        writer.add_outside(outside, layout.canonical[outside.written].tensor)
    found: dict[str, StoredTensor] = {}
    carried = [(name, layout.canonical[name].tensor) for name in layout.unknown]
    for name, tensor in (*writer.in_order(names.states), *carried):
        if name in found:
            raise WorkbenchError(f"{name} would be the name of two tensors, one of which has no canonical name")
        found[name] = tensor
    return found


# ------------------------------------------------------------------------------------------------------


def _plan(layout: Layout, to: Target, form: Form, pattern: Pattern | str | None) -> Plan | None:
    """Where the sub-layers go; None where each is a layer of its own."""
    if layout.pattern is None:
        if to == "canonical" and pattern is None:
            return None
        raise WorkbenchError(
            f"the checkpoint cannot be given the names of another layout ({to}), because its pattern is not known: "
            f"{'; '.join(layout.reasons)}"
        )
    if to == "canonical" and pattern is None:
        return None
    seats = plan(to, layout.pattern, pattern)
    return None if to == "canonical" or (to == "fused" and form == "distributed") else seats


class _SubLayer:
    """A canonical sub-layer: state → canonical name within it → tensor, and the shapes of all."""

    def __init__(self, layer: Layer, entries: Sequence[InLayer], layout: Layout) -> None:
        self.layer = layer
        members = members_of(all_rests(entries))
        if len(members) != 1:
            raise WorkbenchError(f"{self.where} holds {len(members)} sub-layers, which is no canonical layout")
        self.symbol = members[0].symbol
        self.states: dict[str, dict[str, StoredTensor]] = {}
        self.shapes: dict[str, Shape] = {}
        for written, state, rest in entries:
            tensor = layout.canonical[written].tensor
            self.states.setdefault(state, {})[rest] = tensor
            if tensor.shape:  # a weight's step has none
                self.shapes.setdefault(rest, tensor.shape)

    @property
    def where(self) -> str:
        """In words."""
        depth = "" if self.layer.depth == MAIN else f"MTP depth {self.layer.depth + 1}, "
        return f"{depth}sub-layer {self.layer.number}"


@dataclass
class _Writer:
    """Gives every tensor its name and place in the target, part by part."""

    to: Target
    form: Form
    backend: Backend
    plan: Plan | None
    parts: Parts[tuple[str, StoredTensor]] = field(default_factory=Parts)
    # (state, name within a layer) → a tensor a layer, where layers are an axis.
    stacks: dict[tuple[str, str], list[StoredTensor]] = field(default_factory=dict)
    layers: int = 0

    def add_sublayer(self, sublayer: _SubLayer) -> None:
        """Each tensor of a sub-layer, of every state."""
        depth, number, _ = sublayer.layer
        seat = Seat(number) if self.plan is None else self.plan.seat(depth, number)
        stem = "decoder." if depth == MAIN else f"mtp.layers.{depth}.mtp_model_layer."
        for state, tensors in sublayer.states.items():
            part = self.parts.of(state, depth, LAYERS)
            for rest, tensor in self._rows(sublayer, tensors):
                name = _in_layer(seat.symbols, seat.position, rest)
                if self.to == "gpt" and self.form == "distributed":
                    self.stacks.setdefault((state, name), []).append(tensor)
                    self.layers = max(self.layers, seat.layer + 1)
                else:
                    part.append((f"{state}{stem}layers.{seat.layer}.{name}", tensor))

    def add_outside(self, outside: Outside, tensor: StoredTensor) -> None:
        """A tensor outside of the layers; `layout_of` has them in order."""
        place = place_outside(outside.name)
        assert place is not None, "a canonical name outside of the layers has its place"
        name = outside.name
        if self.plan is not None and name.startswith(_FINAL_NORM):
            name = f"decoder.{self.plan.final_norm}.{name.removeprefix(_FINAL_NORM)}"
        self.parts.of(outside.state, place[0], place[1]).append((f"{outside.state}{name}", tensor))

    def in_order(self, states: Iterable[str]) -> Iterator[tuple[str, StoredTensor]]:
        """Every name and tensor, in the order of the model."""
        for (state, name), stack in self.stacks.items():
            if len(stack) != self.layers or len({(tensor.shape, tensor.dtype) for tensor in stack}) > 1:
                raise WorkbenchError(
                    f"{state}decoder.layers.{name} cannot be one tensor for all layers: {len(stack)} of {self.layers} have it, "
                    f"of shape(s) {', '.join(sorted({str(list(tensor.shape)) for tensor in stack}))}"
                )
            self.parts.of(state, MAIN, LAYERS).append((f"{state}decoder.layers.{name}", as_axis(stack)))
        yield from self.parts.in_order(states)

    def _rows(self, sublayer: _SubLayer, tensors: dict[str, StoredTensor]) -> Iterator[tuple[str, StoredTensor]]:
        """(name within the stand-alone sub-layer, tensor), as the form and the backend have them."""
        if self.form == "state_dict":
            for rest, tensor in tensors.items():
                yield _local(sublayer.symbol, rest) if self.backend == "local" else rest, tensor
            return
        dense = self.to == "gpt" and self.backend == "local" and sublayer.symbol == "E"
        for rest, tensor in divided(sublayer.symbol, tensors, sublayer.shapes, sublayer.where):
            if dense and rest.startswith(EXPERT_NORM):
                rest = DENSE_NORM + rest.removeprefix(EXPERT_NORM)
            yield rest, tensor


@lru_cache(maxsize=65536)
def _local(symbol: str, rest: str) -> str:
    return canonical_to_local(symbol, rest) if symbol else rest


@lru_cache(maxsize=65536)
def _in_layer(symbols: str, position: int, rest: str) -> str:
    return fused_name(symbols, position, rest) if symbols else rest
