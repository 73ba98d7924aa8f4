"""What autograd keeps from a real forward, block by block: the measurement that activation formulas are held to.

Counted is every distinct storage that goes through `saved_tensors_hooks`, with the bytes it has when the forward is over
(some recomputes empty storages that they have saved), once, for the last piece that saves it. Left out are parameters and
buffers. What all blocks share, the causal mask and the model's table of rotary angles, is counted apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from megatron.core.fusions import fused_softmax
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from tests.fusion.building import SEED
from workbench.fusion import runtime
from workbench.fusion.model import positions
from workbench.fusion.stack import stacks

OUTSIDE, SHARED = "outside", "shared"


@dataclass
class Measured:
    """Bytes of each block of the main pattern, of each block of each MTP depth, outside of blocks, and shared by them."""

    blocks: list[int] = field(default_factory=list)
    mtp_blocks: list[list[int]] = field(default_factory=list)
    outside: int = 0
    shared: int = 0


@dataclass
class _Watch:
    """The piece that runs now, every storage that was saved (kept alive, so that none is taken for another), and whose it is."""

    running: list[str] = field(default_factory=lambda: [OUTSIDE])
    kept: dict[int, Tensor] = field(default_factory=dict)
    owners: dict[int, str] = field(default_factory=dict)
    inputs: dict[int, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    tables: list[Tensor] = field(default_factory=list)
    alive: list[Tensor] = field(default_factory=list)

    def pack(self, tensor: Tensor) -> Tensor:
        storage = _storage(tensor)
        self.kept.setdefault(storage, tensor)
        self.owners[storage] = self.running[-1]
        return tensor


def measure(model: nn.Module, sequence_length: int, micro_batch: int, vocabulary: int) -> Measured:
    """Run one forward of the next-token loss and say what it keeps; every random stream starts anew."""
    runtime.forget_models()
    runtime.seed(SEED)
    watch = _Watch()
    # Inputs and labels in memory of their own: cut from one row of tokens, each would keep one token more.
    inputs, labels = (torch.randint(0, vocabulary, (micro_batch, sequence_length)) for _ in range(2))
    with _watching(model, watch), saved_tensors_hooks(watch.pack, lambda tensor: tensor):
        losses = model(
            input_ids=inputs,
            position_ids=positions(inputs),
            attention_mask=None,
            labels=labels,
            loss_mask=torch.ones_like(labels, dtype=torch.float32),
        )
    assert losses.requires_grad
    weights = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}
    mask = fused_softmax.get_default_causal_mask(sequence_length)
    shared = {_storage(mask), *map(_storage, watch.tables)}
    sums: dict[str, int] = dict.fromkeys(watch.calls, 0)
    for storage, tensor in watch.kept.items():
        if storage in weights:
            continue
        owner = SHARED if storage in shared else watch.owners[storage]
        if owner == OUTSIDE:
            # A block that is checkpointed as a whole has its input saved before it runs.
            owner = watch.inputs.get(storage, OUTSIDE)
        sums[owner] = sums.get(owner, 0) + tensor.untyped_storage().nbytes()
    return _sorted(sums, watch.calls)


@contextmanager
def _watching(model: nn.Module, watch: _Watch) -> Iterator[None]:
    handles: list[Any] = []
    for prefix, stack in stacks(model):
        for index, layer in enumerate(stack.layers):
            handles += _watch_block(watch, f"{prefix} {index}", layer)
    angles = getattr(model, "rotary_pos_emb", None)
    if angles is not None:
        handles.append(angles.register_forward_hook(lambda _, __, table: watch.tables.append(table)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watch_block(watch: _Watch, name: str, layer: nn.Module) -> list[Any]:
    def enter(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        # A layer that several MTP depths share runs once for each.
        call = f"{name} {sum(known.startswith(f'{name} ') for known in watch.calls)}"
        watch.calls.append(call)
        watch.running.append(call)
        entering = named["hidden_states"] if "hidden_states" in named else positional[0]
        watch.alive.append(entering)
        if not torch.is_grad_enabled():
            watch.inputs[_storage(entering)] = call

    def leave(*_: Any) -> None:
        watch.running.pop()

    return [layer.register_forward_pre_hook(enter, with_kwargs=True), layer.register_forward_hook(leave)]


def _storage(tensor: Tensor) -> int:
    identity: int = tensor.untyped_storage()._cdata
    return identity


def _sorted(sums: dict[str, int], calls: list[str]) -> Measured:
    found = Measured(outside=sums.get(OUTSIDE, 0), shared=sums.get(SHARED, 0))
    depths: dict[str, list[int]] = {}
    for call in calls:
        prefix, _, run = call.split(" ")
        if prefix.startswith("mtp"):
            depths.setdefault(f"{prefix} {run}", []).append(sums[call])
        else:
            found.blocks.append(sums[call])
    found.mtp_blocks = list(depths.values())
    return found
