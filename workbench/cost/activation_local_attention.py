"""What the backward pass keeps on the local backend in attention: plain, latent and sparse. Pure.

The conventions are those of `workbench.cost.activation_local_shared`.
"""

from __future__ import annotations

from workbench.cost.activation_local_shared import (
    BDA_DROPOUT,
    CHECKPOINT,
    EMPTY_SLOT,
    LINEAR,
    NORM,
    OUTPUTLESS,
    block_norm,
    norm,
)
from workbench.cost.activation_saved import Rows, Saved, saved

_ROPE = "megatron/core/models/common/embeddings/rope_utils.py:136"
_ATTENTION = "megatron/core/transformer/dot_product_attention.py:194-239"
_SOFTMAX = "megatron/core/fusions/fused_softmax.py:318-345"
_CORE, _UP = "core_attn", "mla_up_proj"


def _core(value: str) -> Rows:
    """`DotProductAttention` beside its queries, keys and values, of which `value` is a head's width."""
    return (
        saved("attention scores after softmax", "4 * b * a * s * (s + sink)", _SOFTMAX, "tp", (_CORE,)),
        saved("attention dropout: what it multiplies with", "ad * w * b * a * s * s", _ATTENTION, "tp", (_CORE,)),
        saved("attention scores as the product reads them", "max(cast, ad) * w * b * a * s * s", _ATTENTION, "tp", (_CORE,)),
        saved("kind of mask, to compute again", "4", CHECKPOINT, "none", kept_by=(_CORE,)),
        saved("input of the last linear", f"w * s * b * a * {value}", LINEAR, "tp"),
    )  # fmt: skip


def _rope(width: str, dropped_by: tuple[str, ...] = ()) -> Saved:
    return saved("cosines and sines", f"4 * w * s * {width}", _ROPE, "none", dropped_by)


_QKV = "w * s * b * (a * (1 + gate) + 2 * g) * d"

_ATTENTION_ROWS: Rows = (
    *block_norm("norm"),
    saved("queries, keys and values in one", f"max(mha, qkn * (1 - copies), 1 - fresh) * {_QKV}", _ATTENTION, "tp", (_CORE,)),
    saved("queries, keys and values in one", _QKV, CHECKPOINT, "tp", kept_by=(_CORE,)),
    saved("input of the query norm", "qkn * (1 - copies) * (1 - sliced) * w * s * b * a * d", NORM, "tp"),
    saved("inputs of the query and key norm, in fp32", "qkn * copies * 4 * s * b * (a + g) * d", NORM, "tp"),
    saved("queries and keys, normed before their weight", "qkn * rms * 4 * s * b * (a + g) * d", NORM, "tp"),
    saved("query and key norm: statistics", "qkn * (2 - rms) * nw * s * b * (a + g)", NORM, "tp"),
    _rope("turned"),
    saved("queries", "fresh * w * b * a * s * d", _ATTENTION, "tp"),
    saved("keys, one a head", "apiece * w * b * a * s * d", _ATTENTION, "tp", (_CORE,)),
    saved("keys", "max(turns, qkn) * w * b * g * s * d", CHECKPOINT, "tp", kept_by=(_CORE,)),
    saved("values, one a head", "(1 - mha) * w * b * a * s * d", _ATTENTION, "tp", (_CORE,)),
    *_core("d"),
    saved("output gate and what it multiplies", "gate * (4 + w) * s * b * a * d", "megatron/core/transformer/attention.py:1628", "tp"),
    BDA_DROPOUT,
    EMPTY_SLOT,
)  # fmt: skip

# ------------------------------------------------------------------------------- latent and sparse attention

_ONE = "s * b * (kr + rope)"  # elements of the one key that all heads share

_KEY_VALUE_NORM: Rows = (
    saved("input of the key-value norm, in fp32", "qkn * copies * 4 * s * b * kr", NORM, "none"),
    saved("keys and values, normed before their weight", "qkn * rms * 4 * s * b * kr", NORM, "none"),
    saved("key-value norm: statistics", "qkn * (2 - rms) * nw * s * b", NORM, "none"),
)

_COMPRESSED: Rows = (
    *norm("query norm", "qkn * qc * s * b", "qr", "none"),
    saved("compressed keys and values with their rotated part", "(1 - qkn * copies) * w * s * b * (kr + rope)", LINEAR, "none"),
    *_KEY_VALUE_NORM,
    saved("compressed queries", "qc * w * s * b * qr", LINEAR, "none"),
)  # fmt: skip

_LATENT_ROWS: Rows = (
    *block_norm("norm"),
    *_COMPRESSED,
    saved("input of the up-projection of keys and values", "qkn * w * s * b * kr", LINEAR, "none"),
    _rope("rope", dropped_by=(_UP,)),
    saved("rotary angles, to compute again", "4 * s * rope", OUTPUTLESS, "none", kept_by=(_UP,)),
    saved("compressed keys and values with their rotated part", f"qkn * copies * w * {_ONE}", OUTPUTLESS, "none", kept_by=(_UP,)),
    saved("queries", "w * b * a * s * (nope + rope)", _ATTENTION, "tp", (_UP,)),
    saved("keys", "w * b * a * s * (nope + rope)", _ATTENTION, "tp", (_UP,)),
    saved("values", "w * b * a * s * vd", _ATTENTION, "tp", (_UP,)),
    *_core("vd"),
    BDA_DROPOUT,
    EMPTY_SLOT,
)  # fmt: skip

