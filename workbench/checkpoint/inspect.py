"""`inspect`: what a checkpoint is, and whether it would load into a model. Names and shapes are read, and no tensor. numpy only."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from workbench.arch.architecture import Architecture
from workbench.arch.presets import Preset, preset
from workbench.arch.sizes import ModelSizes
from workbench.checkpoint.inference.hugging_face_shapes import as_canonical
from workbench.checkpoint.inference.infer import Inferred, infer_sorted
from workbench.checkpoint.inference.preflight import Wanted, preflight, wanted_by
from workbench.checkpoint.inference.reasons import own_reasons
from workbench.checkpoint.inference.recorded import Claim, claims, iteration_of
from workbench.checkpoint.inference.sublayers import Shapes, Sorted, by_sublayer
from workbench.checkpoint.inference.tensor_groups import tensor_groups
from workbench.checkpoint.inspection import Inspection, OptimizerStates, Parameters
from workbench.checkpoint.interop import Option, options
from workbench.checkpoint.layout import Layout
from workbench.checkpoint.layouts import layout_of
from workbench.checkpoint.opening import open_checkpoint
from workbench.checkpoint.reading.uncollected import uncollected
from workbench.checkpoint.source import Checkpoint
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern
from workbench.pattern.rewrites import compressed
from workbench.pattern.symbols import symbol_of

_ROOTS = ("decoder.", "embedding.", "output_layer.", "mtp.", "rotary_pos_emb.")
_BUFFER = ".mlp.router.expert_bias"
_AROUND = (("embedding.", "embedding"), ("decoder.final_norm.", "final norm"), ("output_layer.", "output layer"))


def inspect(what: Any, against: Any = None, *, sizes: ModelSizes | None = None) -> Inspection:
    """What a checkpoint is: a path of any format, a module, an optimizer, a mapping, or an opened `Checkpoint`.

    `against` asks whether it would load: into a model of a pattern (a text or a `Pattern`; of `sizes`, or, without them, by
    layer kinds alone), a preset or an `Architecture`, or where another checkpoint (a path) does. Raises `WorkbenchError`
    when a path is no checkpoint, or `against` is nothing of these.
    """
    with uncollected():
        checkpoint = open_checkpoint(what)
        wanted = against if isinstance(against, Wanted) else None
        if wanted is None and against is not None:
            wanted = _wanted(against, sizes)
        found = _looked_at(checkpoint)
        result = _inspection(found)
        if wanted is None:
            return result
        return replace(result, preflight=preflight(found.shapes, wanted, found.layout.name))


# ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    """A checkpoint whose names have been sorted: `shapes` are of weights, canonical; `notes` and `findings` so far."""

    checkpoint: Checkpoint
    layout: Layout
    shapes: Shapes
    sorted: Sorted
    inferred: Inferred
    unnamed: tuple[str, ...]


def _looked_at(checkpoint: Checkpoint) -> _Found:
    layout = layout_of(checkpoint)
    if layout.name == "hugging_face":
        translated = as_canonical({name: tensor.shape for name, tensor in checkpoint.tensors.items()})
        shapes: Shapes = translated.shapes
        unnamed = translated.unknown
    else:
        left = set(layout.unknown)
        shapes = {
            name: named.tensor.shape
            for name, named in layout.canonical.items()
            if name.startswith(_ROOTS) and name not in left
        }
        unnamed = layout.unknown
    names = by_sublayer(shapes)
    inferred = infer_sorted(names, distributed=layout.form == "distributed")
    return _Found(checkpoint, layout, shapes, names, inferred, unnamed)


def _inspection(found: _Found) -> Inspection:
    checkpoint, layout = found.checkpoint, found.layout
    told = claims(checkpoint.values)
    pattern, pattern_from, findings, notes = _pattern(found, told)
    inferred = found.inferred
    for claim in told:
        inferred = inferred.told(_claimed(claim, found), claim.source)
        notes += [f"{claim.source}: {note}" for note in claim.notes]
    findings += inferred.findings
    findings += own_reasons(found.inferred, found.shapes)
    if found.unnamed:
        findings.append(_unnamed(found.unnamed))
    held = checkpoint.tensors
    return Inspection(
        where=checkpoint.where,
        format=checkpoint.format,
        layout=layout.name,
        form=layout.form,
        backend=layout.backend,
        pattern=pattern,
        fused_pattern=None if pattern is None else pattern.fused(),
        pattern_from=pattern_from,
        parameters=_parameters(found),
        sizes=inferred.sizes,
        unknown=inferred.unknown,
        tensors=len(held),
        nbytes=checkpoint.nbytes,
        dtypes=dict(Counter(tensor.dtype for tensor in held.values()).most_common()),
        groups=tensor_groups(checkpoint, layout, found.sorted),
        optimizer=_optimizer(layout),
        options=_options(pattern, layout),
        iteration=iteration_of(checkpoint.values),
        findings=tuple(dict.fromkeys(findings)),
        notes=(*checkpoint.notes, *notes),
        reasons=layout.reasons,
        unnamed=found.unnamed,
    )


def _wanted(against: Any, sizes: ModelSizes | None) -> Wanted:
    """The model that `against` means."""
    if isinstance(against, Architecture):
        return wanted_by(against, str(against.pattern))
    if isinstance(against, Preset):
        return wanted_by(against.architecture(), against.name, against.caveats)
    if isinstance(against, Pattern):
        return Wanted(str(against), against) if sizes is None else wanted_by(Architecture(against, sizes), str(against))
    if isinstance(against, str) and not os.path.lexists(against):
        try:
            named = preset(against)
        except WorkbenchError:
            return _wanted(Pattern(against), sizes)
        return _wanted(named, None)
    other = _looked_at(open_checkpoint(against))
    name = other.checkpoint.where
    if other.inferred.pattern is None:
        problem = "; ".join(other.inferred.findings[:2]) or "its names are of no hybrid model"
        raise WorkbenchError(f"{name} has no pattern to hold another checkpoint against: {problem}")
    return Wanted(name, other.layout.pattern or other.inferred.pattern, other.shapes)


def _pattern(found: _Found, told: Iterable[Claim]) -> tuple[Pattern | None, str, list[str], list[str]]:
    """The pattern to show, where it is from, and what claims say against it.

    Names show neither `|` nor, in a canonical checkpoint, brackets; a claim of the same sub-layers adds them.
    """
    seen = found.inferred.pattern
    shown = found.layout.pattern if found.layout.pattern is not None and seen is not None else seen
    source, findings, notes = "names", list[str](), list[str]()
    for claim in told:
        if claim.pattern is None or seen is None:
            continue
        mine, theirs = _plain(seen), _plain(claim.pattern)
        repeats = mine[2] == 1 < theirs[2]  # several depths that run the weights of one
        if mine == theirs or (mine[:2] == theirs[:2] and repeats):
            if source == "names" and (claim.pattern.counts["stages"] > 1 or repeats):
                shown, source = claim.pattern, f"names, and {claim.source}"
        elif mine[0] == theirs[0] and not mine[2]:
            notes.append(f"{claim.source} has MTP (/{claim.pattern.mtp}), and no weights of it are there")
        elif mine != theirs:
            findings.append(
                f"{claim.source} says that the pattern is {compressed(claim.pattern)}, and the names show {compressed(seen)}"
            )
    return shown, source if shown is not None else "", findings, notes


def _plain(pattern: Pattern) -> tuple[str, str, int]:
    """Main symbols, those of an MTP depth, and depths."""
    if pattern.mtp is None:
        return pattern.symbols, "", 0
    return pattern.symbols, pattern.mtp.symbols, pattern.mtp.depths


def _claimed(claim: Claim, found: _Found) -> Mapping[str, Any]:
    """A claim's sizes; several depths of which one is stored run the same weights."""
    stored = len(found.sorted.depths)
    values = {name: value for name, value in claim.values.items() if name != "mtp_use_repeated_layer"}
    if claim.pattern is not None and claim.pattern.mtp is not None and stored == 1:
        values["mtp_use_repeated_layer"] = claim.pattern.mtp.depths > 1
    return values


