"""`_extra_state` objects of a `torch_dist` checkpoint: which a model asks for, and whose bytes they are after a conversion.

Megatron's linears (and all of Transformer Engine's modules) store one, empty unless fp8 scaling is in it, and a model does not
load from a checkpoint that lacks it. Their keys say the module and, where layers or experts are an axis, the place:
`decoder.layers.self_attention.linear_qkv._extra_state/shard_2_8`. numpy only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from workbench.checkpoint.dtypes import dtype_of
from workbench.checkpoint.source import StoredObject
from workbench.checkpoint.tensors import Piece, StoredTensor

_WORD = "._extra_state/shard_"
_OUTPUT = "output_layer"
_LINEAR = re.compile(
    r"((?:decoder|mtp)\.(?!.*\.indexer\.).+\.(?:linear_\w+|in_proj|out_proj|eh_proj|fc[12]_latent_proj)|output_layer)"
    r"\.weight(?:_[wv]|\.\w+)?"
)
# More of Transformer Engine's modules: norms (but for the gated one inside a Mamba mixer), the indexer of sparse attention.
_MORE = re.compile(r"((?:decoder|mtp)\.(?!.*\bmixer\.norm\.)(?:.*norm|.*\.indexer\.linear_\w+))\.weight")
_LAYER_AXIS = re.compile(r"(?:.*\.)?decoder\.layers\.(?![0-9])")
_EXPERT_AXIS = re.compile(r".*\.mlp\.experts\.experts\.(?![0-9])")

type Shape = tuple[int, ...]


def sharded_axes(name: str) -> int:
    """How many leading axes of a stored tensor count layers or experts.

    >>> sharded_axes("decoder.layers.mlp.experts.experts.linear_fc1.weight"), sharded_axes("decoder.layers.0.mixer.D")
    (2, 0)
    """
    return bool(_LAYER_AXIS.match(name)) + bool(_EXPERT_AXIS.match(name))


def is_extra_state(key: str) -> bool:
    """True for the key of an object that belongs to a module."""
    return _WORD in key


def needed(tensors: Mapping[str, StoredTensor], *, gpt: bool, te: bool) -> dict[str, StoredObject | None]:
    """The keys that a model with these stored tensors asks for, empty; `te` for one of Transformer Engine's modules.

    A GPT model stores none for its output layer (megatron/core/models/gpt/gpt_model.py, `sharded_state_dict`).
    """
    found: dict[str, StoredObject | None] = {}
    for name, tensor in tensors.items():
        module = _module(name, te)
        if module is not None and not (gpt and module == _OUTPUT):
            axes = sharded_axes(name)
            found |= {_key(module, index, tensor.shape[:axes]): None for index in _indices(tensor.shape[:axes])}
    return found


def carried(
    source: Mapping[str, StoredTensor],
    objects: Mapping[str, StoredObject],
    target: Mapping[str, StoredTensor],
    *,
    gpt: bool = False,
) -> dict[str, StoredObject | None]:
    """The objects of the source's modules under the keys that they have in the target.

    A module of the target is the one of the source that its weight comes from.
    """
    places = {id(piece.data): (name, piece) for name, tensor in source.items() for piece in tensor.pieces}
    found: dict[str, StoredObject | None] = {}
    for name, tensor in target.items():
        module = _module(name, te=True)
        if module is None or (gpt and module == _OUTPUT):
            continue
        axes = sharded_axes(name)
        for piece in tensor.pieces:
            if id(piece.data) not in places:
                continue
            old, whole = places[id(piece.data)]
            old_module, old_axes = _module(old, te=True), sharded_axes(old)
            if old_module is None:
                continue
            old_index = _index(piece, whole, tensor.dtype)[:old_axes]
            given = objects.get(_key(old_module, old_index, source[old].shape[:old_axes]))
            if given is not None:
                found[_key(module, piece.offset[:axes], tensor.shape[:axes])] = given
    return found


# ------------------------------------------------------------------------------------------------------


def _module(name: str, te: bool) -> str | None:
    match = _LINEAR.fullmatch(name) or (_MORE.fullmatch(name) if te else None)
    return match[1] if match else None


def _key(module: str, index: Shape, counts: Shape) -> str:
    """`ShardedObject.unique_key` (megatron/core/dist_checkpointing/mapping.py)."""
    return f"{module}{_WORD}{'.'.join(map(str, index or (0,)))}_{'.'.join(map(str, counts or (1,)))}"


def _indices(counts: Shape) -> Iterator[Shape]:
    if not counts:
        yield ()
        return
    for first in range(counts[0]):
        for rest in _indices(counts[1:]):
            yield (first, *rest)


def _index(piece: Piece, whole: Piece, dtype: str) -> Shape:
    """Where, in the tensor that `whole` is a shard of, a part of that shard begins."""
    left, index = (piece.start - whole.start) // dtype_of(dtype).bytes, []
    for at, stride in zip(whole.offset, whole.strides, strict=True):
        steps, left = divmod(left, max(stride, 1))
        index.append(at + steps)
    return tuple(index)
