"""Which tensors of two sets hold the same, whatever they are called. numpy only.

A few bytes of each are looked at first; only what agrees there is hashed, where several could be meant, and whatever is
found is compared bit for bit.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.checkpoint.comparing.blocks import blocks, regions, unequal
from workbench.checkpoint.dtypes import dtype_of
from workbench.checkpoint.tensors import StoredTensor

_SAMPLES, _SAMPLED = 8, 64  # places that are looked at, elements at each
_HASHED = 2**20  # elements at once


@dataclass(frozen=True, slots=True)
class Held:
    """A tensor, what it is called, and whatever the caller knows it by. `even` is True where all of it is one value."""

    name: str
    tensor: StoredTensor
    key: int


def same_content(lefts: Iterable[Held], rights: Iterable[Held]) -> list[tuple[Held, Held]]:
    """Pairs that hold the same bits in the same shape and dtype, each tensor in one pair at most.

    Where several hold the same, names decide: those with the longest common end belong together. Tensors of one value
    only (a fresh norm, an empty bias) are paired only where the last two parts of their names agree: nothing
    is learned from the rest.
    """
    candidates = _groups([*lefts], [*rights], lambda held: (held.tensor.shape, held.tensor.dtype))
    candidates = [
        part for ours, theirs in candidates for part in _groups(ours, theirs, lambda held: sample(held.tensor))
    ]
    found: list[tuple[Held, Held]] = []
    for ours, theirs in candidates:
        parts = [(ours, theirs)]
        if len(ours) > 1 or len(theirs) > 1:
            parts = _groups(ours, theirs, lambda held: digest(held.tensor))
        for some, others in parts:
            found += _by_ending(some, others, 2 if is_even(some[0].tensor) else 0)
    differ = unequal([(ours.tensor, theirs.tensor) for ours, theirs in found])
    return [pair for place, pair in enumerate(found) if place not in differ]


def sample(tensor: StoredTensor, places: int = _SAMPLES) -> bytes:
    """The bytes at a few places, the same ones for every tensor of a shape; the first is its beginning."""
    if not tensor.elements:
        return b""
    last = tensor.shape[-1] if tensor.shape else 1
    item = dtype_of(tensor.dtype).bytes
    taken = []
    for place in range(min(places, tensor.elements)):
        at = place * (tensor.elements - 1) // max(places - 1, 1)
        length = min(_SAMPLED, last - at % last)
        if (run := tensor.run) is not None:
            taken.append(run[0].view(run[1] + at * item, length * item).tobytes())
            continue
        *outer, start = (int(axis) for axis in np.unravel_index(at, tensor.shape))
        region = (*(slice(axis, axis + 1) for axis in outer), slice(start, start + length))
        taken.append(tensor.bits(region).tobytes())
    return b"".join(taken)


def digest(tensor: StoredTensor) -> bytes:
    """A hash of all its bytes in row-major order, read block by block."""
    total = hashlib.blake2b(digest_size=16)
    for region in regions(tensor.shape, _HASHED):
        total.update(np.ascontiguousarray(tensor.bits(region)))
    return total.digest()


def is_even(tensor: StoredTensor) -> bool:
    """True where every element has the same bits, or there is none."""
    few = sample(tensor)
    item = dtype_of(tensor.dtype).bytes
    if few != few[:item] * (len(few) // item):
        return False
    value = np.frombuffer(few[:item], dtype_of(tensor.dtype).bits)
    return all(bool((ours == value).all()) for ours, _ in blocks(tensor, tensor, _HASHED))


# ------------------------------------------------------------------------------------------------------


type _Sides = tuple[list[Held], list[Held]]


def _groups(lefts: Sequence[Held], rights: Sequence[Held], key: Callable[[Held], object]) -> list[_Sides]:
    """Both sides sorted by a key; only the keys that both have."""
    ours: dict[object, list[Held]] = defaultdict(list)
    theirs: dict[object, list[Held]] = defaultdict(list)
    for held in lefts:
        ours[key(held)].append(held)
    for held in rights:
        theirs[key(held)].append(held)
    return [(some, theirs[value]) for value, some in ours.items() if value in theirs]


def _by_ending(lefts: list[Held], rights: list[Held], least: int) -> list[tuple[Held, Held]]:
    """Pair names by the most parts at their end that agree, at least so many (or all, of a name that has fewer)."""
    free = {id(held): held for held in rights}
    ends: dict[str, list[Held]] = defaultdict(list)
    for held in reversed(rights):
        for end in _endings(held.name):
            ends[end].append(held)
    found, waiting = [], lefts
    for parts in range(max(held.name.count(".") + 1 for held in lefts), least - 1, -1):
        still = []
        for held in waiting:
            end = ".".join(held.name.split(".")[-parts:]) if parts else ""
            options = ends.get(end, []) if held.name.count(".") + 1 >= parts else []
            while options and id(options[-1]) not in free:
                options.pop()
            if options:
                found.append((held, free.pop(id(options.pop()))))
            else:
                still.append(held)
        waiting = still
    return found


def _endings(name: str) -> list[str]:
    """Every end of a name that begins at a part of it, and the empty one.

    >>> _endings("a.b.c")
    ['a.b.c', 'b.c', 'c', '']
    """
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))] + [""]
