"""The ways in which Hugging Face tensors become one of Megatron's: rows are moved, never computed with (but for "less one").

Shapes in brackets are rows × columns; a bias is rows alone. Every function takes the tensors of a row of `rules` in its
order, and the sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from workbench.arch.sizes import ModelSizes

Tensors = Sequence[Tensor]


def _same(tensors: Tensors, sizes: ModelSizes) -> Tensor:
    (tensor,) = tensors
    return tensor


def _joined(tensors: Tensors, sizes: ModelSizes) -> Tensor:
    """One below the other: a gate, then what it multiplies (megatron/core/transformer/mlp.py, `glu`)."""
    return torch.cat(tuple(tensors))


def _by_query_group(tensors: Tensors, sizes: ModelSizes) -> Tensor:
    """Queries, (gates,) keys, values → for every query group its queries, (its gates,) its key and its value.

    megatron/core/transformer/attention.py, `SelfAttention.get_query_key_value_tensors`: "q1 q2 k1 v1 | q3 q4 k2 v2".
    """
    groups = sizes.num_query_groups or _given(sizes.num_attention_heads)
    return torch.cat([each.unflatten(0, (groups, -1)) for each in tensors], dim=1).flatten(0, 1)


def _gates_apart(tensors: Tensors, sizes: ModelSizes) -> Tensor:
    """The same where every query head is followed by its gate, as Qwen3-Next has them: [heads × (width + width), …]."""
    queries, keys, values = tensors
    heads = queries.unflatten(0, (_given(sizes.num_attention_heads), 2, -1))
    return _by_query_group((heads[:, 0].flatten(0, 1), heads[:, 1].flatten(0, 1), keys, values), sizes)


def _key_heads_apart(tensors: Tensors, sizes: ModelSizes) -> Tensor:
    """For every key head its q, k, v, z and its b, a → all q, all k, all v, all z, all b, all a.

    The rows of a `GatedDeltaNet`'s `in_proj` (megatron/core/ssm/gated_delta_net/gdn.py, `in_proj_split_names`).
    """
    qkvz, ba = (each.unflatten(0, (_given(sizes.gdn_num_key_heads), -1)) for each in tensors)
    served = _given(sizes.gdn_num_value_heads) // _given(sizes.gdn_num_key_heads)  # value heads a key head
    key, value = _given(sizes.gdn_key_head_dim), served * _given(sizes.gdn_value_head_dim)
    parts = (*qkvz.split([key, key, value, value], dim=1), *ba.split([served, served], dim=1))
    return torch.cat([part.flatten(0, 1) for part in parts])


def _less_one(tensors: Tensors, sizes: ModelSizes) -> Tensor:
    """A norm's weight for a zero-centred norm, which adds one; exact for weights from 0.5 to 2."""
    (tensor,) = tensors
    return tensor - 1


def _given(size: int | None) -> int:
    assert size is not None, "workbench.arch.needs says which sizes a kind needs"
    return size


ARRANGEMENTS: dict[str, Callable[[Tensors, ModelSizes], Tensor]] = {
    "same": _same,
    "joined": _joined,
    "by query group": _by_query_group,
    "by query group, gates apart": _gates_apart,
    "key heads apart": _key_heads_apart,
    "less one": _less_one,
}
