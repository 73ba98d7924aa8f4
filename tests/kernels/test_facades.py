"""The kernels under upstream's names: what each computes, how packed sequences are kept apart, what is refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.errors import WorkbenchError
from workbench.kernels import facades
from workbench.kernels.conv import causal_conv
from workbench.kernels.delta import gated_delta_recurrent
from workbench.kernels.norm import l2norm
from workbench.kernels.ssd import ssd_recurrent

HEADS, WIDTH, GROUPS, STATE, CONV = 4, 3, 2, 5, 4
INNER, SHARED = HEADS * WIDTH, GROUPS * STATE
LENGTH = 20
CUTS = {"one": [0, 20], "three": [0, 7, 8, 20], "with an empty one": [0, 7, 7, 20]}


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def same(left: Tensor, right: Tensor) -> None:
    """Not bit for bit: where a vector instruction ends depends on how many tokens there are."""
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-12)


def scan_inputs(rows: int = 2, length: int = LENGTH) -> dict[str, Any]:
    return {
        "x": normal(rows, length, HEADS, WIDTH),
        "dt": normal(rows, length, HEADS),
        "A": -normal(HEADS).exp(),
        "B": normal(rows, length, GROUPS, STATE),
        "C": normal(rows, length, GROUPS, STATE),
        "chunk_size": 8,
        "dt_softplus": True,
    }


def split_inputs(rows: int = 2, length: int = LENGTH, d_has_width: bool = False) -> dict[str, Any]:
    return {
        "zxbcdt": normal(rows, length, 2 * INNER + 2 * SHARED + HEADS),
        "conv1d_weight": normal(INNER + 2 * SHARED, CONV),
        "conv1d_bias": normal(INNER + 2 * SHARED),
        "dt_bias": normal(HEADS),
        "A": -normal(HEADS).exp(),
        "D": normal(HEADS, WIDTH) if d_has_width else normal(HEADS),
        "chunk_size": 8,
        "headdim": None if d_has_width else WIDTH,
        "ngroups": GROUPS,
    }


def delta_inputs(rows: int = 2, length: int = LENGTH) -> dict[str, Tensor]:
    return {
        "q": normal(rows, length, HEADS, 4),
        "k": F.normalize(normal(rows, length, HEADS, 4), dim=-1),
        "v": normal(rows, length, HEADS, 5),
        "g": -normal(rows, length, HEADS).exp(),
        "beta": normal(rows, length, HEADS).sigmoid(),
    }


def conv_inputs(rows: int = 2, length: int = LENGTH) -> dict[str, Any]:
    return {"x": normal(rows, 6, length), "weight": normal(6, CONV), "bias": normal(6), "activation": "silu"}


def tokens_first(given: dict[str, Any]) -> dict[str, Any]:
    return given | {"x": given["x"].transpose(1, 2)}


def pairs(cuts: list[int]) -> list[tuple[int, int]]:
    return [(start, end) for start, end in pairwise(cuts) if end > start]


def index(cuts: list[int]) -> Tensor:
    return torch.cat([torch.full((end - start,), i) for i, (start, end) in enumerate(pairs(cuts))])[None]


@pytest.mark.parametrize("d_has_width", [True, False])
@pytest.mark.parametrize("dt_limit", [(0.0, float("inf")), (0.2, 0.9)])
def test_split_is_conv_scan_and_gate(dt_limit: tuple[float, float], d_has_width: bool) -> None:
    given = split_inputs(d_has_width=d_has_width)
    start = normal(2, HEADS, WIDTH, STATE)
    y, state = facades.mamba_split_conv1d_scan_combined(
        **given, dt_limit=dt_limit, initial_states=start, return_final_states=True
    )
    z, xBC, dt = given["zxbcdt"].split([INNER, INNER + 2 * SHARED, HEADS], dim=-1)
    padded = F.pad(xBC.transpose(1, 2), (CONV - 1, 0))
    xBC = F.conv1d(padded, given["conv1d_weight"][:, None], given["conv1d_bias"], groups=padded.shape[1]).transpose(
        1, 2
    )
    x, B, C = (xBC * xBC.sigmoid()).split([INNER, SHARED, SHARED], dim=-1)
    dt = (1 + (dt + given["dt_bias"]).exp()).log().clamp(*dt_limit)
    B, C = (part.reshape(2, LENGTH, GROUPS, STATE) for part in (B, C))
    scanned, last = ssd_recurrent(
        x.reshape(2, LENGTH, HEADS, WIDTH), dt, given["A"], B, C, D=given["D"], initial_state=start
    )
    same(y, scanned.reshape(2, LENGTH, INNER) * z * z.sigmoid())
    same(state, last)


@pytest.mark.parametrize("softplus", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("limit", [(0.0, float("inf")), (0.2, 0.9)])
def test_scan_prepares_dt(softplus: bool, bias: bool, limit: tuple[float, float]) -> None:
    given = scan_inputs() | {"dt_softplus": softplus}
    given["dt"] = given["dt"].abs()
    dt_bias = normal(HEADS).abs() if bias else None
    dt = given["dt"] if dt_bias is None else given["dt"] + dt_bias
    dt = (1 + dt.exp()).log() if softplus else dt
    expected, _ = ssd_recurrent(given["x"], dt.clamp(*limit), given["A"], given["B"], given["C"])
    same(facades.mamba_chunk_scan_combined(**given, dt_bias=dt_bias, dt_limit=limit), expected)


def test_scan_gates_skips_and_hands_its_state_on() -> None:
    given, z, D, start = scan_inputs(), normal(2, LENGTH, HEADS, WIDTH), normal(HEADS), normal(2, HEADS, WIDTH, STATE)
    y, state = facades.mamba_chunk_scan_combined(
        **given, z=z, D=D, initial_states=start, return_final_states=True, state_dtype=torch.float32
    )
    dt = F.softplus(given["dt"])
    expected, last = ssd_recurrent(given["x"], dt, given["A"], given["B"], given["C"], D=D, initial_state=start)
    same(y, expected * F.silu(z))
    assert state.dtype == torch.float32
    torch.testing.assert_close(state.double(), last, rtol=1e-6, atol=1e-6)


def test_half_precision_is_rounded_once() -> None:
    given = {k: v.bfloat16() if isinstance(v, Tensor) else v for k, v in scan_inputs().items()}
    z = normal(2, LENGTH, HEADS, WIDTH).bfloat16()
    wide = {k: v.double() if isinstance(v, Tensor) else v for k, v in given.items()}
    y = facades.mamba_chunk_scan_combined(**given, z=z)
    exact = facades.mamba_chunk_scan_combined(**wide, z=z.double())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), exact, rtol=2**-8, atol=1e-5)  # half a unit in the last place of bfloat16


@pytest.mark.parametrize("normalize", [True, False])
def test_delta_rule(normalize: bool) -> None:
    given, start = delta_inputs(), normal(2, HEADS, 4, 5)
    o, state = facades.chunk_gated_delta_rule(
        **given, scale=0.3, initial_state=start, output_final_state=True, use_qk_l2norm_in_kernel=normalize
    )
    if normalize:
        given |= {"q": l2norm(given["q"]), "k": l2norm(given["k"])}
    expected, last = gated_delta_recurrent(**given, scale=0.3, initial_state=start)
    same(o, expected)
    assert state is not None
    same(state, last)
    assert facades.chunk_gated_delta_rule(**given)[1] is None


def test_convolutions_and_their_states() -> None:
    given, before = conv_inputs(), normal(2, 6, CONV - 1)
    expected = causal_conv(given["x"], given["weight"], given["bias"], activation="silu", before=before)
    y, state = facades.causal_conv1d_fn(**given, initial_states=before, return_final_states=True)
    same(y, expected)
    assert torch.equal(state, given["x"][..., -3:])
    y, nothing = facades.fla_causal_conv1d(**tokens_first(given))
    assert torch.equal(y.transpose(1, 2), facades.causal_conv1d_fn(**given))
    assert nothing is None


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
def test_packed_is_each_sequence_alone(cuts: list[int]) -> None:
    scan, split, delta, conv = scan_inputs(1), split_inputs(1), delta_inputs(1), conv_inputs(1)
    cu, seq_idx = torch.tensor(cuts, dtype=torch.int32), index(cuts)

    def alone(function: Any, given: dict[str, Any], names: tuple[str, ...], dim: int = 1) -> Tensor:
        parts = []
        for start, end in pairs(cuts):
            result = function(**(given | {name: given[name].narrow(dim, start, end - start) for name in names}))
            parts.append(result[0] if isinstance(result, tuple) else result)
        return torch.cat(parts, dim=dim)

    expected = alone(facades.mamba_chunk_scan_combined, scan, ("x", "dt", "B", "C"))
    same(facades.mamba_chunk_scan_combined(**scan, seq_idx=seq_idx), expected)
    same(facades.mamba_chunk_scan_combined(**scan, cu_seqlens=cu), expected)
    expected = alone(facades.mamba_split_conv1d_scan_combined, split, ("zxbcdt",))
    same(facades.mamba_split_conv1d_scan_combined(**split, seq_idx=seq_idx), expected)
    expected = alone(facades.chunk_gated_delta_rule, delta, ("q", "k", "v", "g", "beta"))
    same(facades.chunk_gated_delta_rule(**delta, cu_seqlens=cu)[0], expected)
    starts = normal(len(cuts) - 1, HEADS, 4, 5)
    o, ends = facades.chunk_gated_delta_rule(**delta, initial_state=starts, output_final_state=True, cu_seqlens=cu)
    for row, (start, end) in enumerate(pairwise(cuts)):
        given = {name: tensor[:, start:end] for name, tensor in delta.items()} | {
            "initial_state": starts[row : row + 1]
        }
        one, last = gated_delta_recurrent(**given) if end > start else (o[:, start:end], starts[row : row + 1])
        same(o[:, start:end], one)
        same(ends[row : row + 1], last)
    expected = alone(facades.causal_conv1d_fn, conv, ("x",), dim=2)
    same(facades.causal_conv1d_fn(**conv, seq_idx=seq_idx), expected)
    same(facades.fla_causal_conv1d(**tokens_first(conv), cu_seqlens=cu)[0].transpose(1, 2), expected)


def test_rows_are_packed_each_its_own_way() -> None:
    given = split_inputs(2)
    seq_idx = torch.cat([index([0, 3, 20]), index([0, 15, 20])])
    y = facades.mamba_split_conv1d_scan_combined(**given, seq_idx=seq_idx)
    for row in range(2):
        one = given | {"zxbcdt": given["zxbcdt"][row : row + 1]}
        same(y[row : row + 1], facades.mamba_split_conv1d_scan_combined(**one, seq_idx=seq_idx[row : row + 1]))


def test_packed_sequences_do_not_leak() -> None:
    given, seq_idx = split_inputs(1), index([0, 7, 20])
    before = facades.mamba_split_conv1d_scan_combined(**given, seq_idx=seq_idx)
    other = given["zxbcdt"].clone()
    other[:, :7] += 1.0
    after = facades.mamba_split_conv1d_scan_combined(**(given | {"zxbcdt": other}), seq_idx=seq_idx)
    assert torch.equal(before[:, 7:], after[:, 7:])
    assert not torch.equal(before[:, :7], after[:, :7])


def test_varlen_states_are_the_last_tokens_of_each_sequence() -> None:
    x = torch.arange(1, 7)[:, None]
    states = facades.causal_conv1d_varlen_states(x, torch.tensor([0, 1, 1, 6]), state_len=3)
    assert states.tolist() == [[[0, 0, 1]], [[0, 0, 0]], [[4, 5, 6]]]
    with pytest.raises(WorkbenchError, match=r"^cu_seqlens must rise from 0 to the length 6, not \[0, 5\]$"):
        facades.causal_conv1d_varlen_states(x, torch.tensor([0, 5]), state_len=3)


ONE = torch.ones(1)
SCAN, SPLIT, DELTA = "mamba_chunk_scan_combined", "mamba_split_conv1d_scan_combined", "chunk_gated_delta_rule"
CALLS: dict[str, tuple[Any, Any]] = {
    "causal_conv1d_fn": (facades.causal_conv1d_fn, conv_inputs),
    "fla causal_conv1d": (facades.fla_causal_conv1d, lambda rows=2: tokens_first(conv_inputs(rows))),
    SCAN: (facades.mamba_chunk_scan_combined, scan_inputs),
    SPLIT: (facades.mamba_split_conv1d_scan_combined, split_inputs),
    DELTA: (facades.chunk_gated_delta_rule, delta_inputs),
}


@pytest.mark.parametrize(
    ("function", "name", "value"),
    [
        ("causal_conv1d_fn", "final_states_out", ONE),
        ("fla causal_conv1d", "residual", ONE),
        ("fla causal_conv1d", "initial_state", ONE),
        ("fla causal_conv1d", "output_final_state", True),
        ("fla causal_conv1d", "backend", "cuda"),
        ("fla causal_conv1d", "cp_context", object()),
        (SPLIT, "rmsnorm_weight", ONE),
        (SPLIT, "outproj_weight", ONE),
        (SPLIT, "outproj_bias", ONE),
        (DELTA, "head_first", True),
    ],
)
def test_unsupported_arguments_are_named(function: str, name: str, value: Any) -> None:
    call, given = CALLS[function]
    with pytest.raises(WorkbenchError) as caught:
        call(**given(), **{name: value})
    assert str(caught.value) == f"{function}: the CPU kernels do not support {name}; leave it out"


CU, IDX = torch.tensor([0, 20]), torch.zeros(1, LENGTH)
PACKED, LEAVE = "packed sequences", "carry no states; leave them out"
ASK = "ask for return_varlen_states"
TOO_LONG = "shapes do not fit: x [1, 20, 4, 3], dt [1, 21, 4], B [1, 20, 2, 5], C [1, 20, 2, 5]"
UNEVEN = "48 channels are not 2·h·p + 2·g·n + h with 4 heads (h) of 3 (p) and 3 groups (g)"
CONTRADICTIONS: list[tuple[str, int, dict[str, Any], str]] = [
    ("causal_conv1d_fn", 1, {"seq_idx": IDX, "initial_states": ONE}, f"{PACKED} (seq_idx) {LEAVE}"),
    ("causal_conv1d_fn", 1, {"seq_idx": IDX, "return_final_states": True}, f"{PACKED} (seq_idx) {LEAVE}"),
    (SCAN, 1, {"seq_idx": IDX, "initial_states": ONE}, f"{PACKED} (seq_idx) {LEAVE}, or give cu_seqlens"),
    (SCAN, 1, {"seq_idx": IDX, "return_final_states": True}, f"{PACKED} (seq_idx) {LEAVE}, or give cu_seqlens"),
    (SCAN, 1, {"cu_seqlens": CU, "return_final_states": True}, f"{PACKED} (cu_seqlens) have a state each; {ASK}"),
    (SCAN, 1, {"return_varlen_states": True}, "return_varlen_states needs cu_seqlens, which say where sequences end"),
    (SCAN, 1, {"cu_seqlens": CU, "seq_idx": IDX}, "seq_idx and cu_seqlens say the same; give one of them"),
    (SCAN, 2, {"cu_seqlens": CU}, f"{PACKED} (cu_seqlens) lie in one row, not in 2"),
    (DELTA, 2, {"cu_seqlens": CU}, f"{PACKED} (cu_seqlens) lie in one row, not in 2"),
    ("fla causal_conv1d", 2, {"cu_seqlens": CU}, f"{PACKED} (cu_seqlens) lie in one row, not in 2"),
    ("fla causal_conv1d", 1, {"weight": None}, "weight must be given"),
    (SPLIT, 1, {"headdim": None}, "headdim must be given when D is [heads]"),
    (SPLIT, 1, {"D": torch.ones(HEADS, WIDTH), "headdim": 2}, "headdim 2 contradicts D [4, 3]"),
    (SCAN, 1, {"z": torch.ones(1, LENGTH, HEADS, 1)}, "z [1, 20, 4, 1] must have the shape of x [1, 20, 4, 3]"),
    (SCAN, 1, {"dt_bias": ONE}, "dt_bias [1] must be [heads] [4]"),
    (SCAN, 1, {"seq_idx": IDX, "dt": torch.ones(1, 21, HEADS)}, TOO_LONG),
    (SPLIT, 1, {"ngroups": 3}, UNEVEN),
]


@pytest.mark.parametrize(("function", "rows", "arguments", "message"), CONTRADICTIONS)
def test_contradictions(function: str, rows: int, arguments: dict[str, Any], message: str) -> None:
    call, given = CALLS[function]
    with pytest.raises(WorkbenchError) as caught:
        call(**(given(rows) | arguments))
    assert str(caught.value) == f"{function}: {message}"


@pytest.mark.parametrize("function", ["fla causal_conv1d", SCAN, DELTA])
def test_bad_lengths(function: str) -> None:
    call, given = CALLS[function]
    with pytest.raises(WorkbenchError, match=r"^cu_seqlens must rise from 0 to the length 20, not \[0, 7\]$"):
        call(**given(1), cu_seqlens=torch.tensor([0, 7]))


@pytest.mark.parametrize("function", ["causal_conv1d_fn", SCAN, SPLIT])
def test_an_index_of_one_row_is_not_for_two(function: str) -> None:
    call, given = CALLS[function]
    with pytest.raises(WorkbenchError, match=r"^seq_idx must be \[2, 20\] \(rows, tokens\), not \[1, 20\]$"):
        call(**given(2), seq_idx=IDX)