_DSA = "megatron/core/transformer/experimental_attention_variant/dsa.py:2016"
_DSA_CORE = "megatron/core/transformer/experimental_attention_variant/dsa.py:90-173"
_DSA_SOFTMAX = "megatron/core/transformer/experimental_attention_variant/dsa_masking.py:365-373"
_ABSORBED = "megatron/core/transformer/experimental_attention_variant/absorbed_mla.py:624"

# The torch code of `DSAttention`, which runs the same way on any device.
SPARSE_CORE_ROWS: Rows = (
    saved("queries before they meet the keys' weight", "w * s * b * a * (nope + rope)", _ABSORBED, "tp", (_UP,)),
    _rope("rope", dropped_by=(_UP,)),
    saved("rotary angles, to compute again", "4 * s * rope", OUTPUTLESS, "none", kept_by=(_UP,)),
    saved("compressed keys and values as they are cut up", f"(1 - qkn * (1 - copies)) * w * {_ONE}", OUTPUTLESS, "none", kept_by=(_UP,)),
    saved("compressed keys and values, normed", "qkn * w * s * b * kr", OUTPUTLESS, "none", kept_by=(_UP,)),
    saved("indexer: cosines and sines", "il * 4 * w * s * rope", _ROPE, "none", (_CORE,)),
    saved("indexer: input of the key norm and its statistics", "il * w * s * b * (id + 2)", NORM, "none", (_CORE,)),
    saved("indexer: queries, keys and weights", "il * w * s * b * (ih * id + id + ih)", _DSA, "none", (_CORE,)),
    saved("indexer: keys that are kept", "il * 8 * s * b * min(it, s)", _DSA, "none", (_CORE,)),
    saved("indexer: its loss", "il * 4", _DSA, "none", (_CORE,)),
    saved("queries on the compressed keys", f"max(1 - cast, il) * a * w * {_ONE}", _DSA, "tp", (_UP,)),
    saved("queries on the compressed keys", f"(1 - max(1 - cast, il)) * a * w * {_ONE}", CHECKPOINT, "tp", (_UP,), kept_by=(_CORE,)),
    saved("queries in fp32", f"cast * a * 4 * {_ONE}", _DSA_CORE, "tp", (_CORE,)),
    saved("keys", f"il * w * {_ONE}", _DSA, "none", (_UP,)),
    saved("keys", f"(1 - il) * w * {_ONE}", CHECKPOINT, "none", (_UP,), kept_by=(_CORE,)),
    saved("keys in fp32, one a head", f"many * a * 4 * {_ONE}", _DSA_CORE, "tp", (_CORE,)),
    saved("keys in fp32", f"(1 - many) * cast * 4 * {_ONE}", _DSA_CORE, "none", (_CORE,)),
    saved("keys as the product reads them", f"(1 - many) * (1 - il) * w * {_ONE}", _DSA_CORE, "none", (_CORE, _UP)),
    saved("scores: what is masked", "3 * b * a * s * s", _DSA_SOFTMAX, "tp", (_CORE,)),
    saved("scores before and after softmax", "8 * b * a * s * s", _DSA_SOFTMAX, "tp", (_CORE,)),
    saved("rows of the softmax: largest place, empty, sums", "17 * b * a * s", _DSA_SOFTMAX, "tp", (_CORE,)),
    saved("scores as the product reads them", "w * b * a * s * s", _DSA_CORE, "tp", (_CORE,)),
    saved("values, one a head", "many * w * b * a * s * kr", _DSA_CORE, "tp", (_CORE,)),
    saved("outputs before the values' weight, and that weight", "w * a * kr * (s * b + vd)", _DSA_CORE, "tp", (_CORE,)),
    saved("kind of mask, to compute again", "4", CHECKPOINT, "none", kept_by=(_CORE,)),
    saved("input of the last linear", "w * s * b * a * vd", LINEAR, "tp"),
)  # fmt: skip

_SPARSE_ROWS: Rows = (
    *block_norm("norm"),
    *norm("query norm", "qkn * s * b", "qr", "none"),
    saved("compressed keys and values with their rotated part", f"qkn * (1 - copies) * w * {_ONE}", NORM, "none"),
    *_KEY_VALUE_NORM,
    saved("compressed queries", "w * s * b * qr", LINEAR, "none"),
    *SPARSE_CORE_ROWS,
    BDA_DROPOUT,
    EMPTY_SLOT,
)  # fmt: skip

ATTENTION_ROWS: dict[str, Rows] = {"*": _ATTENTION_ROWS, "+": _LATENT_ROWS, "D": _SPARSE_ROWS}
