"""What the backward pass keeps in every layer on the local backend: its norm, its dropout, its empty slot. Pure.

Conventions of all tables of the local backend (megatron's local modules with this project's CPU kernels): one row a tensor
(or a few of one shape), its bytes as a formula, in the order in which a forward saves them. A tensor that several operations
keep is counted once; where a part of a larger tensor is kept, all of it stays in memory and is counted.
`tests/contracts/test_activation_memory.py` compares every kind with the tensors that autograd saves.
"""

from __future__ import annotations

from workbench.cost.activation_saved import Divided, Rows, saved

LINEAR = "megatron/core/tensor_parallel/layers.py:548"
NORM = "workbench/fusion/adapters.py, LocalNorm"
CHECKPOINT = "megatron/core/tensor_parallel/random.py:618"
OUTPUTLESS = "megatron/core/tensor_parallel/random.py:704"
_BDA = "megatron/core/fusions/fused_bias_dropout.py:47"
_LN = "layernorm"


def norm(what: str, rows: str, width: str, divided: Divided, dropped_by: tuple[str, ...] = ()) -> Rows:
    """What one norm of `rows` vectors of `width` keeps; its output belongs to whoever reads it."""
    return (
        saved(f"input of the {what}", f"nw * {rows} * {width}", NORM, divided, dropped_by),
        saved(f"{what}: normed, before its weight", f"rms * 4 * {rows} * {width}", NORM, divided, dropped_by),
        saved(f"{what}: statistics", f"(2 - rms) * nw * {rows}", NORM, divided, dropped_by),
    )


def block_norm(what: str) -> Rows:
    """The norm in front of a mixer, and its output, which the first linear keeps."""
    return (
        *norm(what, "s * b", "h", "sp", (_LN,)),
        saved("input of the first linear", "w * s * b * h", LINEAR, "sp", (_LN,)),
        saved(f"input of the {what}, to compute it again", "w * s * b * h", OUTPUTLESS, "sp", kept_by=(_LN,)),
    )


BDA_DROPOUT = saved("dropout: what it multiplies with", "hd * w * s * b * h", _BDA, "sp")
# Upstream checkpoints the channel slot of a stand-alone attention layer too, which holds nothing. Where the next norm keeps
# its input as it is, that tensor is kept already.
EMPTY_SLOT = saved(
    "input of the empty MLP slot", "slot * copies * w * s * b * h", "megatron/core/transformer/transformer_layer.py:896",
    "sp", kept_by=("mlp",),
)  # fmt: skip
