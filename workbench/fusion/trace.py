"""What really ran: hooks that record which block was called, which slots ran inside it, and the tensors on the way.

Life of a trace: `with traced(model) as trace:` around a forward; then `trace.calls` says what was called, in order, and
`trace.tensors` holds, for every sub-layer, the residual stream that entered it, what its norm gave, and what its mixer gave.
The hooks are gone afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from workbench.fusion.names import unwrapped
from workbench.fusion.stack import FusedHybridStack, stacks
from workbench.pattern.symbols import symbol_of


@dataclass
class Call:
    """One call of a block's module: its live name, class, symbols, and the sub-layers whose mixer ran inside the call."""

    block: str
    module: str
    symbols: str
    sublayers: list[int] = field(default_factory=list)


@dataclass
class Trace:
    """`tensors`: "decoder.layers.3.input" / ".normed" / ".output" → a copy [s, b, h], in the order they were computed."""

    calls: list[Call] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)


@contextmanager
def traced(model: nn.Module, *, tensors: bool = True) -> Iterator[Trace]:
    """Record the forwards that happen inside. `tensors=False` records calls only."""
    trace = Trace()
    handles: list[Any] = []
    for prefix, stack in stacks(unwrapped(model)):
        for local_index in range(len(stack.blocks)):
            handles += _watch_block(trace, prefix, stack, local_index, tensors)
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def slots(stack: FusedHybridStack, local_index: int) -> Iterator[tuple[int, nn.Module, nn.Module]]:
    """(canonical index, norm, mixer) of each sub-layer that a block holds."""
    block, layer = stack.blocks[local_index], stack.layers[local_index]
    for position, symbol in enumerate(block.symbols):
        row = symbol_of(symbol)
        fused_mixer = block.fused and position == 0
        norm = "input_layernorm" if fused_mixer else row.norm.removesuffix(".")
        mixer = "self_attention" if fused_mixer else row.module.removesuffix(".")
        yield block.first + position, layer.get_submodule(norm), layer.get_submodule(mixer)


def _watch_block(trace: Trace, prefix: str, stack: FusedHybridStack, local_index: int, tensors: bool) -> list[Any]:
    block, layer = stack.blocks[local_index], stack.layers[local_index]
    open_calls: list[Call] = []

    def enter(_: nn.Module, __: Any) -> None:
        open_calls.append(Call(f"{prefix}layers.{local_index}", type(layer).__name__, block.symbols))
        trace.calls.append(open_calls[-1])

    def leave(*_: Any) -> None:
        open_calls.pop()

    handles: list[Any] = [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]
    for index, norm, mixer in slots(stack, local_index):
        name = f"{prefix}layers.{index}"

        def ran(_: nn.Module, __: Any, ___: Any, index: int = index) -> None:
            # A mixer that runs while its own block does not is a mixer that something else called.
            if open_calls:
                open_calls[-1].sublayers.append(index)

        handles.append(mixer.register_forward_hook(ran))
        if tensors:
            handles += _watch_tensors(trace, name, norm, mixer)
    return handles


def _watch_tensors(trace: Trace, name: str, norm: nn.Module, mixer: nn.Module) -> list[Any]:
    def entered(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        _keep(trace, f"{name}.input", inputs)

    def normed(_: nn.Module, __: Any, output: Any) -> None:
        _keep(trace, f"{name}.normed", output)

    def mixed(_: nn.Module, __: Any, output: Any) -> None:
        _keep(trace, f"{name}.output", output)

    return [
        norm.register_forward_pre_hook(entered),
        norm.register_forward_hook(normed),
        mixer.register_forward_hook(mixed),
    ]


def _keep(trace: Trace, name: str, value: Any) -> None:
    tensor = value[0] if isinstance(value, tuple) else value
    trace.tensors[name] = tensor.detach().clone()
