"""What the backward pass keeps on a GPU with Transformer Engine, flash attention, mamba-ssm and FLA. Pure.

Derived, not measured: none of these packages runs where the tests run. The dense rows are those of Korthikanti et al.,
arXiv 2205.05198, section 4.1, with flash attention in place of stored scores; the others are what the packages' autograd
functions hand to `save_for_backward`, read in their sources. A norm that Transformer Engine fuses into a linear keeps its
input, its output (the linear's input) and its statistics in fp32 (`LayerNormLinear`). Elementwise chains that upstream
compiles or fuses keep their inputs only.

Left out, because no source settles them: index maps of fused token permutation, random-generator states, weights cast to
another type, workspaces, and a few numbers a head and token of the delta net's gates. Sparse attention (`D`) is upstream's
own torch code, with `dsa_kernel_backend="none"`; its fused kernels are left out.
"""

from __future__ import annotations

from workbench.cost.activation_local import ROUTER_ROWS
from workbench.cost.activation_local_attention import SPARSE_CORE_ROWS
from workbench.cost.activation_saved import Divided, Rows, saved

_KORTHIKANTI = "Korthikanti et al., arXiv 2205.05198, section 4.1"
_LINEAR = "Transformer Engine, LayerNormLinear and Linear: what backward reads"
_FLASH = "Dao et al., arXiv 2205.14135: queries, keys, values, output and the softmax's normaliser"
_SSD = "mamba-ssm, MambaSplitConv1dScanCombinedFn: what is saved for backward"
_FLA = "flash-linear-attention, ChunkGatedDeltaRuleFunction: what is saved for backward"
_ACTIVATION = "megatron/core/fusions/fused_bias_swiglu.py:121-196: the activation's input"
_SHARED = "megatron/core/transformer/moe/shared_experts.py:197-201"
_MLA = "megatron/core/transformer/multi_latent_attention.py:760-960"

DROPOUT = saved("dropout mask", "hd * s * b * h", _KORTHIKANTI, "sp")


def norm(what: str, rows: str, width: str, divided: Divided, dropped_by: tuple[str, ...] = ()) -> Rows:
    """What a norm keeps beside its output, which the linear that reads it keeps."""
    return (
        saved(f"input of the {what}", f"w * {rows} * {width}", _LINEAR, divided, dropped_by),
        saved(f"{what}: statistics", f"4 * (2 - rms) * {rows}", _LINEAR, divided, dropped_by),
    )


_FUSED_NORM: Rows = (
    *norm("norm", "s * b", "h", "sp"),
    saved("input of the first linear", "w * s * b * h", _LINEAR, "sp"),
)
# A norm that is a module of its own can be computed again; then its input stays.
_OWN_NORM: Rows = (
    *norm("norm", "s * b", "h", "sp", ("layernorm",)),
    saved("input of the first linear", "w * s * b * h", _LINEAR, "sp", ("layernorm",)),
    saved("input of the norm, to compute it again", "w * s * b * h", _LINEAR, "sp", kept_by=("layernorm",)),
)


def _flash(queries: str, keys: str, values: str, output: str, dropped_by: tuple[str, ...] = ()) -> Rows:
    return (
        saved("queries", f"w * s * b * {queries}", _FLASH, "tp", dropped_by),
        saved("keys", f"w * s * b * {keys}", _FLASH, "tp", dropped_by),
        saved("values", f"w * s * b * {values}", _FLASH, "tp", dropped_by),
        saved("attention output, the input of the last linear", f"w * s * b * {output}", _FLASH, "tp"),
        saved("normaliser of the softmax", "4 * b * a * s", _FLASH, "tp", ("core_attn",)),
    )


_COMPRESSED: Rows = (
    saved("compressed queries", "qc * w * s * b * qr", _MLA, "none"),
    saved("compressed queries after their norm, statistics", "qkn * qc * s * b * (w * qr + 4 * (2 - rms))", _MLA, "none"),
    saved("compressed keys and values with their rotated part", "w * s * b * (kr + rope)", _MLA, "none"),
    saved("compressed keys and values after their norm, statistics", "qkn * s * b * (w * kr + 4 * (2 - rms))", _MLA, "none"),
)  # fmt: skip