def _options(pattern: Pattern | None, layout: Layout) -> tuple[Option, ...]:
    if pattern is None or not pattern.sublayers:
        return ()
    return options(pattern, gpt=layout.name == "gpt")


def _parameters(found: _Found) -> Parameters:
    by_kind: dict[str, int] = {}
    buffers = 0
    for (depth, index), held in found.sorted.layers.items():
        symbols = found.sorted.symbols[depth, index]
        kind = "mtp" if depth is not None else symbol_of(symbols).kind if len(symbols) == 1 else "other"
        for name, shape in held.items():
            if f".{name}".endswith(_BUFFER):
                buffers += math.prod(shape)
            else:
                by_kind[kind] = by_kind.get(kind, 0) + math.prod(shape)
    for name, shape in found.sorted.outside.items():
        kind = next(
            (kind for prefix, kind in _AROUND if name.startswith(prefix)), "mtp" if name.startswith("mtp.") else "other"
        )
        by_kind[kind] = by_kind.get(kind, 0) + math.prod(shape)
    return Parameters(sum(by_kind.values()), by_kind, buffers)


def _optimizer(layout: Layout) -> OptimizerStates | None:
    """States beside the weights: "optimizer.state.exp_avg.decoder.…", "optimizer.param_groups.…"."""
    states: Counter[str] = Counter()
    nbytes = 0
    for name, named in layout.canonical.items():
        if name.startswith(("optimizer.", "chained_")):
            parts = name.split(".", 3)
            states[parts[2] if len(parts) > 3 and parts[1] == "state" else parts[1]] += 1
            nbytes += named.tensor.nbytes
    return OptimizerStates(tuple(sorted(states)), sum(states.values()), nbytes) if states else None


def _unnamed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:4])
    many = f"{len(names)} tensors have names" if len(names) > 1 else "a tensor has a name"
    return f"{many} that no rule knows: {shown}{' and more' if len(names) > 4 else ''}"
