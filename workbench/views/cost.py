"""What an architecture costs as a scene: parameters, FLOPs, stages, memory of each rank, inference state, every formula."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.cost.flops import NOT_COUNTED
from workbench.cost.kinds import sums_by_kind
from workbench.cost.summary import Cost, PipelineRank
from workbench.pattern.rewrites import compressed
from workbench.render import notebook, scene, text
from workbench.views.architecture import kinds_table, overview, weights
from workbench.views.balance import facts as stage_facts
from workbench.views.balance import stage_table
from workbench.views.formulas import formulas
from workbench.views.kinds import kind_name
from workbench.views.numbers import amount, count, counted, operations, percent, size


def document(cost: Cost, title: str = "", notes: Sequence[str] = ()) -> scene.Document:
    """The whole report. `title` names the model, `notes` are what its source says about it."""
    pattern = cost.architecture.pattern
    parts: list[scene.Part] = [*overview(cost.architecture, headline(cost)), kinds_table(cost.architecture)]
    parts += sections(cost)
    if notes:
        parts.append(scene.Section("About this model", (scene.Notes(tuple(map(scene.Note, notes))),)))
    parts.append(scene.Section("Weights", weights(cost.architecture)))
    parts.append(scene.Section("Formulas", tuple(formulas(cost))))
    return scene.Document(title or compressed(pattern), tuple(parts), kind="Cost")


def sections(cost: Cost) -> tuple[scene.Section, ...]:
    """FLOPs, stages, memory, inference state and blocks, each under its heading."""
    pattern = cost.architecture.pattern
    parts = [scene.Section("FLOPs", (flops_table(cost), length_table(cost), scene.Paragraph(_conventions(cost))))]
    if len(pattern.stages) > 1:
        parts.append(scene.Section("Pipeline stages", (stage_facts(cost.stages), stage_table(cost.stages))))
    parts.append(scene.Section("Memory of each rank", (rank_table(cost), scene.Paragraph(_memory_note(cost)))))
    parts.append(scene.Section("Inference state", (state_table(cost),)))
    parts.append(scene.Section("Blocks", (scene.Details(counted(len(pattern.blocks), "block"), (block_table(cost),)),)))
    return tuple(parts)


def mimebundle(cost: Cost) -> dict[str, str]:
    """What a notebook shows for a cost."""
    staged = len(cost.architecture.pattern.stages) > 1
    stages: tuple[scene.Part, ...] = (stage_table(cost.stages),) if staged else ()
    tables = (kinds_table(cost.architecture), flops_table(cost), *stages, rank_table(cost), state_table(cost))
    parts = (*overview(cost.architecture, headline(cost)), *tables, *formulas(cost))
    shown = scene.Document(str(cost.architecture.pattern), parts, code=True)
    return {"text/plain": text.render(shown).rstrip("\n"), "text/html": notebook.render(shown)}


def headline(cost: Cost) -> scene.Facts:
    """The figures of a design review."""
    worst = max(entry.bytes for entry in cost.ranks)
    entries = (
        scene.Fact(operations(cost.flops_per_token), "a token, training"),
        scene.Fact(operations(cost.flops.decode_per_token(cost.sequence_length)), "a token, decoding"),
        scene.Fact(size(cost.state.total_bytes), "of state a sequence"),
        scene.Fact(size(worst), "on the fullest rank" if cost.parallel.ranks > 1 else "on the only rank"),
        scene.Fact(count(cost.sequence_length), "tokens a sequence"),
    )
    return scene.Facts(entries)


def flops_table(cost: Cost) -> scene.Table:
    """FLOPs a token by kind: forward, forward and backward (nothing recomputed), decoding."""
    decoding = sums_by_kind(cost.flops.decode(cost.sequence_length), lambda part: part.forward)
    training = sums_by_kind(cost.flops.parts, lambda part: part.forward + part.backward)
    forward = cost.flops.by_kind
    highest = max(training.values())
    total = sum(training.values())
    rows: list[tuple[scene.Cell, ...]] = [
        (
            kind_name(kind),
            operations(number),
            operations(training[kind]),
            operations(decoding[kind]) if kind in decoding else "–",
            scene.Bar(training[kind] / highest if highest else 0.0, percent(training[kind] / total if total else 0.0)),
        )
        for kind, number in forward.items()
        if number
    ]
    rows.append(("all", operations(sum(forward.values())), operations(total), operations(sum(decoding.values())), ""))
    columns = (
        scene.Column("kind"),
        scene.Column("forward", "right"),
        scene.Column("forward and backward", "right"),
        scene.Column("decoding", "right"),
        scene.Column("share of training"),
    )
    caption = f"FLOPs of one token, of {count(cost.sequence_length)}. Decoding: one new token with a context of as many, without MTP."
    return scene.Table(columns, tuple(rows), caption)


def length_table(cost: Cost) -> scene.Table:
    """FLOPs a token as a function of the sequence length."""
    columns = (
        scene.Column("tokens", "right"),
        scene.Column("forward", "right"),
        scene.Column("training", "right"),
        scene.Column("prefill", "right"),
        scene.Column("decoding", "right"),
    )
    rows = tuple(
        (
            count(entry.length),
            *(operations(value) for value in (entry.forward, entry.training, entry.prefill, entry.decode)),
        )
        for entry in cost.by_length
    )
    return scene.Table(columns, rows, "FLOPs of one token as the sequence (decoding: the context) grows.")


def rank_table(cost: Cost) -> scene.Table:
    """Memory of every pipeline rank; the ranks of one are alike. The stages of a rank are shown where it has several."""
    virtual = any(len(entry.memory.stages) > 1 for entry in cost.ranks)
    labels = (
        "rank",
        *(("stages",) * virtual),
        "parameters",
        "weights",
        "gradients",
        "optimizer",
        "activations",
        "in flight",
    )
    columns = (*(scene.Column(label, "right") for label in labels), scene.Column("all"))
    highest = max(entry.bytes for entry in cost.ranks)
    rows = tuple(_rank_row(entry, highest, virtual) for entry in cost.ranks)
    return scene.Table(columns, rows, _rank_caption(cost))


def block_table(cost: Cost) -> scene.Table:
    """Parameters, FLOPs and activations of every block of the main pattern."""
    columns = (
        scene.Column("block", "right"),
        scene.Column("symbols"),
        scene.Column("sub-layers", "right"),
        scene.Column("stage", "right"),
        scene.Column("parameters", "right"),
        scene.Column("forward", "right"),
        scene.Column("activations", "right"),
        scene.Column("its input", "right"),
    )
    blocks = zip(
        cost.architecture.pattern.blocks,
        cost.parameters.by_block,
        cost.flops.by_block,
        cost.activations.blocks,
        strict=True,
    )
    rows = tuple(
        (
            str(block.index),
            str(block),
            "–".join(map(str, block.sublayers)),
            str(block.stage),
            count(elements),
            operations(forward),
            size(kept.bytes),
            size(kept.input_bytes),
        )
        for block, elements, forward, kept in blocks
    )
    caption = (
        f"Every block of the main pattern: FLOPs a token; bytes that a micro-batch of {count(cost.micro_batch)} × "
        f"{count(cost.sequence_length)} tokens keeps (recompute: {cost.activations.recompute}), and those of its input, which is "
        "all that full recompute keeps."
    )
    return scene.Table(columns, rows, caption)


def state_table(cost: Cost) -> scene.Table:
    """What generating keeps for one sequence, by kind."""
    columns = (
        scene.Column("kind"),
        scene.Column("what"),
        scene.Column("sub-layers", "right"),
        scene.Column("each", "right"),
        scene.Column("all", "right"),
    )
    rows: list[tuple[scene.Cell, ...]] = []
    for kind, number, each, what in cost.state.by_kind_rows:
        rows.append((kind_name(kind), what, count(number), size(each), size(each * number)))
    rows.append(("all", "", "", "", size(cost.state.total_bytes)))
    caption = f"Bytes that one sequence keeps between tokens, at {count(cost.state.context_length)} tokens of context."
    return scene.Table(columns, tuple(rows), caption)


# ------------------------------------------------------------------------------------------------------


def _conventions(cost: Cost) -> str:
    attention = (
        "attention is causal: a query reads (s + 1) / 2 keys on average" if cost.flops.causal else "full attention"
    )
    modules = cost.activations.recompute.modules
    again = f", what the recompute of {', '.join(sorted(modules))} computes again" if modules else ""
    form = f"A multiply-add is 2 FLOPs; {attention}; recurrences are counted {cost.flops.scan}."
    return f"{form} Not counted: {NOT_COUNTED}{again}."


def _rank_row(entry: PipelineRank, highest: int, virtual: bool) -> tuple[scene.Cell, ...]:
    memory = entry.memory
    return (
        str(memory.pipeline_rank),
        *((", ".join(map(str, memory.stages)),) * virtual),
        amount(memory.parameters),
        size(memory.weight_bytes),
        size(memory.gradient_bytes),
        size(memory.optimizer_bytes),
        size(entry.activation_bytes),
        "+".join(map(str, entry.in_flight)),
        scene.Bar(entry.bytes / highest, size(entry.bytes)),
    )


def _rank_caption(cost: Cost) -> str:
    parallel = cost.parallel
    sizes = f"tensor {parallel.tensor} × pipeline {parallel.pipeline} × data {parallel.data}, experts over {parallel.expert}"
    optimizer = "distributed optimizer" if cost.distributed_optimizer else "optimizer state on every replica"
    return (
        f"Each pipeline rank, of {counted(parallel.ranks, 'rank')}: {sizes}; {optimizer}; {cost.architecture.dtype}; micro-batches of "
        f"{count(cost.micro_batch)} × {count(cost.sequence_length)} tokens, recompute: {cost.activations.recompute}."
    )


def _memory_note(cost: Cost) -> str:
    return (
        "Gradients are in fp32. Activations are those of Transformer Engine with flash attention, derived and not measured "
        "(the formulas of the local modules are held to what autograd saves); under tensor parallelism with sequence "
        "parallelism. In flight: micro-batches whose activations a 1F1B schedule holds at once, of each stage. Left out: "
        "buffers of communication, the allocator's waste, CUDA itself."
    )