_INNER = "mh * md"

TE_ROWS: dict[str, Rows] = {
    "M": (
        *_FUSED_NORM,
        saved("gate, x, B, C and step sizes", f"w * s * b * (2 * {_INNER} + 2 * mg * n + mh)", _SSD, "tp"),
        saved("output of the scan before its gate", f"w * s * b * {_INNER}", _SSD, "tp"),
        saved("norm of the groups: input and statistics", f"s * b * (w * {_INNER} + 4 * mg)", "mamba-ssm, layernorm_gated", "tp"),
        saved("input of the last linear", f"w * s * b * {_INNER}", _LINEAR, "tp"),
        DROPOUT,
    ),
    "G": (
        *_FUSED_NORM,
        saved("input of the convolution", "w * s * b * (2 * gk * dk + gv * dv)", "flash-linear-attention, causal_conv1d", "tp"),
        saved("queries and keys around their L2 norm", "s * b * 2 * gk * (w * dk + 4)", "flash-linear-attention, l2norm", "tp"),
        saved("queries and keys, one a value head", "2 * w * s * b * gv * dk", _FLA, "tp"),
        saved("values", "w * s * b * gv * dv", _FLA, "tp"),
        saved("decay and writing strength", "(4 + w) * s * b * gv", _FLA, "tp"),
        saved("token by token inside chunks of 64", "w * s * b * gv * 64", _FLA, "tp"),
        *norm("output norm", "s * b * gv", "dv", "tp"),
        saved("output of that norm, and its gate", "2 * w * s * b * gv * dv", "megatron/core/ssm/gated_delta_net/common.py:369", "tp"),
        saved("input of the last linear", "w * s * b * gv * dv", _LINEAR, "tp"),
        DROPOUT,
    ),
    "*": (
        *_FUSED_NORM,
        saved("queries and keys before their norms, statistics", "qkn * s * b * (a + g) * (w * d + 4 * (2 - rms))", _LINEAR, "tp"),
        *_flash("a * d", "g * d", "g * d", "a * d"),
        saved("output gate and gated output", "gate * 2 * w * s * b * a * d", "megatron/core/transformer/attention.py:1628", "tp"),
        DROPOUT,
    ),
    "+": (
        *_OWN_NORM,
        *_COMPRESSED,
        *_flash("a * (nope + rope)", "a * (nope + rope)", "a * vd", "a * vd", ("mla_up_proj",)),
        DROPOUT,
    ),
    "D": (*_OWN_NORM, *_COMPRESSED, *SPARSE_CORE_ROWS, DROPOUT),
    "-": (
        *_FUSED_NORM,
        saved("input of the activation", "p * w * s * b * f", _ACTIVATION, "tp", ("mlp",)),
        saved("input of the last linear", "w * s * b * f", _KORTHIKANTI, "tp", ("mlp",)),
        DROPOUT,
    ),
    "E": (
        *_OWN_NORM,
        saved("shared experts: input of the activation", "p * w * s * b * sf", _ACTIVATION, "tp", ("moe", "shared_experts")),
        saved("shared experts: input of the last linear", "w * s * b * sf", _LINEAR, "tp", ("moe", "shared_experts")),
        saved("shared experts: gate and what it multiplies", "sg * w * s * b * (1 + h)", _SHARED, "sp", ("moe", "shared_experts")),
        *ROUTER_ROWS,
        saved("experts: tokens and their weights", "s * b * k * (w * l + 4)", _ACTIVATION, "none", ("moe",)),
        saved("experts: input of the activation", "p * w * s * b * k * ef", _ACTIVATION, "tp", ("moe",)),
        saved("experts: input of the last linear", "w * s * b * k * ef", _LINEAR, "tp", ("moe",)),
        saved("latent experts: input of the up-projection", "latent * w * s * b * l", _LINEAR, "sp", ("moe",)),
        DROPOUT,
    ),
}  # fmt: skip
