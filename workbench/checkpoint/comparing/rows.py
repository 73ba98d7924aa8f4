"""`Row`: one tensor of either side or both on its way through a diff; and where its name says that it lives. numpy only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workbench.checkpoint.differences import Metrics, PairedBy
from workbench.checkpoint.places import Place, describe, locate, symbol_at, words
from workbench.checkpoint.tensors import StoredTensor
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import symbol_of

# Where a canonical name begins, behind what an optimizer writes before it ("optimizer.state.exp_avg.").
_ROOTS = re.compile(r"(?:^|\.)(?=(?:decoder\.layers|mtp\.layers|embedding|output_layer|decoder\.final_norm)\.)")
_NUMBER = re.compile(r"(?:^|\.)([0-9]{1,9})\.")
_EXPERT = re.compile(r"experts\.linear_fc[12]\.(?:weight|bias)(?P<a>[0-9]+)$|(?<=\.)(?P<b>[0-9]+)(?=\.|$)")


@dataclass(slots=True)
class Spot:
    """`index` is the sub-layer's (within its MTP `depth`), or, of names that no pattern explains, the first number in it.

    `folded` is the name that a person gives to all such tensors: without the sub-layer, experts as `*`. `stem` is what
    stands before the number of a name that no pattern explains, or, outside of the layers, the place in words;
    `expert` is the number that was folded.
    """

    folded: str
    index: int | None = None
    depth: int | None = None
    symbol: str | None = None
    stem: str = ""
    expert: str | None = None


@dataclass(slots=True)
class Row:
    """A tensor, or what is there of it, and what became of it.

    `name` is canonical where the layout is known, `left_names` and `right_names` are what is written. `outcome` is
    "equal" or a `Kind`.
    """

    name: str
    left: StoredTensor | None
    right: StoredTensor | None
    left_names: tuple[str, ...]
    right_names: tuple[str, ...]
    spot: Spot
    by: PairedBy = "name"
    outcome: str = "equal"
    detail: str = ""
    other_name: str | None = None
    metrics: Metrics | None = None
    cause: str = ""  # what explains this difference alone: "transposed", …
    moved: bool = False  # its content is the other side's under another name or in another order, and that is told

    @property
    def elements(self) -> int:
        """Elements of the left side's tensor, or the right's where there is no left."""
        tensor = self.left or self.right
        return 0 if tensor is None else tensor.elements

    @property
    def pair(self) -> tuple[StoredTensor, StoredTensor]:
        """Both tensors, of a row that has both."""
        assert self.left is not None and self.right is not None, f"{self.name} is on one side only"  # noqa: PT018
        return self.left, self.right


def spot_of(name: str, pattern: Pattern | None) -> Spot:
    """Where a name says that its tensor lives.

    >>> spot_of("optimizer.state.exp_avg.decoder.layers.3.mlp.experts.linear_fc1.weight7", Pattern("M-ME"))
    Spot(folded='optimizer.state.exp_avg.mlp.experts.linear_fc1.weight*', index=3, depth=None, symbol='E', stem='', expert='7')
    >>> spot_of("model.layers.7.self_attn.q_proj.weight", None)
    Spot(folded='self_attn.q_proj.weight', index=7, depth=None, symbol=None, stem='model.layers', expert=None)
    """
    if pattern is not None and (found := _ROOTS.search(name)):
        prefix, place = name[: found.end()], locate(name[found.end() :])
        if place.index is not None:
            folded, expert = _folded(place.rest)
            return Spot(prefix + folded, place.index, place.depth, symbol_at(place, pattern), expert=expert)
        return Spot(name, stem=describe(name[found.end() :], pattern))
    if match := _NUMBER.search(name):
        folded, expert = _folded(name[match.end() :])
        return Spot(folded, int(match[1]), stem=name[: match.start()], expert=expert)
    return Spot(name)


def place_of(name: str, spot: Spot, pattern: Pattern | None) -> str:
    """The same in words: "sub-layer 3, Mamba-2", "embedding"; "" where nothing can be said."""
    if pattern is not None and (found := _ROOTS.search(name)):
        state = name[: found.end()].rstrip(".").split(".")[-1]
        return describe(name[found.end() :], pattern) + (f" ({state})" if state else "")
    if spot.index is not None:
        return f"{spot.stem}.{spot.index}" if spot.stem else f"{spot.index}"
    return ""


def layer_words(index: int, depth: int | None, symbol: str | None = None) -> str:
    """A sub-layer in words: "sub-layer 3, Mamba-2"."""
    where = words(Place("", "", index, depth))
    return f"{where}, {symbol_of(symbol).name}" if symbol else where


def described(tensor: StoredTensor | None) -> str:
    """Shape and dtype: "[64, 128] bfloat16"; "" of nothing."""
    return "" if tensor is None else f"{list(tensor.shape)} {tensor.dtype}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """A few names, and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def counted(number: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "tensor"), counted(1200, "tensor")
    ('1 tensor', '1,200 tensors')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def ranges(numbers: Iterable[int]) -> str:
    """Numbers for a reader.

    >>> ranges([3, 7]), ranges([0, 1, 2, 3, 9]), ranges([5])
    ('3 and 7', '0–3 and 9', '5')
    """
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [part for run in runs for part in ([f"{run[0]}–{run[-1]}"] if len(run) > 2 else map(str, run))]
    if len(parts) > 12:
        return f"{', '.join(parts[:10])} and {len(parts) - 10} more"
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


# ------------------------------------------------------------------------------------------------------


def _folded(rest: str) -> tuple[str, str | None]:
    """A name within a layer with its expert as `*`, and which one that is."""
    match = _EXPERT.search(rest)
    if match is None:
        return rest, None
    start, end = match.span("a") if match["a"] else match.span("b")
    return f"{rest[:start]}*{rest[end:]}", rest[start:end]
