"""Pipeline stages as a scene: what each costs, which one the others wait for, and how much of the time is work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench.cost.balance import Balance
from workbench.pattern.model import Pattern
from workbench.pattern.rewrites import compressed
from workbench.render import notebook, scene, text
from workbench.views import pattern as pattern_view
from workbench.views.numbers import amount, count, operations, percent

SCHEMA = "workbench.balance/1"

# What a stage costs → its words, and how a number of it is written.
UNITS: dict[str, tuple[str, Callable[[float], str]]] = {
    "flops": ("training FLOPs a token", operations),
    "parameters": ("parameters", amount),
}
_MICRO_BATCHES = (8, 32, 128)


def document(found: Balance, before: Balance | None = None, title: str = "") -> scene.Document:
    """A placement of stages; `before` is what the pattern had, where it had stages; `title` names the model."""
    parts: list[scene.Part] = [facts(found), pattern_view.strip(found.pattern), stage_table(found)]
    parts.append(scene.Code(str(found.pattern), "Pattern"))
    if before is not None and len(before.stage_costs) > 1 and before.pattern != found.pattern:
        inner = (facts(before), stage_table(before), scene.Code(str(before.pattern), "Pattern"))
        parts.append(scene.Section("The stages that it had", inner))
    parts.append(bubble_table(found))
    return scene.Document(title or compressed(found.pattern), tuple(parts), kind="Stage balance", code=not title)


def facts(found: Balance) -> scene.Facts:
    """Number of stages, the slowest, and the share of the time that is work once the pipeline is full."""
    entries = (
        scene.Fact(count(len(found.stage_costs)), "stages" if len(found.stage_costs) != 1 else "stage"),
        scene.Fact(f"stage {found.slowest}", "is the slowest"),
        scene.Fact(percent(found.efficiency), "efficiency without bubbles"),
    )
    return scene.Facts(entries)


def stage_table(found: Balance) -> scene.Table:
    """One row a stage: what is in it and what it costs, beside the slowest."""
    unit, shown = UNITS.get(found.by, ("cost", amount))
    columns = (
        scene.Column("stage", "right"),
        scene.Column("blocks", "right"),
        scene.Column("sub-layers", "right"),
        scene.Column("pattern", code=True),
        scene.Column(unit, "right"),
        scene.Column("of the slowest"),
    )
    highest = max(found.stage_costs)
    rows = tuple(
        (
            str(number),
            count(len(stage)),
            count(sum(len(block.symbols) for block in stage)),
            _folded("".join(map(str, stage))) or "–",
            shown(cost),
            scene.Bar(cost / highest if highest else 1.0, percent(cost / highest if highest else 1.0)),
        )
        for number, (stage, cost) in enumerate(zip(found.pattern.stages, found.stage_costs, strict=True))
    )
    caption = (
        "The first stage has the embedding too, the last the final norm, the output layer and multi-token prediction."
    )
    return scene.Table(columns, rows, caption)


def bubble_table(found: Balance) -> scene.Table:
    """Efficiency with the bubble at the start and end of a 1F1B schedule, for some numbers of micro-batches."""
    stages = len(found.stage_costs)
    columns = (scene.Column("micro-batches", "right"), scene.Column("efficiency"))
    rows = tuple(
        (count(number), scene.Bar(found.bubble_efficiency(number), percent(found.bubble_efficiency(number))))
        for number in _MICRO_BATCHES
    )
    caption = (
        f"Efficiency of a 1F1B step: m micro-batches take m + {stages - 1} turns of the slowest of {stages} stages."
    )
    return scene.Table(columns, rows, caption)


def to_json(found: Balance, before: Balance | None) -> dict[str, Any]:
    """The placement as data."""
    return {
        "schema": SCHEMA,
        **found.to_json(),
        "before": before.to_json() if before is not None and len(before.stage_costs) > 1 else None,
    }


def mimebundle(found: Balance) -> dict[str, str]:
    """What a notebook shows for a placement, whatever its costs count."""
    parts = (facts(found), pattern_view.strip(found.pattern), stage_table(found))
    shown = scene.Document(str(found.pattern) or pattern_view.EMPTY, parts, code=True)
    return {"text/plain": text.render(shown).rstrip("\n"), "text/html": notebook.render(shown)}


# ------------------------------------------------------------------------------------------------------


def _folded(stage: str) -> str:
    return compressed(Pattern(stage)) if stage else ""
