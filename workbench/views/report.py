"""The design review of one model as a scene: all that is known of it without building it, and the verdict if there is one.

Usable from a notebook: `html.render(document(estimate("M[*-]M-")))` is the file that `workbench report` writes.
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.arch.sizes import ModelSizes
from workbench.compare.verdict import Verdict
from workbench.cost.summary import Cost
from workbench.pattern.model import Pattern
from workbench.render import scene
from workbench.views import pattern as pattern_view
from workbench.views.architecture import kinds_table, totals
from workbench.views.comparison import comparison
from workbench.views.cost import headline, sections
from workbench.views.evidence import evidence
from workbench.views.formulas import formulas
from workbench.views.graph import block_graph, graph
from workbench.views.key_map import key_map
from workbench.views.numbers import counted
from workbench.views.provenance import Provenance, provenance_parts


def document(
    cost: Cost,
    *,
    title: str = "",
    against: Cost | None = None,
    verdict: Verdict | None = None,
    notes: Sequence[str] = (),
    provenance: Provenance | None = None,
) -> scene.Document:
    """The whole review. `title` names the model, `notes` are what its source says about it, `against` is another design.

    A verdict that is about other patterns is shown as such; nothing else in the review says that models are equal.
    """
    architecture = cost.architecture
    pattern = architecture.pattern
    parts: list[scene.Part] = [*_overview(cost, title)]
    other = None if against is None else against.architecture.pattern
    parts.append(scene.Section("Verdict", evidence(verdict, architecture, other)))
    if against is not None:
        parts.append(scene.Section("Two patterns", comparison(cost, against)))
    parts.append(scene.Section("Inside the blocks", _inside(pattern)))
    parts += _remarks(cost)
    parts.append(scene.Section("Parameters", (kinds_table(architecture),)))
    parts += sections(cost)
    parts.append(scene.Section("Stored and built names", key_map(architecture)))
    parts.append(scene.Section("Sizes and sources", (*_notes(notes), _sizes(architecture.sizes))))
    parts.append(scene.Section("Formulas", tuple(formulas(cost))))
    parts.append(scene.Section("Provenance", provenance_parts(provenance or Provenance(), architecture)))
    named = title or str(pattern)
    return scene.Document(named, tuple(parts), kind="Design review", code=named == str(pattern))


# ------------------------------------------------------------------------------------------------------


def _overview(cost: Cost, title: str) -> tuple[scene.Part, ...]:
    """Both counts, the figures, the strip, and the pattern's text where the title is not already it."""
    pattern = cost.architecture.pattern
    written = () if title in ("", str(pattern)) else (scene.Code(str(pattern), "Pattern"),)
    return (
        pattern_view.facts(pattern),
        totals(cost.parameters),
        headline(cost),
        pattern_view.strip(pattern),
        pattern_view.legend(pattern),
        *written,
    )


def _inside(pattern: Pattern) -> tuple[scene.Part, ...]:
    """What runs inside every distinct block, and each fused one beside the two layers that it is stored as."""
    pairs: list[scene.Part] = []
    for mtp, blocks in ((False, pattern.blocks), (True, pattern.mtp.blocks if pattern.mtp else ())):
        first = {block.symbols: block for block in reversed(blocks) if block.fused}
        for block in sorted(first.values(), key=lambda found: found.index):
            title = f"{'MTP, ' * mtp}{block} beside the two layers that it is stored as"
            pairs.append(scene.Details(title, (block_graph(pattern, block.index, mtp=mtp),)))
    return (graph(pattern), *pairs)


def _remarks(cost: Cost) -> tuple[scene.Part, ...]:
    """What is rarely meant, and how else the pattern could be written."""
    pattern = cost.architecture.pattern
    warnings = pattern_view.notes(pattern)
    told: scene.Part = warnings if warnings.entries else scene.Paragraph("The pattern gives no cause for a warning.")
    others = pattern_view.rewrites(pattern)
    written = (scene.Details("The same sub-layers, written otherwise", others, open=True),) if others else ()
    return (scene.Section("Worth a look", (told, *written)),)


def _notes(notes: Sequence[str]) -> tuple[scene.Part, ...]:
    return (scene.Notes(tuple(map(scene.Note, notes))),) if notes else ()


def _sizes(sizes: ModelSizes) -> scene.Details:
    rows = tuple((name, "–" if value is None else str(value)) for name, value in sizes.to_json().items())
    columns = (scene.Column("size", code=True), scene.Column("value", "right"))
    caption = "Every size, under the name that --sizes takes. A dash: not there."
    return scene.Details(counted(len(rows), "size"), (scene.Table(columns, rows, caption),))
