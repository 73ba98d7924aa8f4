"""What a checkpoint is, as a scene: the answer, its figures, the pattern, the sizes and what of them cannot be known. Pure."""

from __future__ import annotations

from workbench.checkpoint.inspection import Inspection, Preflight, Size, TensorGroup
from workbench.pattern.symbols import SYMBOLS
from workbench.render import notebook, scene, text
from workbench.render.escape import one_line
from workbench.views import pattern as pattern_view
from workbench.views.kinds import kind_name
from workbench.views.numbers import amount, count, counted, percent, size

_LONGEST = 400  # characters of a stranger's text on one line
_LONGEST_VALUE = 60  # the same of a size's value
_FOLDED_FROM = 24  # sub-layers from which a strip shows what repeats once
_MOST_ROWS = 2000  # of the table of tensors
_NAMES_SHOWN = 40
_FEW_NOTES = 3  # of a preflight, shown unfolded


def document(found: Inspection) -> scene.Document:
    """The whole report."""
    parts: list[scene.Part] = [*overview(found)]
    if found.sizes or found.unknown:
        parts.append(scene.Section("Sizes", _sizes(found)))
    if found.options:
        parts.append(scene.Section("What it can become", (options_table(found),)))
    parts.append(scene.Section("How it is written", _written(found)))
    parts.append(scene.Section("Tensors", tensors(found)))
    return scene.Document(_short(found.where), tuple(parts), kind="Checkpoint", code=True)


def overview(found: Inspection) -> tuple[scene.Part, ...]:
    """The sentence that says what it is, whether it would load, its figures, the pattern, what is wrong with it."""
    parts: list[scene.Part] = [banner(found)]
    if found.preflight is not None:
        parts += verdict(found.preflight)
    parts.append(figures(found))
    if found.pattern is not None and found.pattern.sublayers:
        fold = len(found.pattern.sublayers) >= _FOLDED_FROM
        parts += [
            pattern_view.facts(found.pattern),
            pattern_view.strip(found.pattern, fold=fold),
            pattern_view.legend(found.pattern),
        ]
        parts += pattern_code(found)
    if found.findings:
        entries = tuple(scene.Note(_short(text)) for text in found.findings)
        parts.append(scene.Section("What does not belong together", (scene.Notes(entries),)))
    if found.notes:
        parts.append(scene.Notes(tuple(scene.Note(_short(text)) for text in found.notes)))
    return tuple(parts)


def banner(found: Inspection) -> scene.Banner:
    """What it is, in one sentence."""
    if found.pattern is None:
        if found.layout == "other":
            return scene.Banner(
                scene.Status("not-run", "UNKNOWN"), "No name in it is one of a hybrid, GPT or transformers model."
            )
        return scene.Banner(
            scene.Status("not-run", "UNCLEAR"), f"{_LAYOUTS[found.layout]} whose layers spell no pattern."
        )
    layers = counted(len(found.pattern.sublayers), "sub-layer")
    mtp = f" and {counted(found.pattern.mtp.depths, 'MTP depth')}" if found.pattern.mtp else ""
    parameters = counted(found.parameters.total, "parameter")
    if found.parameters.total >= 1000:
        parameters = f"{amount(found.parameters.total)} parameters"
    said = f"{_LAYOUTS[found.layout]} {layers}{mtp}, {parameters}"
    if found.findings:
        return scene.Banner(
            scene.Status("fail", "ODD"), f"{said}, with {counted(len(found.findings), 'contradiction')}."
        )
    return scene.Banner(scene.Status("pass", "UNDERSTOOD"), f"{said}.")


def verdict(found: Preflight) -> tuple[scene.Part, ...]:
    """Whether it would load, and every reason why not."""
    against = _short(found.against)
    if found.loads:
        shown = scene.Banner(
            scene.Status("pass", "WOULD LOAD"), f"Into {against}: {found.compared} are those of the model."
        )
    else:
        many = counted(len(found.reasons), "reason")
        shown = scene.Banner(scene.Status("fail", "WOULD NOT LOAD"), f"Into {against}: {many}.")
    parts: list[scene.Part] = [shown]
    if found.reasons:
        parts.append(scene.Notes(tuple(scene.Note(_short(reason)) for reason in found.reasons)))
    if found.notes:
        # What has to be done first, such as to convert, must not be folded away; a preset's caveats may be many.
        notes = scene.Notes(tuple(scene.Note(_short(note)) for note in found.notes))
        few = len(found.notes) <= _FEW_NOTES
        parts.append(notes if few else scene.Details(f"{len(found.notes)} things to know of the model", (notes,)))
    return tuple(parts)


