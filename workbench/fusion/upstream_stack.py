"""Running an unfused model through megatron's own `HybridStack`, to hold ours to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from megatron.core.models.hybrid.hybrid_block import HybridStack
from torch import nn

from workbench.errors import WorkbenchError
from workbench.fusion.names import unwrapped


@contextmanager
def upstream_stack(model: nn.Module) -> Iterator[HybridStack]:
    """Inside, the decoder of an unfused model is a `HybridStack` that upstream built, with the same weights.

    Only the final norm is ours to hand over: upstream names `TENorm` there, whatever the spec
    (`models/hybrid/hybrid_block.py:215`). The weights are copies: what changes inside is lost. Raises `WorkbenchError`
    for a model with fused blocks, which upstream cannot build.
    """
    inside = unwrapped(model)
    ours: Any = inside.decoder
    if fused := [str(block) for block in ours.blocks if block.fused]:
        raise WorkbenchError(f"upstream's stack cannot build fused blocks, and this model has {len(fused)}: {fused[0]}")
    stack: Any = HybridStack(
        config=ours.config,
        submodules=ours.submodules,
        pre_process=ours.pre_process,
        layer_type_list=ours.layer_type_list,
        pp_layer_offset=ours.pp_layer_offset,
        post_layer_norm=False,
        post_process=ours.post_process,
        pg_collection=ours.pg_collection,
    )
    stack.layers.load_state_dict(ours.layers.state_dict())
    if hasattr(ours, "final_norm"):
        stack.final_norm, stack.post_layer_norm = ours.final_norm, ours.post_layer_norm
    stack.train(ours.training)
    inside.decoder = stack
    try:
        yield stack
    finally:
        inside.decoder = ours
