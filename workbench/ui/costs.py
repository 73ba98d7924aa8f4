"""What the editor says of cost: figures, a table by kind, and every weight of each sort of block. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from workbench.arch.architecture import Architecture
from workbench.arch.names import fused_name
from workbench.arch.sizes import ModelSizes
from workbench.arch.weights import Weight, layer_weights
from workbench.cost.flops import flops
from workbench.cost.parameters import parameters
from workbench.cost.stages import counted_stages
from workbench.errors import WorkbenchError
from workbench.pattern.blocks import Block
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import SYMBOLS
from workbench.views.kinds import kind_name
from workbench.views.numbers import amount, count, operations, percent

LENGTH = 8192  # tokens that FLOPs are counted at


def costs(pattern: Pattern, sizes: ModelSizes) -> dict[str, Any]:
    """The figures and the table; `problem` instead where the sizes do not say what a layer of the pattern needs."""
    if not pattern.sublayers:
        return {"problem": "An empty pattern has no layers: there is nothing to count."}
    try:
        architecture = Architecture(pattern, sizes)
    except WorkbenchError as error:
        return {"problem": str(error)}
    counted, flop_counts = parameters(architecture), flops(architecture, sequence_length=LENGTH)
    facts = [[amount(counted.total), "parameters"]]
    if len(pattern.stages) > 1:
        balance = counted_stages(flop_counts)
        facts.append([f"{1 / balance.efficiency:.2f}×" if balance.efficiency else "–", "slowest stage / mean"])
    work = flop_counts.by_kind
    all_work = sum(work.values())
    symbols = {row.kind: row.symbol for row in SYMBOLS.values()}
    rows = [
        {
            "kind": kind,
            "name": kind_name(kind),
            "symbol": symbols.get(kind, ""),
            "parameters": amount(number),
            "parameter_share": number / counted.total if counted.total else 0.0,
            "parameter_percent": percent(number / counted.total if counted.total else 0.0),
            "flops": operations(work[kind]) if work.get(kind) else "–",
            "flop_share": work.get(kind, 0) / all_work if all_work else 0.0,
            "flop_percent": percent(work.get(kind, 0) / all_work if all_work else 0.0),
        }
        for kind, number in counted.by_kind.items()
        if number or work.get(kind)
    ]
    vocabulary = f"vocabulary {count(sizes.vocabulary)}"
    caption = f"Cost by kind: hidden size {count(sizes.hidden_size)}, {vocabulary}; forward FLOPs of a token, of {count(LENGTH)}."
    return {
        "facts": facts,
        "caption": caption,
        "rows": rows,
        "total": [amount(counted.total), operations(all_work)],
        "weights": _weights(pattern, sizes),
    }


def _weights(pattern: Pattern, sizes: ModelSizes) -> dict[str, list[list[list[str]]]]:
    """For each sort of block, for each of its sub-layers: [name it is stored under, shape, name in the built block]."""
    blocks: tuple[Block, ...] = pattern.blocks + (pattern.mtp.blocks if pattern.mtp else ())
    return {symbols: _block_weights(symbols, sizes) for symbols in dict.fromkeys(block.symbols for block in blocks)}


@lru_cache(maxsize=256)
def _block_weights(symbols: str, sizes: ModelSizes) -> list[list[list[str]]]:
    return [
        [_weight(symbols, position, row) for row in layer_weights(symbol, sizes)]
        for position, symbol in enumerate(symbols)
    ]


def _weight(symbols: str, position: int, row: Weight) -> list[str]:
    shape = f"[{', '.join(map(str, row.shape))}]"
    numbered = fused_name(symbols, position, row.name.replace("{expert}", "0"))
    if not row.expert:
        return [row.name, shape, numbered]
    first, last = row.name.replace("{expert}", "0"), str(row.copies - 1)
    return [f"{first} … {last}", f"{row.copies} × {shape}", f"{numbered} … {last}"]
