"""What the backward pass keeps outside of the blocks: embedding, final norm, output layer, loss, and around MTP's layers. Pure.

Also what a stage keeps once for all of its blocks.
"""

from __future__ import annotations

from workbench.cost import activation_te
from workbench.cost.activation_local_shared import BDA_DROPOUT, CHECKPOINT, LINEAR, norm
from workbench.cost.activation_saved import Rows, saved

_EMBEDDING = "megatron/core/models/common/embeddings/language_model_embedding.py:111-152"
_LOSS = "megatron/core/tensor_parallel/cross_entropy.py:181"
_MTP = "megatron/core/transformer/multi_token_prediction.py:1132-1233"
_MTP_LOSS = "megatron/core/transformer/multi_token_prediction.py:857-891"

_IDS = (saved("token ids, and positions where they are learned", "(1 + learned) * 8 * s * b", _EMBEDDING, "none"),)
_LOSS_ROWS: Rows = (
    saved("exponentials of the logits, fp32", "4 * s * b * v", _LOSS, "tp"),
    saved("targets: which are elsewhere, which column", "9 * s * b", _LOSS, "none"),
)
_MTP_LOSS_ROWS: Rows = (saved("loss mask and its sums", "8 * s * b + 12", _MTP_LOSS, "none"),)
_PROJECTED = (saved("input of the projection", "2 * w * s * b * h", _MTP, "sp"),)

# Implementation → what its norms and its dropout keep.
_NORMS = {"local": norm, "te": activation_te.norm}
_DROPOUTS = {"local": BDA_DROPOUT, "te": activation_te.DROPOUT}


def embedding_rows(implementation: str) -> Rows:
    """The lookup of the tokens and its dropout."""
    return (*_IDS, _DROPOUTS[implementation])


def final_norm_rows(implementation: str) -> Rows:
    """The norm after the last sub-layer."""
    return _NORMS[implementation]("final norm", "s * b", "h", "sp")


def output_rows(depths: int) -> Rows:
    """The output layer and the loss; with MTP one tensor holds what it reads for every depth, and is kept whole."""
    return (saved("input of the output layer", f"{1 + depths} * w * s * b * h", LINEAR, "sp"), *_LOSS_ROWS)


def mtp_rows(implementation: str, *, full: bool) -> Rows:
    """Around the layers of one MTP depth; with full recompute the depth is one checkpoint, which keeps two inputs."""
    if full:
        inside: Rows = (saved("inputs of the depth, to compute it again", "2 * w * s * b * h", CHECKPOINT, "sp"),)
    else:
        inside = (
            *(row for name in ("embedding norm", "hidden norm") for row in _NORMS[implementation](name, "s * b", "h", "sp")),
            *_PROJECTED,
            *_NORMS[implementation]("norm of the depth", "s * b", "h", "sp"),
        )  # fmt: skip
    return (*embedding_rows(implementation), *inside, *_LOSS_ROWS, *_MTP_LOSS_ROWS)


BLOCK_INPUT: Rows = (saved("input of the block, to compute it again", "w * s * b * h", CHECKPOINT, "sp"),)
MASK: Rows = (saved("causal mask, one for all blocks", "s * s", "megatron/core/transformer/utils.py:54", "none"),)
ANGLES: Rows = (saved("rotary angles, one for all blocks", "4 * s * turned", CHECKPOINT, "none"),)
