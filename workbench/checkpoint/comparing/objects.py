"""What is no tensor: objects compared by their bytes, never unpickled, and the plain values beside them. numpy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from workbench.checkpoint.comparing.rows import counted, listed
from workbench.checkpoint.differences import TensorDifference
from workbench.checkpoint.source import Checkpoint, StoredObject

_STATE = "_extra_state"  # what Transformer Engine keeps beside its weights (fp8 scales); empty where there is none
_BLOCK = 2**22
_SHOWN = 4


def object_differences(
    left: Checkpoint, right: Checkpoint, chosen: Callable[[str], bool]
) -> Iterator[TensorDifference]:
    """Objects whose bytes differ, or that one side lacks; an `_extra_state` of one side only is none (see `notes`)."""
    for name in [*left.objects, *(name for name in right.objects if name not in left.objects)]:
        if not chosen(name):
            continue
        ours, theirs = left.objects.get(name), right.objects.get(name)
        if ours is None or theirs is None:
            if _STATE in name:
                continue
            detail = f"only on the {'right' if ours is None else 'left'}"
        elif _same(ours, theirs):
            continue
        else:
            detail = "other bytes"
        yield TensorDifference("object", name, detail=detail, left=_bytes(ours), right=_bytes(theirs))


def object_sentences(differences: Sequence[TensorDifference]) -> Iterator[str]:
    """The objects that differ, in one sentence."""
    names = [found.name for found in differences if found.kind == "object"]
    if names:
        yield f"{counted(len(names), 'object')} that {'is' if len(names) == 1 else 'are'} no tensor: {listed(names)}"


def notes(side: Checkpoint, other: Checkpoint) -> tuple[str, ...]:
    """What a reader should know of objects that only this side has and that hold no weights."""
    alone = sum(_STATE in name for name in side.objects.keys() - other.objects.keys())
    return (
        (f"{counted(alone, f'{_STATE} object')} that the other side has not: no weights are in them",) if alone else ()
    )


def value_sentences(left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[str]:
    """The plain values that both sides have, and that are not the same; they are no tensors, and make no difference."""
    ours, theirs = dict(_flat(left)), dict(_flat(right))
    apart = [name for name, value in ours.items() if name in theirs and theirs[name] != value]
    if apart:
        shown = ", ".join(f"{name} is {ours[name]!r} and {theirs[name]!r}" for name in apart[:_SHOWN])
        more = f", and {len(apart) - _SHOWN:,} more differ" if len(apart) > _SHOWN else ""
        yield f"beside the tensors: {shown}{more}"


# ------------------------------------------------------------------------------------------------------


def _same(ours: StoredObject, theirs: StoredObject) -> bool:
    if ours.length != theirs.length:
        return False
    for at in range(0, ours.length, _BLOCK):
        length = min(_BLOCK, ours.length - at)
        if not np.array_equal(ours.data.view(ours.start + at, length), theirs.data.view(theirs.start + at, length)):
            return False
    return True


def _bytes(found: StoredObject | None) -> str:
    return "" if found is None else counted(found.length, "byte")


def _flat(values: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Numbers and texts by the way to them; what is none of the two is left out."""
    if isinstance(values, Mapping) and depth < 8:
        for name, value in values.items():
            yield from _flat(value, f"{prefix}.{name}" if prefix else str(name), depth + 1)
    elif isinstance(values, list | tuple) and depth < 8:
        for place, value in enumerate(values):
            yield from _flat(value, f"{prefix}[{place}]", depth + 1)
    elif prefix and (values is None or isinstance(values, str | int | float | bool)):
        yield prefix, values
