"""The published architectures as a scene: a table of what can be written as a pattern, and of what cannot, with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.arch.presets import Preset
from workbench.cost.parameters import Parameters, parameters
from workbench.pattern.rewrites import compressed
from workbench.render import scene
from workbench.views.numbers import amount, count, counted
from workbench.views.pattern import facts, strip

SCHEMA = "workbench.presets/1"


def document(presets: Sequence[Preset]) -> scene.Document:
    """Every preset in a row; parameters are counted from pattern and sizes, beside what was published."""
    said = [preset for preset in presets if preset.expressible]
    unsaid = [preset for preset in presets if not preset.expressible]
    columns = (
        scene.Column("name"),
        scene.Column("sub-layers", "right"),
        scene.Column("fused", "right"),
        scene.Column("parameters", "right"),
        scene.Column("active", "right"),
        scene.Column("published"),
    )
    caption = (
        "Sub-layers of the main pattern, and how many pairs of them could be fused. Parameters with multi-token prediction; "
        "active: what one token of the main model goes through, embedding included. –: the vocabulary is not published."
    )
    parts: list[scene.Part] = [scene.Table(columns, tuple(map(_row, said)), caption)]
    if unsaid:
        table = scene.Table(
            (scene.Column("name"), scene.Column("reason")),
            tuple((preset.name, preset.reason) for preset in unsaid),
            "Published hybrids that the symbols of megatron-core cannot say.",
        )
        parts.append(scene.Section("Not expressible", (table,)))
    return scene.Document(f"{counted(len(presets), 'published architecture')}", tuple(parts), kind="Presets")


def one(preset: Preset) -> scene.Document:
    """Everything that is known of one preset."""
    parts: list[scene.Part] = []
    if preset.reason:
        parts.append(scene.Banner(scene.Status("fail", "NOT EXPRESSIBLE"), preset.reason))
    counts = _counts(preset)
    if counts is not None:
        named = ((count(counts.total), "parameters"), (count(counts.active), "active"))
        parts.append(scene.Facts(tuple(scene.Fact(value, label) for value, label in named)))
    if preset.published:
        parts.append(scene.Paragraph(f"Published: {preset.published}"))
    if preset.pattern is not None:
        parts += [facts(preset.pattern), strip(preset.pattern)] if preset.expressible else []
        parts.append(scene.Code(str(preset.pattern), f"Pattern, folded: {compressed(preset.pattern)}"))
    if preset.sizes is not None:
        sizes = tuple((name, str(value)) for name, value in preset.sizes.to_json().items() if value is not None)
        columns = (scene.Column("size", code=True), scene.Column("value", code=True))
        table = scene.Table(columns, sizes, "Every size; what a layer kind of the pattern does not use is a default.")
        parts.append(scene.Details(counted(len(sizes), "size"), (table,)))
    notes = tuple(scene.Note(text) for text in preset.caveats)
    parts += [scene.Section("Caveats", (scene.Notes(notes),))] * bool(notes)
    parts.append(scene.Section("Sources", (scene.Notes(tuple(scene.Note(text) for text in preset.sources)),)))
    return scene.Document(preset.name, tuple(parts), kind="Preset")


def to_json(presets: Sequence[Preset]) -> dict[str, Any]:
    """Every preset as data; `sizes` is what `--sizes` takes."""
    return {"schema": SCHEMA, "presets": [_entry(preset) for preset in presets]}


# ------------------------------------------------------------------------------------------------------


def _row(preset: Preset) -> tuple[scene.Cell, ...]:
    assert preset.pattern is not None, "an expressible preset has a pattern"
    counts = _counts(preset)
    return (
        preset.name,
        count(len(preset.pattern.sublayers)),
        count(preset.pattern.fused().counts["fused"]),
        amount(counts.total) if counts else "–",
        amount(counts.active) if counts else "–",
        preset.published or "–",
    )


def _counts(preset: Preset) -> Parameters | None:
    if not preset.expressible or preset.sizes is None or preset.sizes.vocab_size is None:
        return None
    return parameters(preset.architecture())


def _entry(preset: Preset) -> dict[str, Any]:
    counts = _counts(preset)
    pattern = preset.pattern
    return {
        "name": preset.name,
        "aliases": list(preset.aliases),
        "expressible": preset.expressible,
        "reason": preset.reason or None,
        "pattern": None if pattern is None else str(pattern),
        "fused_pattern": None if pattern is None else str(pattern.fused()),
        "counts": None if pattern is None else pattern.counts,
        "parameters": None if counts is None else {"total": counts.total, "main": counts.main, "active": counts.active},
        "published": preset.published,
        "exact_parameters": preset.exact_parameters,
        "sizes": None if preset.sizes is None else preset.sizes.to_json(),
        "caveats": list(preset.caveats),
        "sources": list(preset.sources),
    }