def figures(found: Inspection) -> scene.Facts:
    """The counts that come first."""
    entries = [
        scene.Fact(count(found.parameters.total), "parameters"),
        scene.Fact(count(found.tensors), "tensors" if found.tensors != 1 else "tensor"),
        scene.Fact(size(found.nbytes), "in all"),
    ]
    if found.optimizer is not None:
        entries.append(scene.Fact(size(found.optimizer.nbytes), "of optimizer states"))
    if found.iteration is not None:
        entries.append(scene.Fact(count(found.iteration), "iterations"))
    return scene.Facts(tuple(entries))


def pattern_code(found: Inspection) -> tuple[scene.Part, ...]:
    """The pattern as text, and fused."""
    assert found.pattern is not None, "shown where there is one"
    parts: list[scene.Part] = [scene.Code(str(found.pattern), f"Pattern, from {_short(found.pattern_from)}")]
    if found.fused_pattern is not None and found.fused_pattern != found.pattern:
        parts.append(scene.Code(str(found.fused_pattern), "The fused pattern that loads it"))
    return tuple(parts)


def known_table(found: Inspection) -> scene.Table:
    """Every known size, its value, and what shows it."""
    columns = (
        scene.Column("size", code=True),
        scene.Column("value", "right"),
        scene.Column("from"),
        scene.Column("shown by"),
    )
    caption = "Sizes that are known."
    if found.layout == "hugging_face":
        caption += " Names are those of the Megatron model of the same layers."
    return scene.Table(columns, tuple(map(_size, found.sizes)), caption)


def unknown_table(found: Inspection) -> scene.Table:
    """Every other size, why it cannot be known, and what is proven all the same."""
    columns = (scene.Column("size", code=True), scene.Column("why"), scene.Column("what is proven"))
    rows = tuple((entry.name, entry.reason, _short(entry.equation) or "–") for entry in found.unknown)
    return scene.Table(columns, rows, "Sizes that cannot be known from this checkpoint alone.")


def options_table(found: Inspection) -> scene.Table:
    """What the weights can become, and why not."""
    columns = (scene.Column("as"), scene.Column("possible"), scene.Column("why"), scene.Column("pattern", code=True))
    rows: list[tuple[scene.Cell, ...]] = []
    for option in found.options:
        status = scene.Status("pass", "yes") if option.possible else scene.Status("fail", "no")
        why = option.text if option.possible or not option.reasons else "; ".join(option.reasons)
        rows.append((_OPTIONS[option.to], status, why, _short(option.pattern) or "–"))
    return scene.Table(columns, tuple(rows), "What these weights can be loaded into, or be stored as.")


def tensors(found: Inspection) -> tuple[scene.Part, ...]:
    """Parameters by kind, element types, and every tensor, those of layers that are alike in one row."""
    parts: list[scene.Part] = []
    if found.parameters.by_kind:
        parts.append(_kinds(found))
    parts.append(_dtypes(found))
    shown = found.groups[:_MOST_ROWS]
    caption = "Every tensor; layers of one kind that are alike are one row, experts are *."
    if len(found.groups) > len(shown):
        caption = f"The first {count(len(shown))} of {counted(len(found.groups), 'row')}; --json has all of them."
    columns = (
        scene.Column("where"),
        scene.Column("kind"),
        scene.Column("name", code=True),
        scene.Column("shape", "right"),
        scene.Column("dtype"),
        scene.Column("tensors", "right"),
    )
    table = scene.Table(columns, tuple(map(_group, shown)), caption)
    parts.append(scene.Details(counted(found.tensors, "tensor"), (table,)))
    if found.unnamed:
        names = "\n".join(_short(name) for name in found.unnamed[:_NAMES_SHOWN])
        more = f", the first {_NAMES_SHOWN}" if len(found.unnamed) > _NAMES_SHOWN else ""
        parts.append(
            scene.Details(f"{counted(len(found.unnamed), 'name')} that no rule knows{more}", (scene.Code(names),))
        )
    return tuple(parts)


