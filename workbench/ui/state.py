"""What the page shows for a text, as JSON data: the editor is this function and a way to draw its result. Pure.

Imports `workbench.pattern`, `arch`, `cost` and the words of `views`; no widget, no browser.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.arch.presets import presets
from workbench.arch.sizes import ModelSizes
from workbench.pattern.blocks import Block
from workbench.pattern.diagnostics import Diagnostic
from workbench.pattern.model import Pattern
from workbench.pattern.sketch import Sketch
from workbench.pattern.symbols import CHANNEL_MIXER, SYMBOLS, can_fuse
from workbench.render.colour import ink_on
from workbench.render.strip import GLYPHS
from workbench.ui.costs import costs
from workbench.views.numbers import counted
from workbench.views.pattern import facts, mtp_label

MOST_TOLD = 10  # problems that are written out; every one of them is underlined


def compute(text: str | Sketch, sizes: ModelSizes, last: dict[str, Any] | None = None) -> dict[str, Any]:
    """Everything that the page shows for `text`. While it is wrong, `cost` is that of `last`, an earlier state.

    Places count code points. A cell is [symbol, canonical index, place in the text]; a block is [index, fused, can be
    fused with the next, cells].
    """
    sketch = Sketch(text)
    told = [entry for entry in sketch.diagnostics if entry.code != "unfused-pair"]
    pairs = len(sketch.diagnostics) - len(told)
    facts = _facts(sketch)
    cost: dict[str, Any] = last["cost"] if last else {}
    if sketch.sound:
        cost = costs(Pattern(sketch), sizes)
        facts += cost.get("facts", [])
    return {
        "text": sketch.text,
        "sound": sketch.sound,
        "facts": facts,
        "said": _said(told, facts, sketch.sound),
        "problems": [_problem(entry) for entry in told[:MOST_TOLD]],
        "more": max(0, len(told) - MOST_TOLD),
        "pairs": f"{counted(pairs, 'pair')} could be {'one block' if pairs == 1 else 'one block each'}"
        if pairs
        else "",
        "marks": _marks(told),
        "frames": _frames(sketch),
        "cost": cost,
    }


def constants() -> dict[str, Any]:
    """What never changes: the kinds, and by name the presets that have a pattern and a vocabulary."""
    symbols: dict[str, dict[str, Any]] = {
        symbol: {
            "kind": row.kind,
            "name": row.name,
            "glyph": symbol.translate(GLYPHS),
            "filled": row.role != CHANNEL_MIXER,
            "light": row.light,
            "dark": row.dark,
            "on_light": ink_on(row.light),
            "on_dark": ink_on(row.dark),
        }
        for symbol, row in SYMBOLS.items()
    }
    names = [entry.name for entry in presets() if entry.expressible and entry.sizes and entry.sizes.vocab_size]
    return {"symbols": symbols, "presets": names}


# ------------------------------------------------------------------------------------------------------


def _facts(sketch: Sketch) -> list[list[str]]:
    """Both counts first, always; MTP's depths, which come last, where there is MTP."""
    entries = facts(sketch).entries if sketch.mtp else facts(sketch).entries[:-1]
    return [[entry.value, entry.label] for entry in entries]


def _said(told: Sequence[Diagnostic], facts: list[list[str]], sound: bool) -> str:
    """What a screen reader is told once the writing pauses."""
    figures = ", ".join(" ".join(fact) for fact in facts)
    if not told:
        return f"{figures}."
    first = told[0]
    number = counted(len(told), "warning" if sound else "problem")
    return f"{number}. {first.code} at {first.span}: {first.message}. {figures}."


def _problem(entry: Diagnostic) -> dict[str, Any]:
    return {**entry.to_json(), "span": entry.span, "fix": entry.fix.label if entry.fix else ""}


def _marks(told: Sequence[Diagnostic]) -> list[list[Any]]:
    """[start, end, severity] of what is underlined, neighbours joined; start and end are equal where something is missing."""
    found: list[list[Any]] = []
    for entry in told:
        if found and entry.start < entry.end and found[-1][0] < found[-1][1] and entry.start <= found[-1][1]:
            found[-1][1] = max(found[-1][1], entry.end)
        else:
            found.append([entry.start, entry.end, entry.severity])
    return found


def _frames(sketch: Sketch) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = [
        {"label": f"stage {number}", "mtp": False, "blocks": _blocks(stage)}
        for number, stage in enumerate(sketch.stages)
    ]
    if sketch.mtp is not None:
        # Depths are alike where nothing is wrong: the same sub-layer stands again `every` characters later.
        again = {"every": len(str(sketch.mtp)) + 1, "times": sketch.mtp.depths if sketch.sound else 1}
        frames.append({"label": mtp_label(sketch.mtp), "mtp": True, "blocks": _blocks(sketch.mtp.blocks), **again})
    return frames


def _blocks(blocks: Sequence[Block]) -> list[list[Any]]:
    following = (*blocks[1:], None)
    return [
        [
            block.index,
            block.fused,
            following_block is not None
            and not (block.fused or following_block.fused)
            and can_fuse(block.symbols, following_block.symbols),
            [[layer.symbol, layer.index, layer.start] for layer in block.layers],
        ]
        for block, following_block in zip(blocks, following, strict=False)
    ]
