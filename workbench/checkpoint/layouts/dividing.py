"""A sub-layer's canonical tensors as a distributed checkpoint stores them: in pieces, experts along an axis. numpy only.

How many rows each piece has is not in a name. It follows from the shapes of the tensors beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from workbench.checkpoint.layouts.axis import as_axis
from workbench.checkpoint.layouts.members import (
    DELTA_CONVOLUTION,
    DELTA_PROJECTION,
    MAMBA_CONVOLUTION,
    MAMBA_PROJECTION,
    PIECES,
)
from workbench.checkpoint.tensors import Shape, StoredTensor
from workbench.errors import WorkbenchError

_EXPERT = re.compile(r"mlp\.experts\.(linear_fc[12]\.(?:weight|bias))([0-9]{1,9})")
# (symbol, canonical name) → (stored name, pieces).
_STORED = {(symbol, name): (stored, pieces) for (symbol, stored), (name, pieces) in PIECES.items()}


def divided(
    symbol: str, tensors: Mapping[str, StoredTensor], shapes: Mapping[str, Shape], where: str
) -> Iterator[tuple[str, StoredTensor]]:
    """(stored name, tensor) of each tensor of a sub-layer, by canonical name within it, in their order.

    `shapes` are the sub-layer's, also where `tensors` are an optimizer's. A single number, such as a weight's step, is not
    divided. Raises `WorkbenchError` that says `where`.
    """
    experts: dict[str, dict[int, StoredTensor]] = {}
    for name, tensor in tensors.items():
        if tensor.shape and (match := _EXPERT.fullmatch(name)):
            experts.setdefault(match[1], {})[int(match[2])] = tensor
    for name, tensor in tensors.items():
        stored, pieces = _STORED.get((symbol, name), ("", ()))
        if not tensor.shape:
            yield name, tensor
        elif match := _EXPERT.fullmatch(name):
            if held := experts.pop(match[1], None):
                yield f"mlp.experts.experts.{match[1]}", _one_axis(held, f"{where}: mlp.experts.{match[1]}")
        elif pieces:
            rows, at = _rows(symbol, pieces, shapes, where), 0
            if sum(rows.values()) != tensor.shape[0]:
                raise WorkbenchError(
                    f"{where}: {name} has {tensor.shape[0]} rows, and by the tensors beside it its pieces have "
                    f"{', '.join(f'{piece} {rows[piece]}' for piece in pieces)}"
                )
            for piece in pieces:
                yield f"{stored}.{piece}", tensor.narrow(0, at, rows[piece])
                at += rows[piece]
        else:
            yield name, tensor


# ------------------------------------------------------------------------------------------------------


def _one_axis(held: Mapping[int, StoredTensor], what: str) -> StoredTensor:
    if sorted(held) != list(range(len(held))):
        raise WorkbenchError(f"{what}: an expert is missing, so that the others cannot be stored as one tensor")
    if len({(tensor.shape, tensor.dtype) for tensor in held.values()}) > 1:
        raise WorkbenchError(
            f"{what}: the experts differ in shape or dtype, so that they cannot be stored as one tensor"
        )
    return as_axis([held[number] for number in range(len(held))])


def _rows(symbol: str, pieces: tuple[str, ...], shapes: Mapping[str, Shape], where: str) -> dict[str, int]:
    """Piece → its rows."""

    def size(what: str, *places: tuple[str, int]) -> int:
        for name, axis in places:
            if len(shape := shapes.get(name, ())) > axis:
                return shape[axis]
        raise WorkbenchError(
            f"{where}: {what} cannot be known without {' or '.join(name for name, _ in places)}, and so not how its projection "
            "is divided"
        )

    rows = (_mamba_rows if symbol == "M" else _delta_rows)(size)
    if min(rows.values()) < 0:
        raise WorkbenchError(f"{where}: the sizes of its tensors contradict each other: {rows}")
    return {piece: rows[piece] for piece in pieces}


type _Size = Callable[..., int]


def _mamba_rows(size: _Size) -> dict[str, int]:
    """megatron/core/ssm/mamba_mixer.py: z, x, B, C, dt; the convolution is over x, B, C."""
    heads = size("the number of heads", ("mixer.A_log", 0), ("mixer.D", 0), ("mixer.dt_bias", 0))
    width = size("the inner width", ("mixer.norm.weight", 0), ("mixer.out_proj.weight", 1))
    convolved = size("the state size", ("mixer.conv1d_weight", 0), ("mixer.conv1d_bias", 0))
    state = _half(convolved - width)
    return dict(zip(MAMBA_PROJECTION, (width, width, state, state, heads), strict=True))


def _delta_rows(size: _Size) -> dict[str, int]:
    """megatron/core/ssm/gated_delta_net/common.py: query, key, value, z, beta, alpha; the convolution is over the first three."""
    heads = size("the number of heads", ("self_attention.A_log", 0), ("self_attention.dt_bias", 0))
    values = size("the width of the values", ("self_attention.out_proj.weight", 1))
    convolved = size("the width of the keys", ("self_attention.conv1d.weight", 0))
    keys = _half(convolved - values)
    return dict(zip(DELTA_PROJECTION, (keys, keys, values, values, heads, heads), strict=True))


def _half(rows: int) -> int:
    """Half of them; -1, which no piece has, where they are odd."""
    return rows // 2 if rows % 2 == 0 else -1


assert set(MAMBA_CONVOLUTION) < set(MAMBA_PROJECTION), "a convolution has its projection's pieces"
assert set(DELTA_CONVOLUTION) < set(DELTA_PROJECTION), "a convolution has its projection's pieces"
