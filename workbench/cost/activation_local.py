"""What the backward pass keeps on the local backend, for every layer kind: recurrent and channel mixers here. Pure.

The attentions are in `workbench.cost.activation_local_attention`; the conventions are those of
`workbench.cost.activation_local_shared`.
"""

from __future__ import annotations

from workbench.cost.activation_local_attention import ATTENTION_ROWS
from workbench.cost.activation_local_shared import BDA_DROPOUT, EMPTY_SLOT, LINEAR, block_norm, norm
from workbench.cost.activation_saved import Rows, saved

_CONV = "workbench/kernels/conv.py"
_SSD = "workbench/kernels/ssd_scan.py"
_FACADE = "workbench/kernels/mamba_facades.py, mamba_chunk_scan_combined"
_GROUP_NORM = "workbench/kernels/norm.py, RMSNormGated"
_L2 = "workbench/kernels/norm.py, l2norm"
_DELTA = "workbench/kernels/delta.py"
_GDN = "megatron/core/ssm/gated_delta_net/common.py"

_NARROW = "(few * 4 + (1 - few) * w)"  # a norm of few elements keeps them in fp32, one of many as they come

# ------------------------------------------------------------------------------------------ Mamba-2

_CONVOLVED = "(mh * md + 2 * mg * n)"
_PROJECTED = "(2 * mh * md + 2 * mg * n + mh)"

MAMBA_ROWS: Rows = (
    *block_norm("norm"),
    saved("decays of the heads", "8 * mh", "megatron/core/ssm/mamba_mixer.py:742", "tp"),
    saved("input projection: z for the gate, the rest for the convolution", f"w * b * s * {_PROJECTED}", _CONV, "tp"),
    saved("step sizes, before and after softplus", "8 * s * b * mh", _FACADE, "tp"),
    saved("x, B and C of the scan", f"w * b * s * {_CONVOLVED}", _SSD, "tp"),
    saved("x of the scan in fp32", "cast * 4 * b * s * mh * md", _SSD, "tp"),
    saved("states that enter the chunks", "later * 4 * b * t * mh * md * n", _SSD, "tp"),
    saved("output of the scan, which the gate multiplies", "4 * s * b * mh * md", _FACADE, "tp"),
    saved("norm of the groups: input and statistics", f"s * b * ({_NARROW} * mh * md + 4 * mg)", _GROUP_NORM, "tp"),
    saved("norm of the groups: normed, and the weight in fp32", "few * 4 * (s * b + cast) * mh * md", _GROUP_NORM, "tp"),
    saved("input of the last linear", "w * s * b * mh * md", LINEAR, "tp"),
    BDA_DROPOUT,
)  # fmt: skip

# ---------------------------------------------------------------------------------- gated delta net

_MIXED = "(2 * gk * dk + gv * dv)"
_TOKENS = "4 * b * gv * t * c"  # a number of every value head and token, fp32

DELTA_ROWS: Rows = (
    *block_norm("norm"),
    saved("input projection, of which the convolution reads", f"w * b * s * ({_MIXED} + gv * (dv + 2))", _CONV, "tp"),
    saved("queries and keys before their L2 norm, and the norm", f"s * b * 2 * gk * ({_NARROW} * dk + 4)", _L2, "tp"),
    saved("decays of the heads", "2 * w * gv", f"{_GDN}:444", "tp"),
    saved("decay before and after softplus", "8 * s * b * gv", f"{_GDN}:444", "tp"),
    saved("writing strength", "w * s * b * gv", f"{_GDN}:445", "tp"),
    saved("queries and keys, one a value head", "2 * w * s * b * gv * dk", _DELTA, "tp"),
    saved("values", "w * s * b * gv * dv", _DELTA, "tp"),
    saved("decay of the tokens", "4 * s * b * gv", _DELTA, "tp"),
    saved("inverses of the triangular systems", f"{_TOKENS} * c", _DELTA, "tp"),
    saved("scores of queries on keys", f"{_TOKENS} * c", _DELTA, "tp"),
    saved("values as they are written", f"{_TOKENS} * dv", _DELTA, "tp"),
    saved("states that enter the chunks", "4 * b * gv * t * dk * dv", _DELTA, "tp"),
    *norm("output norm", "s * b * gv", "dv", "tp"),
    saved("gate before and after silu, and what it multiplies", "(8 + w) * s * b * gv * dv", f"{_GDN}:377", "tp"),
    saved("input of the last linear", "w * s * b * gv * dv", LINEAR, "tp"),
    BDA_DROPOUT,
    EMPTY_SLOT,
)  # fmt: skip

# ------------------------------------------------------------------------------------ channel mixers

_MLP = "megatron/core/transformer/mlp.py:318-344"
_ROUTER = "megatron/core/transformer/moe/moe_utils.py:816-870"
_AUX = "megatron/core/transformer/moe/moe_utils.py:936-946, 140"
_DISPATCH = "megatron/core/transformer/moe/moe_utils.py:465"
_EXPERTS = "megatron/core/transformer/moe/experts.py:1364"
_SHARED = "megatron/core/transformer/moe/shared_experts.py:197-201"

MLP_ROWS: Rows = (
    *block_norm("norm"),
    saved("what the activation reads", "act * w * s * b * f", _MLP, "tp", ("mlp",)),
    saved("input of the last linear", "w * s * b * f", LINEAR, "tp", ("mlp",)),
    BDA_DROPOUT,
)

# Torch code that runs the same way on any device, unless the router's kernels are fused.
ROUTER_ROWS: Rows = (
    saved("router: scores of all experts", "scores * 4 * s * b * e", _ROUTER, "sp", ("moe",)),
    saved("router: chosen experts", "8 * s * b * k", _ROUTER, "sp", ("moe",)),
    saved("router: weights of the chosen experts", "some * 4 * s * b * (k + sig)", _ROUTER, "sp", ("moe",)),
    saved("balancing loss", "aux * (4 * s * b * (e + 2 * k + sig) + 8 * e + 4)", _AUX, "sp", ("moe",)),
)

EXPERT_ROWS: Rows = (
    *block_norm("norm"),
    saved("shared experts: what the activation reads", "act * w * s * b * sf", _SHARED, "tp", ("moe", "shared_experts")),
    saved("shared experts: input of the last linear", "w * s * b * sf", _SHARED, "tp", ("moe", "shared_experts")),
    saved("shared experts: gate and what it multiplies", "sg * w * s * b * (1 + h)", _SHARED, "sp", ("moe", "shared_experts")),
    *ROUTER_ROWS,
    saved("dispatch: places of the tokens", "8 * s * b * k", _DISPATCH, "none", ("moe",)),
    saved("dispatch: who goes where, and with which weight", "5 * s * b * e", _DISPATCH, "none", ("moe",)),
    saved("experts: tokens and their weights", "s * b * k * (w * l + 4)", _EXPERTS, "none", ("moe",)),
    saved("experts: what the activation reads, and its output", "(act + 1) * w * s * b * k * ef", _EXPERTS, "tp", ("moe",)),
    saved("experts: input of the last linear", "w * s * b * k * ef", _EXPERTS, "tp", ("moe",)),
    BDA_DROPOUT,
)  # fmt: skip

LOCAL_ROWS: dict[str, Rows] = {
    "M": MAMBA_ROWS,
    "G": DELTA_ROWS,
    **ATTENTION_ROWS,
    "-": MLP_ROWS,
    "E": EXPERT_ROWS,
}
