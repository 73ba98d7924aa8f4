"""A checkpoint's tensors as rows that a person reads: the same tensor of every layer of a kind is one. numpy only."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from workbench.checkpoint.inference.sublayers import Key, Sorted, ranges
from workbench.checkpoint.inspection import TensorGroup
from workbench.checkpoint.layout import Layout
from workbench.checkpoint.places import locate
from workbench.checkpoint.source import Checkpoint
from workbench.checkpoint.tensors import StoredTensor

type Alike = tuple[str, str | None, int | None, str, tuple[int, ...], str]

_NUMBERED = re.compile(r"(.*?\.)([0-9]{1,9})\.(.+)", re.DOTALL)
_EXPERT = re.compile(r"(experts\..*?(?:weight|bias))[0-9]+$|((?:^|\.)experts\.)[0-9]+(?=\.)")
_AROUND = (
    ("embedding.", "embedding"),
    ("decoder.final_norm.", "final norm"),
    ("output_layer.", "output layer"),
    ("mtp.", "MTP"),
)


def tensor_groups(checkpoint: Checkpoint, layout: Layout, names: Sorted) -> tuple[TensorGroup, ...]:
    """Every tensor, optimizer states too, in the order of the model; experts are one row with `*` for their number.

    Sub-layers of one kind are folded where none of that kind between them is different.
    """
    # A transformers model's layers are not ours: they fold by their numbers.
    ordinal = {} if layout.name == "hugging_face" else _ordinals(names)
    rows: dict[Alike, list[int | None]] = {}
    folded: dict[str, str] = {}  # the same few names in every layer
    for name, tensor in _named(checkpoint, layout):
        state, root = _state(name)
        place = locate(root)
        if place.index is not None:
            symbol = names.symbols.get((place.depth, place.index)) or None
            if (name := folded.get(place.rest, "")) == "":
                name = folded[place.rest] = _folded(place.rest)
            key = (state, symbol, place.depth, name, tensor.shape, tensor.dtype)
            at: int | None = place.index
        elif layout.name == "hugging_face" and (match := _NUMBERED.fullmatch(root)):
            key = (match[1], None, None, _folded(match[3]), tensor.shape, tensor.dtype)
            at = int(match[2])
        else:
            key, at = (state, None, None, root, tensor.shape, tensor.dtype), None
        rows.setdefault(key, []).append(at)
    found = [_group(key, places, ordinal) for key, places in rows.items()]
    return tuple(found)


def _named(checkpoint: Checkpoint, layout: Layout) -> Iterator[tuple[str, StoredTensor]]:
    if layout.name == "hugging_face":
        yield from checkpoint.tensors.items()
    else:
        yield from ((name, named.tensor) for name, named in layout.canonical.items())


def _state(name: str) -> tuple[str, str]:
    """What an optimizer writes before a name, and the name.

    >>> _state("optimizer.state.exp_avg.decoder.layers.0.mixer.D")
    ('optimizer.state.exp_avg.', 'decoder.layers.0.mixer.D')
    """
    if not name.startswith(("optimizer.", "chained_")):
        return "", name
    for root in ("decoder.", "embedding.", "output_layer.", "mtp."):
        if (at := name.find(f".{root}")) >= 0:
            return name[: at + 1], name[at + 1 :]
    return "", name


def _folded(rest: str) -> str:
    """A name within a layer with `*` for the number of an expert.

    >>> _folded("mlp.experts.linear_fc1.weight12"), _folded("mlp.experts.3.up_proj.weight")
    ('mlp.experts.linear_fc1.weight*', 'mlp.experts.*.up_proj.weight')
    """
    if "experts." not in rest:
        return rest
    return _EXPERT.sub(lambda match: f"{match[1] or match[2]}*", rest, count=1)


def _ordinals(names: Sorted) -> dict[Key, int]:
    """Each sub-layer's place among those of its kind and depth."""
    counts: dict[tuple[int | None, str], int] = {}
    found: dict[Key, int] = {}
    for key in sorted(names.layers, key=lambda each: (each[0] is not None, each)):
        kind = (key[0], names.symbols[key])
        found[key] = counts.get(kind, 0)
        counts[kind] = found[key] + 1
    return found


def _group(key: Alike, places: list[int | None], ordinal: dict[Key, int]) -> TensorGroup:
    state, symbol, depth, name, shape, dtype = key
    indices = sorted({at for at in places if at is not None})
    if not indices:
        place = next((words for prefix, words in _AROUND if name.startswith(prefix)), "")
    else:
        noun = "layer" if len(indices) == 1 else "layers"
        where = "" if depth is None else f"MTP depth {depth + 1}, "
        place = f"{where}{noun} {_run(indices, depth, ordinal)}"
    # A transformers model's name has its layer's number inside; an optimizer's has the state's name in front.
    prefix = f"{state}*." if indices and not ordinal else state
    return TensorGroup(place, symbol, f"{prefix}{name}", shape, dtype, len(places), len(places) * math.prod(shape))


def _run(indices: list[int], depth: int | None, ordinal: dict[Key, int]) -> str:
    """Indices with runs folded, where a run is of neighbours among their kind."""
    if not ordinal:
        return ranges(indices)
    runs: list[list[int]] = []
    for index in indices:
        if runs and _follows(runs[-1][1], index, depth, ordinal):
            runs[-1][1] = index
        else:
            runs.append([index, index])
    shown = [f"{low}–{high}" if high > low else f"{low}" for low, high in runs]
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")


def _follows(low: int, high: int, depth: int | None, ordinal: dict[Key, int]) -> bool:
    first, second = ordinal.get((depth, low)), ordinal.get((depth, high))
    return first is not None and second is not None and second == first + 1
