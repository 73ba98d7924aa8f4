"""What explains one pair on its own: a transpose, a reshape, padding. numpy only."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from workbench.checkpoint.comparing.blocks import Pair, unequal
from workbench.checkpoint.comparing.metrics import unequal_bits
from workbench.checkpoint.comparing.rows import Row
from workbench.checkpoint.dtypes import Array
from workbench.checkpoint.tensors import StoredTensor, contiguous

# In the names of tensors with one row a token, here and at Hugging Face.
_VOCABULARY = ("word_embeddings", "output_layer", "embed_tokens", "embeddings.weight", "lm_head", "wte")
_TILE = 2**20  # elements compared at once


def explain_shapes(rows: list[Row]) -> None:
    """Set `cause` where the contents of a row's two tensors are the same in another arrangement."""
    for row in rows:
        if row.outcome == "shape" and not row.moved:
            row.cause = _transposed(row.pair) or _reshaped(row.pair) or _padded(row)
        elif row.outcome == "value" and not row.moved:
            row.cause = _transposed(row.pair)
        if row.cause:
            row.detail = f"{row.detail}; {row.cause}" if row.detail else row.cause


def transposes(pair: Pair) -> bool:
    """True where the right is the left with its last two axes exchanged."""
    left, right = pair
    if left.dtype != right.dtype or len(left.shape) < 2 or 0 in left.shape:
        return False
    if right.shape != (*left.shape[:-2], left.shape[-1], left.shape[-2]):
        return False
    return not any(unequal_bits(ours, theirs).any() for ours, theirs in _tiles(left, right))


# ------------------------------------------------------------------------------------------------------


def _tiles(left: StoredTensor, right: StoredTensor) -> Iterator[tuple[Array, Array]]:
    """The left's rows beside the right's columns, a few at a time; a single one first, which settles most cases."""
    height, width = left.shape[-2:]
    step = max(_TILE // width, 1)
    for outer in np.ndindex(left.shape[:-2]):
        where = tuple(slice(at, at + 1) for at in outer)
        at = 0
        while at < height:
            rows = slice(at, at + 1 if at == 0 else min(at + step, height))
            ours = left.bits((*where, rows, slice(0, width)))
            theirs = right.bits((*where, slice(0, width), rows))
            yield ours.reshape(-1, width), theirs.reshape(width, -1).T
            at = rows.stop


def _transposed(pair: Pair) -> str:
    return "the right is the left transposed" if transposes(pair) else ""


def _reshaped(pair: Pair) -> str:
    left, right = pair
    if left.dtype != right.dtype or left.elements != right.elements:
        return ""
    (ours, theirs), flat = (left.run, right.run), (left.elements,)
    if ours is None or theirs is None:
        return ""
    same = not unequal([(contiguous(*ours, flat, left.dtype), contiguous(*theirs, flat, left.dtype))])
    return "the same numbers one after the other, in another shape" if same else ""


def _padded(row: Row) -> str:
    """What is equal where one axis has another length."""
    left, right = row.pair
    if left.dtype != right.dtype or len(left.shape) != len(right.shape):
        return ""
    axes = [axis for axis, sizes in enumerate(zip(left.shape, right.shape, strict=True)) if sizes[0] != sizes[1]]
    if len(axes) != 1:
        return ""
    (axis,) = axes
    ours, theirs = left.shape[axis], right.shape[axis]
    common = min(ours, theirs)
    differ = bool(unequal([(left.narrow(axis, 0, common), right.narrow(axis, 0, common))]))
    if axis == 0 and any(word in row.name for word in _VOCABULARY):
        return (
            f"the vocabulary has {ours:,} rows on the left and {theirs:,} on the right; "
            f"the {common:,} that both have {'are not the same' if differ else 'are equal'}"
        )
    if differ:
        return ""
    return f"axis {axis} has {ours:,} entries on the left and {theirs:,} on the right; the {common:,} that both have are equal"
