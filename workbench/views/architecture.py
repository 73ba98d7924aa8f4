"""An architecture as a scene: what it has how many parameters of, and the weights of each layer kind with their shapes."""

from __future__ import annotations

from collections.abc import Iterable

from workbench.arch.architecture import DTYPES, Architecture, Part
from workbench.arch.names import canonical_to_local
from workbench.arch.weights import Weight
from workbench.cost.kinds import sums_by_kind
from workbench.cost.parameters import Parameters, active_in, parameters
from workbench.pattern.symbols import SYMBOLS
from workbench.render import notebook, scene, text
from workbench.views import pattern as pattern_view
from workbench.views.kinds import kind_name
from workbench.views.numbers import amount, count, counted, percent


def mimebundle(architecture: Architecture) -> dict[str, str]:
    """What a notebook shows for an architecture."""
    parts = (*overview(architecture), kinds_table(architecture), *weights(architecture))
    shown = scene.Document(str(architecture.pattern) or pattern_view.EMPTY, parts, code=True)
    return {"text/plain": text.render(shown).rstrip("\n"), "text/html": notebook.render(shown)}


def overview(architecture: Architecture, *figures: scene.Part) -> tuple[scene.Part, ...]:
    """Exact totals, `figures` that belong beside them, both counts, the strip."""
    counts = pattern_view.facts(architecture.pattern)
    return (totals(parameters(architecture)), *figures, counts, *_strip(architecture))


def totals(counts: Parameters) -> scene.Facts:
    """The counts that a name is made of, to the last parameter."""
    entries = [scene.Fact(count(counts.total), "parameters"), scene.Fact(count(counts.active), "active for a token")]
    if counts.mtp:
        entries.append(scene.Fact(count(counts.mtp), "of them in MTP"))
    return scene.Facts(tuple(entries))


def kinds_table(architecture: Architecture) -> scene.Table:
    """Parameters by kind: how many sub-layers, each, all, share, active."""
    counts = parameters(architecture)
    main = (part for part in architecture.parts if part.depth is None)
    active = sums_by_kind(main, lambda part: active_in(part, architecture))
    layers = architecture.pattern.symbol_counts
    of_mtp = architecture.pattern.mtp
    rows: list[tuple[scene.Cell, ...]] = []
    largest = max(counts.by_kind.values())
    for kind, number in counts.by_kind.items():
        symbol = next((row.symbol for row in SYMBOLS.values() if row.kind == kind), "")
        in_mtp = sum(layer.symbol == symbol for layer in of_mtp.sublayers) * of_mtp.depths if of_mtp else 0
        many = layers[symbol] - in_mtp if symbol else 0
        share = number / counts.total if counts.total else 0.0
        rows.append(
            (
                kind_name(kind),
                count(many) if symbol else "",
                count(number // many) if many else "",
                count(number),
                count(active.get(kind, 0)),
                scene.Bar(number / largest if largest else 0.0, percent(share)),
            )
        )
    columns = (
        scene.Column("kind"),
        scene.Column("sub-layers", "right"),
        scene.Column("each", "right"),
        scene.Column("parameters", "right"),
        scene.Column("active", "right"),
        scene.Column("share"),
    )
    caption = (
        "Parameters by kind. Active: what one token of the main model goes through; of experts, the ones it is sent to."
    )
    return scene.Table(columns, tuple(rows), caption)


def weights(architecture: Architecture) -> tuple[scene.Part, ...]:
    """The weights of one layer of each kind, and of what stands around the layers."""
    found: dict[str, Part] = {}
    for part in architecture.parts:
        found.setdefault(part.kind, part)
    names = {row.kind: f"{row.name} {row.symbol}" for row in SYMBOLS.values()}
    return tuple(
        scene.Details(
            f"{names.get(kind, kind)}: {counted(sum(row.copies for row in part.rows), 'tensor')}",
            (_weight_table(part, architecture),),
        )
        for kind, part in found.items()
        if part.rows
    )


# ------------------------------------------------------------------------------------------------------


def _strip(architecture: Architecture) -> tuple[scene.Part, ...]:
    pattern = architecture.pattern
    if not pattern.sublayers and pattern.mtp is None:
        return ()
    return pattern_view.strip(pattern), pattern_view.legend(pattern)


def _weight_table(part: Part, architecture: Architecture) -> scene.Table:
    columns = (
        scene.Column("canonical name", code=True),
        scene.Column("local module's name", code=True),
        scene.Column("shape", "right"),
        scene.Column("dtype", code=True),
        scene.Column("elements", "right"),
    )
    where = part.prefix or "the model"
    caption = f"Names within {where.rstrip('.')}."
    return scene.Table(columns, tuple(_weight_rows(part, architecture, part.rows)), caption)


def _weight_rows(part: Part, architecture: Architecture, rows: Iterable[Weight]) -> Iterable[tuple[scene.Cell, ...]]:
    for row in rows:
        shape = "×".join(map(str, row.shape))
        many = f"{row.copies} × {shape}" if row.expert else shape
        dtype = "float32" if row.dtype == "fp32" else DTYPES[architecture.dtype]
        numbered = row.name.replace("{expert}", "0")
        local = canonical_to_local(part.layer.symbol, numbered) if part.layer else numbered
        told = amount(row.elements) if row.trained else "a buffer"
        yield row.name.replace("{expert}", "{n}"), local.replace(".0.", ".{n}."), many, dtype, told