def mimebundle(found: Inspection) -> dict[str, str]:
    """What a notebook shows for an inspection."""
    parts = [*overview(found), *_sizes(found)]
    if found.options:
        parts.append(options_table(found))
    shown = scene.Document(_short(found.where), (*parts, *tensors(found)))
    return {"text/plain": text.render(shown).rstrip("\n"), "text/html": notebook.render(shown)}


# ------------------------------------------------------------------------------------------------------

_OPTIONS = {"fused": "a fused model", "hybrid": "a hybrid model", "gpt": "a GPT model", "grouped": "the group dialect"}
_LAYOUTS = {
    "canonical": "A hybrid model in the canonical layout,",
    "fused": "A hybrid model under the names of its fused blocks,",
    "gpt": "A GPT model,",
    "grouped": "A hybrid model in the newer group dialect,",
    "hugging_face": "A transformers model,",
}


def _sizes(found: Inspection) -> tuple[scene.Part, ...]:
    parts: list[scene.Part] = []
    if found.sizes:
        parts.append(known_table(found))
    if found.unknown:
        parts.append(unknown_table(found))
    return tuple(parts)


def _size(entry: Size) -> tuple[scene.Cell, ...]:
    return entry.name, _value(entry.value), _short(entry.source), _short(entry.evidence) or "–"


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return count(value) if isinstance(value, int) else _short(str(value))[:_LONGEST_VALUE]


def _written(found: Inspection) -> tuple[scene.Part, ...]:
    form = "a state dict" if found.form == "state_dict" else "distributed: projections in pieces, experts along an axis"
    backend = {"te": "Transformer Engine's", "local": "local modules'", None: "the same for both backends"}[
        found.backend
    ]
    rows: list[tuple[scene.Cell, ...]] = [
        ("format", found.format),
        ("layout", found.layout),
        ("form", form),
        ("names of modules", backend),
    ]
    if found.optimizer is not None:
        states = ", ".join(map(_short, found.optimizer.states[:8]))
        rows.append(("optimizer", f"{counted(found.optimizer.tensors, 'tensor')}: {states}"))
    columns = (scene.Column("what"), scene.Column("found"))
    parts: list[scene.Part] = [scene.Table(columns, tuple(rows), "How the weights are stored.")]
    if found.reasons:
        parts.append(scene.Notes(tuple(scene.Note(_short(reason)) for reason in found.reasons)))
    return tuple(parts)


def _kinds(found: Inspection) -> scene.Table:
    total = found.parameters.total
    columns = (scene.Column("kind"), scene.Column("parameters", "right"), scene.Column("share"))
    largest = max(found.parameters.by_kind.values())
    rows = tuple(
        (
            kind_name(kind),
            count(number),
            scene.Bar(number / largest if largest else 0.0, percent(number / total if total else 0.0)),
        )
        for kind, number in found.parameters.by_kind.items()
    )
    caption = "Parameters by kind."
    if found.parameters.buffers:
        caption = f"Parameters by kind; {count(found.parameters.buffers)} elements of buffers are in none."
    return scene.Table(columns, rows, caption)


def _dtypes(found: Inspection) -> scene.Table:
    columns = (scene.Column("dtype", code=True), scene.Column("tensors", "right"))
    rows = tuple((_short(name), count(number)) for name, number in found.dtypes.items())
    return scene.Table(columns, rows, "Element types.")


def _group(group: TensorGroup) -> tuple[scene.Cell, ...]:
    kind = SYMBOLS[group.symbol].name if group.symbol in SYMBOLS else "–"
    shape = f"[{', '.join(map(str, group.shape))}]"
    return group.place or "–", kind, _short(group.name), shape, group.dtype, count(group.tensors)


def _short(text: str) -> str:
    """A stranger's text on one line, and not a page of it."""
    line = one_line(text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
