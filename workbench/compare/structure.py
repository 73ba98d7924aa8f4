"""Where twins are not built or did not run alike: symbols, modules, names and shapes, layer numbers, calls.

Every function returns the differences it found, each with the place in words.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from workbench.compare.session import Session, Side
from workbench.compare.tensors import compare_mappings, compare_tensor
from workbench.compare.verdict import Difference
from workbench.fusion.stack import FusedHybridStack, stacks
from workbench.fusion.state import canonical_state_dict
from workbench.fusion.trace import Call, Trace, slots
from workbench.pattern.symbols import symbol_of


def other_symbols(session: Session) -> list[Difference]:
    """The first sub-layer, and the first of MTP, that the two patterns do not share."""

    def symbols(side: Side) -> tuple[str, str]:
        mtp = side.pattern.mtp
        return side.pattern.symbols, "/".join([mtp.symbols] * mtp.depths) if mtp else ""

    found = []
    for where, left, right in zip(
        ("sub-layer", "MTP sub-layer"), symbols(session.left), symbols(session.right), strict=True
    ):
        for index in range(max(len(left), len(right))):
            a, b = left[index : index + 1], right[index : index + 1]
            if a != b:
                detail = f"{_named(a)} against {_named(b)}"
                found.append(Difference(f"{where} {index}", f"{where} {index}", "structure", detail))
                break
    return found


def _named(symbol: str) -> str:
    return "nothing" if symbol in ("", "/") else symbol_of(symbol).name


def unplanned(side: Side) -> list[Difference]:
    """Blocks whose module is not what the pattern says: one module each, both slots filled where it is fused."""
    found = []
    for prefix, stack in stacks(side.model):
        planned = side.pattern.blocks if side.pattern.mtp is None or prefix == "decoder." else side.pattern.mtp.blocks
        if len(stack.layers) != len(planned):
            detail = f"{len(stack.layers)} modules built for {len(planned)} blocks"
            found.append(Difference(f"{prefix}layers", f"the {side.label} stack", "structure", detail))
            continue
        for local_index, (block, layer) in enumerate(zip(planned, stack.layers, strict=True)):
            held = _filled(stack, local_index)
            if held != block.sublayers:
                detail = f"{block} is one {type(layer).__name__} that holds sub-layers {held}, not {block.sublayers}"
                name = f"{prefix}layers.{local_index}"
                found.append(Difference(name, f"block {local_index} on the {side.label}", "structure", detail))
    return found


def _filled(stack: FusedHybridStack, local_index: int) -> tuple[int, ...]:
    """The sub-layers of a block whose mixer is a real module: it has parameters of its own."""
    return tuple(index for index, _, mixer in slots(stack, local_index) if any(True for _ in mixer.parameters()))


def other_layout(session: Session) -> list[Difference]:
    """Canonical names, shapes and dtypes that the two do not share."""
    left, right = canonical_state_dict(session.left.model), canonical_state_dict(session.right.model)
    return compare_mappings(left, right, session.place, None)


def other_numbers(session: Session) -> list[Difference]:
    """Layer numbers decide where statistics land, and inference caches; they are canonical on both sides."""
    left, right = _numbers(session.left.model), _numbers(session.right.model)
    return [
        Difference(name, session.place(f"{name}."), "structure", f"layer number {left[name]} against {right.get(name)}")
        for name in left
        if left[name] != right.get(name)
    ]


def _numbers(model: nn.Module) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for prefix, stack in stacks(model):
        for local_index, layer in enumerate(stack.layers):
            for position, (index, _, mixer) in enumerate(slots(stack, local_index)):
                own: Any = getattr(mixer, "layer_number", None)
                # An MLP has no number of its own; a block's is that of its first sub-layer.
                number = own if own is not None else (int(layer.layer_number) + position)
                found[f"{prefix}layers.{index}"] = int(number)
    return found


def off_path(side: Side, calls: list[Call]) -> list[Difference]:
    """Blocks that were not called exactly once, in order, with the mixers of their sub-layers inside the call."""
    expected: list[tuple[str, tuple[int, ...]]] = []
    for prefix, stack in stacks(side.model):
        for local_index, block in enumerate(stack.blocks):
            expected.append((f"{prefix}layers.{local_index}", block.sublayers))
    ran = [(call.block, tuple(call.sublayers)) for call in calls]
    found = []
    for name, sublayers in expected:
        times = [inside for block, inside in ran if block == name]
        if times != [sublayers]:
            detail = f"should run once with sub-layers {sublayers}; ran {len(times)} time(s), with {times}"
            found.append(Difference(name, f"{name} on the {side.label}", "structure", detail))
    if not found and [name for name, _ in ran] != [name for name, _ in expected]:
        found.append(
            Difference("order", f"the {side.label} stack", "structure", f"blocks ran as {[n for n, _ in ran]}")
        )
    return found


def first_divergence(session: Session, left: Trace, right: Trace) -> list[Difference]:
    """The first tensor on the way, in the order of computation, that the twins do not share."""
    for name, tensor in left.tensors.items():
        if name not in right.tensors:
            return [Difference(name, session.place(name), "missing", "computed on the left only")]
        layer, _, what = name.rpartition(".")
        words = {"input": "the residual stream that enters", "normed": "the norm of", "output": "the mixer of"}[what]
        place = f"{words} {session.place(f'{layer}.')}"
        difference = compare_tensor(name, place, tensor, right.tensors[name], session.settings.tolerance)
        if difference is not None:
            return [difference]
    return []
