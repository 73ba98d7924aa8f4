"""A pattern as plain JSON data: what `workbench explain --json` prints. Stable; `schema` names its version."""

from __future__ import annotations

from typing import Any

from workbench.pattern.blocks import Block, SubLayer
from workbench.pattern.checks import check
from workbench.pattern.model import Pattern

SCHEMA = "workbench.explain/1"


def explain(pattern: Pattern | str, pipeline_size: int = 1) -> dict[str, Any]:
    """Stages, blocks, sub-layers, counts, MTP and warnings of a pattern. Raises `PatternError` for a text that is none."""
    pattern = Pattern(pattern)
    counts = pattern.counts
    mtp = pattern.mtp
    return {
        "schema": SCHEMA,
        "pattern": str(pattern),
        "unfused": str(pattern.unfused()),
        "fused": str(pattern.fused()),
        "stages": [
            {
                "index": number,
                "blocks": [block.index for block in stage],
                "sublayers": [index for block in stage for index in block.sublayers],
            }
            for number, stage in enumerate(pattern.stages)
        ],
        "blocks": [_block(block) for block in pattern.blocks],
        "sublayers": [_sublayer(layer) for layer in pattern.sublayers],
        "counts": {
            "blocks": counts["blocks"],
            "sublayers": counts["sublayers"],
            "fused": counts["fused"],
            "stages": counts["stages"],
            "by_kind": _by_kind(pattern.sublayers),
        },
        "mtp": None
        if mtp is None
        else {
            "depths": mtp.depths,
            "pattern": str(mtp),
            "blocks": [_block(block) for block in mtp.blocks],
            "sublayers": [_sublayer(layer) for layer in mtp.sublayers],
            "counts": {
                "blocks": len(mtp.blocks),
                "sublayers": len(mtp.sublayers),
                "fused": sum(block.fused for block in mtp.blocks),
                "by_kind": _by_kind(mtp.sublayers),
            },
        },
        "diagnostics": [entry.to_json() for entry in check(pattern.text, pipeline_size)],
    }


def _block(block: Block) -> dict[str, Any]:
    return {
        "index": block.index,
        "symbols": block.symbols,
        "fused": block.fused,
        "sublayers": list(block.sublayers),
        "stage": block.stage,
        "layer_number": block.sublayers[0] + 1,
        "start": block.start,
        "end": block.end,
    }


def _sublayer(layer: SubLayer) -> dict[str, Any]:
    return {
        "index": layer.index,
        "symbol": layer.symbol,
        "kind": layer.kind,
        "name": layer.name,
        "role": layer.role,
        "block": layer.block,
    }


def _by_kind(sublayers: tuple[SubLayer, ...]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for layer in sublayers:
        counts[layer.kind] = counts.get(layer.kind, 0) + 1
    return counts
