"""What a distributed checkpoint calls the weights: `torch_dist` keys and global shapes, from pattern and sizes. Pure.

A state dict and a distributed checkpoint differ in three places (megatron-core 0.19.2): fused projections and convolutions
of recurrent mixers are stored piece by piece, so that tensor-parallel ranks may be regrouped
(megatron/core/ssm/mamba_mixer.py and gated_delta_net/common.py, `sharded_state_dict`), and the experts of a layer are
one tensor with an expert axis in front (megatron/core/transformer/moe/experts.py), and the joint down-projection of
latent attention is stored as the two that it stands for (megatron/core/transformer/multi_latent_attention.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from workbench.arch.architecture import Architecture, Part, Tensor
from workbench.arch.sizes import ModelSizes
from workbench.arch.weights import Weight

Pieces = dict[str, int]  # name of a piece → its rows


def stored(architecture: Architecture) -> tuple[Tensor, ...]:
    """Every key of the checkpoint with its global shape, in the order of the model; extra states are left out."""
    apart = replace(architecture.sizes, mla_down_proj_fusion=False)
    architecture = Architecture(architecture.pattern, apart, dtype=architecture.dtype)
    return tuple(
        architecture.tensor(f"{part.prefix}{weight.name}", weight)
        for part in architecture.parts
        for row in part.rows
        for weight in _stored_rows(part, row, architecture.sizes)
    )


def _stored_rows(part: Part, row: Weight, sizes: ModelSizes) -> Iterator[Weight]:
    if row.expert:
        name = row.name.replace("mlp.experts.", "mlp.experts.experts.").replace("{expert}", "")
        yield Weight(name, (row.copies, *row.shape), row.dtype, trained=row.trained)
        return
    pieces = _pieces(part.layer.symbol if part.layer else "", row.name, sizes)
    if not pieces:
        yield row
        return
    assert sum(pieces.values()) == row.shape[0], f"the pieces of {row.name} are not all of it"
    name = row.name.replace("conv1d_", "conv1d.")
    for piece, rows in pieces.items():
        yield Weight(f"{name}.{piece}", (rows, *row.shape[1:]), row.dtype, trained=row.trained)


def _pieces(symbol: str, name: str, sizes: ModelSizes) -> Pieces:
    """The pieces of a row that is stored in pieces, in order; none for any other."""
    if symbol == "M":
        width = (sizes.mamba_heads or 0) * (sizes.mamba_head_dim or 0)
        state = (sizes.mamba_num_groups or 0) * (sizes.mamba_state_dim or 0)
        convolved = {"x": width, "B": state, "C": state}
        if name == "mixer.in_proj.weight":
            return {"z": width, **convolved, "dt": sizes.mamba_heads or 0}
        return convolved if name.startswith("mixer.conv1d_") else {}
    if symbol == "G":
        keys = (sizes.gdn_num_key_heads or 0) * (sizes.gdn_key_head_dim or 0)
        heads = sizes.gdn_num_value_heads or 0
        values = heads * (sizes.gdn_value_head_dim or 0)
        convolved = {"query": keys, "key": keys, "value": values}
        if name == "self_attention.in_proj.weight":
            return {**convolved, "z": values, "beta": heads, "alpha": heads}
        return convolved if name.startswith("self_attention.conv1d.") else {}
    return {}
