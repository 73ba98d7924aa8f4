"""The key map as a scene: where every stored weight lives in the model that is built, block by block.

A checkpoint is written as if nothing were fused. The map holds the stored names, which are Transformer Engine's,
beside those of the built model under both backends. Layers that are alike are one row: `decoder.layers.{0,4,8}.…`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from workbench.arch.architecture import Architecture, Part, Tensor
from workbench.pattern.symbols import symbol_of
from workbench.render import scene
from workbench.views.numbers import count, counted, noun

_NUMBER = re.compile(r"(\d+)")
_LISTED = 4  # numbers from which only the first, the second and the last stand in a name
SAME = "the same"

Pairs = tuple[tuple[Tensor, Tensor], ...]


def key_map(architecture: Architecture) -> tuple[scene.Part, ...]:
    """What a map is, and one folded table for each distinct block, for those of MTP, and for what stands around."""
    told = (
        "A checkpoint holds the names of the unfused pattern, as Transformer Engine's modules have them: that is why any "
        "fusion of the same symbols loads it. A built model numbers its blocks, and a fused block holds the sequence mixer "
        "in its attention slot and the channel mixer in its MLP slot. Local modules (no Transformer Engine) keep each norm "
        "outside the linear that it feeds, and experts one by one. “The same” repeats the name to its left."
    )
    tables = (_details(architecture, group) for group in _groups(architecture))
    return (scene.Paragraph(told), *filter(None, tables))


def folded(names: Sequence[str]) -> str:
    """Names that differ in their numbers only as one; what does not is shown by the first.

    >>> folded(["layers.0.norm", "layers.4.norm", "layers.8.norm"])
    'layers.{0,4,8}.norm'
    >>> folded([f"fc1.weight{number}" for number in range(64)])
    'fc1.weight{0–63}'
    >>> folded(["layers.0.norm"] * 2)
    'layers.0.norm'
    """
    pieces = [_NUMBER.split(name) for name in names]
    if any(piece[::2] != pieces[0][::2] for piece in pieces):
        return names[0]
    found = []
    for place, piece in enumerate(pieces[0]):
        values = list(dict.fromkeys(other[place] for other in pieces))
        found.append(
            piece if place % 2 == 0 or len(values) == 1 else f"{{{_listed([int(value) for value in values])}}}"
        )
    return "".join(found)


# ------------------------------------------------------------------------------------------------------

# The parts of one kind of block: its symbols, whether they are MTP's, and for each of its sub-layers all parts alike.
_Group = tuple[str, bool, tuple[tuple[Part, ...], ...]]


def _groups(architecture: Architecture) -> Iterator[_Group]:
    around: dict[str, list[Part]] = {}
    blocks: dict[tuple[str, bool], dict[int, list[Part]]] = {}
    for part in architecture.parts:
        if part.block is None:
            around.setdefault(part.kind, []).append(part)
        else:
            halves = blocks.setdefault((part.block.symbols, part.depth is not None), {})
            halves.setdefault(part.position, []).append(part)
    for (symbols, of_mtp), halves in sorted(blocks.items(), key=lambda entry: entry[0][1]):
        yield symbols, of_mtp, tuple(tuple(parts) for parts in halves.values())
    yield "", False, tuple(tuple(parts) for parts in around.values())


def _details(architecture: Architecture, group: _Group) -> scene.Details | None:
    symbols, of_mtp, halves = group
    rows = [row for parts in halves for row in _rows(architecture, parts)]
    if not rows:
        return None
    columns = (
        scene.Column("stored as", code=True),
        scene.Column("shape", "right"),
        scene.Column("dtype", code=True),
        scene.Column("lives in, Transformer Engine", code=True),
        scene.Column("lives in, local modules", code=True),
    )
    return scene.Details(
        f"{_named(group)}: {counted(len(rows), 'row')}",
        (scene.Table(columns, tuple(rows), _caption(symbols, of_mtp, halves)),),
        # One block open shows what the others hold.
        open=len(symbols) == 2 and not of_mtp,
    )


def _named(group: _Group) -> str:
    symbols, of_mtp, halves = group
    if not symbols:
        return "Around the blocks"
    name = " + ".join(symbol_of(symbol).name for symbol in symbols)
    shown = f"[{symbols}] fused, {name}" if len(symbols) > 1 else f"{symbols} {name}"
    return f"{'MTP, ' * of_mtp}{shown}, {counted(len(halves[0]), 'block')}"


def _caption(symbols: str, of_mtp: bool, halves: tuple[tuple[Part, ...], ...]) -> str:
    if not symbols:
        return "Embedding, final norm, output layer and the projections of MTP have one name everywhere."
    blocks = list(dict.fromkeys(part.block.index for part in halves[0] if part.block is not None))
    stored = [list(dict.fromkeys(part.layer.index for part in parts if part.layer)) for parts in halves]
    what = f"{noun(len(blocks), 'Block')} {_all(blocks)}{' of each MTP depth' if of_mtp else ''}"
    if stored == [blocks]:
        return f"{what}, stored under {'its own number' if len(blocks) == 1 else 'their own numbers'}."
    layers = noun(len(blocks) * len(stored), "sub-layer")
    order = ". Numbers in braces stand in the same order." if len(blocks) > 1 else "."
    return f"{what}, stored as {layers} {' and '.join(map(_all, stored))}{order}"


def _rows(architecture: Architecture, parts: Sequence[Part]) -> Iterator[tuple[scene.Cell, ...]]:
    """A row for each weight of the parts, which are alike: all of them, and all experts of it, under one name."""
    te, local = (_by_weight(architecture, parts, backend) for backend in ("te", "local"))
    for pairs, local_pairs in zip(te, local, strict=True):
        stored = folded([canonical.name for _, canonical in pairs])
        built = folded([tensor.name for tensor, _ in pairs])
        of_local = folded([tensor.name for tensor, _ in local_pairs])
        tensor = pairs[0][1]
        shape = "×".join(map(str, tensor.shape)) or "one number"
        yield stored, shape, tensor.dtype, SAME if built == stored else built, SAME if of_local == built else of_local


def _by_weight(architecture: Architecture, parts: Sequence[Part], backend: str) -> list[Pairs]:
    """For each row of weights its (built, canonical) pairs: every expert of the first part, the first of every other."""
    first, *others = parts
    pairs = architecture.built_and_canonical(backend, (first,))
    found = [[next(pairs) for _ in range(row.copies)] for row in first.rows]
    for part in others:
        one_each = replace(part, rows=tuple(replace(row, copies=1) for row in part.rows))
        for entries, pair in zip(found, architecture.built_and_canonical(backend, (one_each,)), strict=True):
            entries.append(pair)
    return [tuple(entries) for entries in found]


def _listed(numbers: Sequence[int]) -> str:
    if len(numbers) <= _LISTED:
        return ",".join(map(str, numbers))
    if list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}–{numbers[-1]}"
    return f"{numbers[0]},{numbers[1]},…,{numbers[-1]}"


def _all(numbers: Sequence[int]) -> str:
    if len(numbers) > 1 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{count(numbers[0])}–{count(numbers[-1])}"
    return ", ".join(map(count, numbers))
