"""A layer pattern as a scene: both counts, the strip, what each symbol is, the blocks, and what is rarely meant."""

from __future__ import annotations

from workbench.pattern.blocks import Block, Mtp, SubLayer
from workbench.pattern.diagnostics import Diagnostic
from workbench.pattern.model import Pattern
from workbench.pattern.rewrites import compressed, repeats
from workbench.pattern.sketch import Sketch
from workbench.pattern.symbols import SEQUENCE_MIXER, SYMBOLS, symbol_of
from workbench.render import notebook, scene, text
from workbench.views.numbers import count, counted, noun

_FOLDED_FROM = 4  # unfused-pair warnings that are said in one line
EMPTY = "(empty pattern)"
_LONGEST_FOLD = 16  # blocks of a repeat, so that it fits on a line
_LONG = 40  # characters from which the compressed form is worth a line


def document(pattern: Pattern) -> scene.Document:
    """Everything that the pattern alone says."""
    parts: list[scene.Part] = [*_overview(pattern)]
    warnings = notes(pattern)
    if warnings.entries:
        parts.append(scene.Section("Worth a look", (warnings,)))
    if pattern.blocks:
        caption = (
            "Every block of the main pattern. layer_number is the canonical number, from 1, of its first sub-layer."
        )
        parts.append(scene.Section("Blocks", (_block_table(pattern.blocks, caption),)))
    if pattern.mtp is not None:
        times = counted(pattern.mtp.depths, "depth")
        caption = f"Every block of one MTP depth, built for {times}. MTP numbers its own layers, from 0."
        parts.append(scene.Section("Multi-token prediction", (_block_table(pattern.mtp.blocks, caption),)))
    if others := rewrites(pattern):
        parts.append(scene.Section("The same model, written otherwise", others))
    return scene.Document(str(pattern) or EMPTY, tuple(parts), kind="Layer pattern", code=True)


def facts(pattern: Sketch) -> scene.Facts:
    """Both counts, then fused pairs, stages and MTP depths."""
    counts = pattern.counts
    depths = pattern.mtp.depths if pattern.mtp else 0
    named = (
        (counts["blocks"], "block"),
        (counts["sublayers"], "sub-layer"),
        (counts["fused"], "fused pair"),
        (counts["stages"], "stage"),
        (depths, "MTP depth"),
    )
    return scene.Facts(tuple(scene.Fact(count(number), noun(number, word)) for number, word in named))


def strip(pattern: Pattern, fold: bool = False) -> scene.Strip:
    """The pattern as cells: stages framed, MTP dashed. `fold` shows blocks that repeat inside a stage once, with ×n."""
    shown = _folded if fold else _unfolded
    frames = [scene.StripFrame(f"stage {number}", shown(stage)) for number, stage in enumerate(pattern.stages)]
    if pattern.mtp is not None:
        frames.append(scene.StripFrame(mtp_label(pattern.mtp), shown(pattern.mtp.blocks), dashed=True))
    said = ", ".join(f"{fact.value} {fact.label}" for fact in facts(pattern).entries)
    return scene.Strip(f"Layer pattern {pattern}", said, tuple(frames))


def mtp_label(mtp: Mtp) -> str:
    """What stands over the frame of MTP: "MTP", or "MTP ×2" with two depths."""
    return "MTP" if mtp.depths == 1 else f"MTP ×{mtp.depths}"


def legend(pattern: Pattern) -> scene.Legend:
    """The kinds that occur, with how many sub-layers of the main pattern and of one MTP depth each has."""
    mtp = pattern.mtp.sublayers if pattern.mtp else ()
    entries = []
    for symbol, row in SYMBOLS.items():
        here = [layer for layer in pattern.sublayers if layer.symbol == symbol]
        there = [layer for layer in mtp if layer.symbol == symbol]
        if not (here or there):
            continue
        counts = [f"×{count(len(here))}"] * bool(here) + [f"×{count(len(there))} in MTP"] * bool(there)
        entries.append(scene.LegendEntry(_cell((here or there)[0]), f"{row.name} {', '.join(counts)}"))
    return scene.Legend(tuple(entries))


