"""The canonical tensors of one layer, gathered from the names that it is written under. numpy only; no byte is read.

Pieces of a projection become the whole weight, an axis of experts one tensor an expert, a joint down-projection the two that
a checkpoint stores for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workbench.checkpoint.layout import Named
from workbench.checkpoint.layouts.axis import as_rows, entries
from workbench.checkpoint.layouts.members import DOWN, JOINT_DOWN, Q_UP, Member, Target, target_of
from workbench.checkpoint.layouts.order import rank
from workbench.checkpoint.layouts.written import InLayer
from workbench.checkpoint.tensors import StoredTensor

# No model has more; a shape that says so is a broken or a malicious file's.
MOST_EXPERTS = 2**16
# Tensors that axes of layers and experts are taken apart into, of the whole checkpoint: a short file can claim any number.
MOST_ENTRIES = 2**19

type Key = tuple[str, int, str]  # state, member of the layer, name within the sub-layer


@dataclass
class Gathered:
    """What a layer's names came to: canonical tensors in the model's order, names left over, and why.

    `stored` is True where a name is of a distributed checkpoint only; `backends` holds "local" and "te" as far as names say.
    """

    tensors: dict[Key, Named] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    stored: bool = False
    backends: set[str] = field(default_factory=set)
    room: int = MOST_ENTRIES  # how many more tensors axes may be taken apart into


def gathered(
    members: tuple[Member, ...],
    names: Sequence[InLayer],
    tensors: Mapping[str, StoredTensor],
    where: str,
    room: int = MOST_ENTRIES,
) -> Gathered:
    """The canonical tensors of one layer of these members; `where` is what a reason calls the layer."""
    found = Gathered(room=room)
    pieces: dict[Key, tuple[Target, dict[int, str]]] = {}
    whole: dict[Key, Named] = {}
    for written, state, rest in names:
        target = target_of(members, rest)
        if target is None:
            found.left.append(written)
            continue
        if target.local is not None:
            found.backends.add("local" if target.local else "te")
        key = state, target.position, target.rest
        if target.piece is not None:
            pieces.setdefault(key, (target, {}))[1][target.piece] = written
            found.stored = True
        elif target.experts:
            _experts(found, whole, key, written, tensors[written])
        else:
            _put(found, whole, key, Named(tensors[written], (written,)))
    for key, (target, parts) in pieces.items():
        _join(found, whole, key, target, parts, tensors, where)
    _part(found, whole, where)
    order = sorted(whole, key=lambda key: (key[0], key[1], *rank(members[key[1]].symbol, key[2])))
    found.tensors = {key: whole[key] for key in order}
    return found


def _put(found: Gathered, whole: dict[Key, Named], key: Key, named: Named) -> None:
    if key in whole:
        found.left += named.written
        found.reasons.append(f"{named.written[0]} and {whole[key].written[0]} are two names of one tensor")
    else:
        whole[key] = named


def _experts(found: Gathered, whole: dict[Key, Named], key: Key, written: str, tensor: StoredTensor) -> None:
    axes = 3 if key[2].endswith("weight") else 2
    if len(tensor.shape) != axes or tensor.shape[0] > MOST_EXPERTS:
        found.left.append(written)
        found.reasons.append(
            f"{written} is {list(tensor.shape)}: a layer's experts have {axes} axes, the first of experts"
        )
        return
    if tensor.shape[0] > found.room:
        found.left.append(written)
        found.reasons.append(f"the experts of all layers are more than {MOST_ENTRIES:,} tensors: some keep their names")
        return
    found.room -= tensor.shape[0]
    found.stored = True
    for number, entry in enumerate(entries(tensor)):
        _put(found, whole, (key[0], key[1], f"{key[2]}{number}"), Named(entry, (written,)))


def _join(
    found: Gathered,
    whole: dict[Key, Named],
    key: Key,
    target: Target,
    parts: Mapping[int, str],
    tensors: Mapping[str, StoredTensor],
    where: str,
) -> None:
    written = tuple(parts[piece] for piece in sorted(parts))
    held = [tensors[name] for name in written]
    if len(parts) < target.pieces:
        reason = (
            f"{where}: {key[0]}{target.rest} is stored in {target.pieces} pieces, and {len(parts)} of them are there"
        )
    elif len({(each.dtype, each.shape[1:], bool(each.shape)) for each in held}) > 1 or not held[0].shape:
        reason = f"{where}: the pieces of {key[0]}{target.rest} do not fit together"
    else:
        _put(found, whole, key, Named(as_rows(held), written))
        return
    found.left += written
    found.reasons.append(reason)


def _part(found: Gathered, whole: dict[Key, Named], where: str) -> None:
    """Take joint down-projections apart: the queries' rows are as many as the up-projection has columns."""
    joints = [key for key in whole if key[2] == JOINT_DOWN]
    ups = ((at, named.tensor.shape) for (_, at, rest), named in whole.items() if rest == Q_UP) if joints else ()
    columns = {at: shape[1] for at, shape in ups if len(shape) == 2}
    for key in joints:
        joint = whole[key]
        if not joint.tensor.shape:  # a weight's step is that of both parts
            del whole[key]
            for rest in DOWN:
                _put(found, whole, (key[0], key[1], rest), joint)
            continue
        rows = columns.get(key[1], 0)
        if len(joint.tensor.shape) != 2 or not 0 < rows < joint.tensor.shape[0]:
            found.reasons.append(f"{where}: {key[0]}{JOINT_DOWN} cannot be parted without {Q_UP}")
            continue
        del whole[key]
        cut = (joint.tensor.narrow(0, 0, rows), joint.tensor.narrow(0, rows, joint.tensor.shape[0] - rows))
        for rest, tensor in zip(DOWN, cut, strict=True):
            _put(found, whole, (key[0], key[1], rest), Named(tensor, joint.written))
