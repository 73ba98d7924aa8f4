"""`Row`: one tensor of either side or both on its way through a diff; and where its name says that it lives. numpy only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from workbench.checkpoint.differences import Metrics, PairedBy
from workbench.checkpoint.places import Place, describe, locate, symbol_at, words
from workbench.checkpoint.tensors import StoredTensor
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import symbol_of

# Where a canonical name begins, behind what an optimizer writes before it ("optimizer.state.exp_avg.").
_ROOTS = re.compile(r"(?:^|\.)(?=(?:decoder\.layers|mtp\.layers|embedding|output_layer|decoder\.final_norm)\.)")
_NUMBER = re.compile(r"(?:^|\.)([0-9]{1,9})\.")
_EXPERT = re.compile(r"(mlp\.experts\.linear_fc[12]\.(?:weight|bias))[0-9]+$|(?<=\.)[0-9]+(?=\.|$)")


@dataclass(frozen=True, slots=True)
class Spot:
    """`index` is the sub-layer's (within its MTP `depth`), or, of names that no pattern explains, the first number in it.

    `folded` is the name that a person gives to all such tensors: without the sub-layer, experts as `*`. `stem` is what
    stands before the number of a name that no pattern explains.
    """

    folded: str
    index: int | None = None
    depth: int | None = None
    symbol: str | None = None
    stem: str = ""


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
    Spot(folded='optimizer.state.exp_avg.mlp.experts.linear_fc1.weight*', index=3, depth=None, symbol='E', stem='')
    >>> spot_of("model.layers.7.self_attn.q_proj.weight", None)
    Spot(folded='self_attn.q_proj.weight', index=7, depth=None, symbol=None, stem='model.layers')
    """
    if pattern is not None and (found := _ROOTS.search(name)):
        prefix, place = name[: found.end()], locate(name[found.end() :])
        if place.index is not None:
            return Spot(prefix + _folded(place.rest), place.index, place.depth, symbol_at(place, pattern))
        return Spot(name)
    if match := _NUMBER.search(name):
        return Spot(_folded(name[match.end() :]), int(match[1]), stem=name[: match.start()])
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


def listed(names: tuple[str, ...] | list[str], most: int = 3) -> str:
    """A few names, and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


# ------------------------------------------------------------------------------------------------------


def _folded(rest: str) -> str:
    return _EXPERT.sub(lambda match: f"{match[1]}*" if match[1] else "*", rest)