def notes(pattern: Pattern) -> scene.Notes:
    """The warnings; many pairs that could be fused are one note."""
    pairs = [entry for entry in pattern.warnings if entry.code == "unfused-pair"]
    folded = len(pairs) >= _FOLDED_FROM
    entries = [_note(entry) for entry in pattern.warnings if not (folded and entry.code == "unfused-pair")]
    if folded:
        message = f"{count(len(pairs))} pairs could each be one block: same model, same checkpoint"
        entries.append(scene.Note(message, "unfused-pair", "the pattern with every pair fused stands below"))
    return scene.Notes(tuple(entries))


def rewrites(pattern: Pattern) -> tuple[scene.Part, ...]:
    """Other texts of the same sub-layers: all fused, nothing fused, and a short one where it is long."""
    forms = [
        ("Every pair fused", str(pattern.fused())),
        ("Nothing fused, as checkpoints are written", str(pattern.unfused())),
    ]
    forms = [(label, written) for label, written in forms if written != str(pattern)]
    if len(str(pattern)) >= _LONG:
        forms.append(("Repeats folded, for reading only", compressed(pattern)))
    return tuple(scene.Code(written, label) for label, written in forms)


def mimebundle(pattern: Pattern) -> dict[str, str]:
    """What a notebook shows for a pattern."""
    shown = scene.Document(str(pattern) or EMPTY, _overview(pattern), code=True)
    return {"text/plain": text.render(shown).rstrip("\n"), "text/html": notebook.render(shown)}


# ------------------------------------------------------------------------------------------------------


def _overview(pattern: Pattern) -> tuple[scene.Part, ...]:
    if not pattern.sublayers and pattern.mtp is None:
        return (facts(pattern),)
    return facts(pattern), strip(pattern), legend(pattern)


def _unfolded(blocks: tuple[Block, ...]) -> tuple[scene.StripGroup | scene.StripRepeat, ...]:
    return tuple(map(_group, blocks))


def _folded(blocks: tuple[Block, ...]) -> tuple[scene.StripGroup | scene.StripRepeat, ...]:
    entries: list[scene.StripGroup | scene.StripRepeat] = []
    place = 0
    for unit, times in repeats([str(block) for block in blocks], _LONGEST_FOLD):
        groups = tuple(map(_group, blocks[place : place + len(unit)]))
        first = blocks[place].sublayers[0]
        place += len(unit) * times
        last = blocks[place - 1].sublayers[-1]
        entries += [scene.StripRepeat(groups, times, first, last)] if times > 1 else groups
    return tuple(entries)


def _group(block: Block) -> scene.StripGroup:
    return scene.StripGroup(tuple(map(_cell, block.layers)), block.fused)


def _cell(layer: SubLayer) -> scene.StripCell:
    row = symbol_of(layer.symbol)
    title = f"sub-layer {layer.index}: {row.name}, block {layer.block}"
    return scene.StripCell(layer.symbol, layer.index, row.light, row.dark, row.role == SEQUENCE_MIXER, title)


def _block_table(blocks: tuple[Block, ...], caption: str) -> scene.Table:
    staged = any(block.stage is not None for block in blocks)
    columns = [
        scene.Column("block", "right"),
        scene.Column("layer_number", "right"),
        scene.Column("symbols"),
        scene.Column("kind"),
        scene.Column("sub-layers", "right"),
    ]
    rows: list[list[scene.Cell]] = [
        [
            str(block.index),
            str(block.sublayers[0] + 1),
            _group(block),
            " + ".join(layer.name for layer in block.layers),
            "–".join(map(str, block.sublayers)),
        ]
        for block in blocks
    ]
    if staged:
        columns.append(scene.Column("stage", "right"))
        for row, block in zip(rows, blocks, strict=True):
            row.append(str(block.stage))
    return scene.Table(tuple(columns), tuple(map(tuple, rows)), caption)


def _note(entry: Diagnostic) -> scene.Note:
    return scene.Note(f"at {entry.span}: {entry.message}", entry.code, entry.hint)
