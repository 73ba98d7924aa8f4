"""What `workbench.cost.activations` predicts is what autograd keeps on the real modules, block by block.

Only the "local" implementation can be measured here. The task allows 5 %; the formulas are exact, so the tests ask for
equality, and a twin shows that a prediction for other sizes is not within 5 %.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.contracts.architectures import MEDIUM, ODD, OPTIONS, TINY, random_cases
from tests.contracts.saved_tensors import Measured, measure
from tests.fusion.building import build
from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.cost.activations import Activations, activation_bytes
from workbench.pattern.blocks import Block, SubLayer
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import CHANNEL_MIXERS, SEQUENCE_MIXERS, SYMBOLS

PAIRS = [f"[{mixer}{channel}]" for mixer in SEQUENCE_MIXERS for channel in CHANNEL_MIXERS]
SHAPES = [(64, 2), (256, 1), (23, 3)]  # tokens, sequences; 256 is several chunks of every recurrence
DTYPES = ["fp32", "bf16"]
DROPOUT = {"hidden_dropout": 0.1, "attention_dropout": 0.2}
FULL = {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def predict(
    pattern: str, sizes: ModelSizes, dtype: str, shape: tuple[int, int], recompute: str = "none"
) -> Activations:
    architecture = Architecture(pattern, sizes, dtype=dtype)
    return activation_bytes(
        architecture, sequence_length=shape[0], micro_batch=shape[1], implementation="local", recompute=recompute
    )


def real(pattern: str, sizes: ModelSizes, dtype: str, shape: tuple[int, int], recompute: str = "none") -> Measured:
    fields: dict[str, Any] = {}
    if recompute == "full":
        fields = FULL
    elif recompute != "none":
        fields = {"recompute_granularity": "selective", "recompute_modules": recompute.split(",")}
    return measure(build(pattern, sizes, dtype=dtype, **fields), *shape, sizes.vocabulary)


def runnable(pattern: str, sizes: ModelSizes) -> ModelSizes:
    """The sizes without what upstream builds and cannot run."""
    if "G" in pattern and sizes.activation not in ("swiglu", "silu"):
        # gated_delta_net/gdn.py:213 asks for silu.
        sizes = replace(sizes, activation="swiglu")
    mtp = Pattern(pattern).mtp
    if mtp and any(layer.symbol == "D" for layer in _beyond(pattern, mtp.blocks)):
        # The tracker of the indexer's losses has a place for each sub-layer of the main pattern.
        sizes = replace(sizes, dsa_index_loss_coeff=0.0)
    return sizes


def _beyond(pattern: str, blocks: tuple[Block, ...]) -> list[SubLayer]:
    layers = [layer for block in blocks for layer in block.layers]
    return layers[len(Pattern(pattern).sublayers) :]


def assert_predicts(
    pattern: str, fields: dict[str, Any], dtype: str, shape: tuple[int, int] = (23, 2), recompute: str = "none"
) -> Activations:
    sizes = ModelSizes(**{"max_sequence_length": 256, **fields})
    sizes = runnable(pattern, sizes)
    predicted = predict(pattern, sizes, dtype, shape, recompute)
    measured = real(pattern, sizes, dtype, shape, recompute)
    if recompute != "full":
        depths: dict[int, list[int]] = {}
        for piece in predicted.pieces:
            if piece.what == "block" and piece.depth is not None:
                depths.setdefault(piece.depth, []).append(piece.bytes)
        assert list(depths.values()) == measured.mtp_blocks
    assert [block.bytes for block in predicted.blocks] == measured.blocks
    shared = [piece for piece in predicted.pieces if piece.what == "shared"]
    # On one rank all stages share what each of them has on a rank of its own.
    assert max((piece.bytes for piece in shared), default=0) == measured.shared
    outside = [piece for piece in predicted.pieces if piece.what not in ("block", "shared")]
    assert sum(piece.bytes for piece in outside) == measured.outside
    return predicted


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [1, 4])
def test_norms_of_many_elements_keep_less(groups: int, dtype: str) -> None:
    """1,024 tokens: Mamba's norm of groups and the delta net's L2 norm run through the backward written by hand."""
    assert_predicts("MG", {**MEDIUM, "activation": "swiglu", "mamba_num_groups": groups}, dtype, (1024, 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("size", [TINY, ODD], ids=["tiny", "odd"])
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_kind(symbol: str, size: dict[str, Any], shape: tuple[int, int], dtype: str) -> None:
    assert_predicts(symbol, size, dtype, shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_kind_at_a_larger_size(symbol: str, dtype: str) -> None:
    assert_predicts(symbol, MEDIUM, dtype, (48, 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_keeps_what_its_two_sublayers_keep(pair: str, dtype: str) -> None:
    fused = assert_predicts(pair, ODD | DROPOUT, dtype)
    unfused = assert_predicts(pair[1:-1], ODD | DROPOUT, dtype)
    assert fused.total == unfused.total


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option(option: str, dtype: str) -> None:
    pattern, fields = OPTIONS[option]
    assert_predicts(pattern, ODD | fields, dtype)


MORE_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "dropout": ("*[M-]E[G-]/[*-]", DROPOUT),
    "dropout, latent": ("+[DE]", DROPOUT),
    "dropout and sinks": ("[*-]", DROPOUT | {"attention_sinks": True}),
    "one group a head": ("[*-]", {"num_query_groups": None}),
    "one group": ("[*-]", {"num_query_groups": 1}),
    "no rotation, one group a head": ("[*-]", {"num_query_groups": None, "position_embedding": "none"}),
    "part of a head rotates": ("*", {"position_embedding": "rope 20%"}),
    "gate, norms, one group a head": (
        "*",
        {"attention_output_gate": True, "qk_layernorm": True, "num_query_groups": None},
    ),
    "relu": ("-E", {"activation": "relu"}),
    "silu": ("-E", {"activation": "silu"}),
    "squared relu": ("-E", {"activation": "squared_relu"}),
    "one expert a token": ("E", {"moe_topk": 1}),
    "one expert a token, sigmoid": ("E", {"moe_topk": 1, "moe_router_bias": True}),
    "sigmoid and a balancing loss": ("E", {"moe_topk": 3, "moe_router_bias": True, "moe_aux_loss_coeff": 0.1}),
    "no balancing loss": ("E", {"moe_aux_loss_coeff": 0.0}),
    "one expert": ("E", {"moe_topk": 1, "moe_experts": 1}),
    "no indexer loss": ("D", {"dsa_index_loss_coeff": 0.0}),
    "indexer keeps all": ("D", {"dsa_index_topk": 100}),
    "a group a Mamba head": ("M", {"mamba_num_groups": 9}),
    "one Mamba group": ("M", {"mamba_num_groups": 1}),
    "a key head a value head": ("G", {"gdn_num_key_heads": 6}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(23, 2), (128, 1), (16, 2)], ids=str)
@pytest.mark.parametrize("option", MORE_OPTIONS)
def test_more_options(option: str, shape: tuple[int, int], dtype: str) -> None:
    pattern, fields = MORE_OPTIONS[option]
    assert_predicts(pattern, ODD | fields, dtype, shape)


@example(("D/DD", {}), "bf16", 23, 2)
@given(random_cases(), st.sampled_from(DTYPES), st.integers(2, 40), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_random_small_models(case: tuple[str, dict[str, Any]], dtype: str, length: int, batch: int) -> None:
    pattern, fields = case
    assert_predicts(pattern, fields, dtype, (length, batch))


# ----------------------------------------------------------------------------------------- recompute

SELECTIVE = {
    "core_attn": "[*-]*[*E]",
    "core_attn,mla_up_proj": "[+-]+",
    "mla_up_proj": "+[DE]D",
    "core_attn,layernorm": "D[DE]",
    "layernorm": "M[M-][GE]*-E",
    "mlp": "[M-]-G[*-]*",
    "moe": "[ME]E[GE]",
    "shared_experts": "E[*E]",
    "core_attn,layernorm,mlp,moe": "[M-][*E][*-]M*-E",
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "fields",
    [{}, DROPOUT, {"qk_layernorm": True, "num_query_groups": None}, {"normalization": "LayerNorm"}],
    ids=["plain", "dropout", "qk norm", "LayerNorm"],
)
@pytest.mark.parametrize("modules", SELECTIVE)
def test_selective_recompute(modules: str, fields: dict[str, Any], dtype: str) -> None:
    pattern = SELECTIVE[modules]
    predicted = assert_predicts(pattern, ODD | fields, dtype, recompute=modules)
    assert predicted.total < assert_predicts(pattern, ODD | fields, dtype).total


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pattern", ["M[*-][ME][G-]", "[+-][DE]", "M*-/[*E]/[*E]", "[M-]|[*E]"])
def test_full_recompute(pattern: str, dtype: str) -> None:
    predicted = assert_predicts(pattern, ODD | DROPOUT, dtype, recompute="full")
    assert all(block.bytes == block.input_bytes for block in predicted.blocks)


@pytest.mark.parametrize("pair", PAIRS)
def test_full_recompute_keeps_one_input_a_pair_and_two_without(pair: str) -> None:
    fused = assert_predicts(pair, ODD, "bf16", recompute="full")
    unfused = assert_predicts(pair[1:-1], ODD, "bf16", recompute="full")
    assert len(fused.blocks) == 1
    assert len(unfused.blocks) == 2
    assert unfused.total - fused.total == fused.blocks[0].input_bytes


# -------------------------------------------------------------------------------------- it can fail


def test_tensor_parallelism_was_not_measured() -> None:
    sizes = ModelSizes()
    assert predict("[*-]", sizes, "bf16", (16, 1)).verified
    assert not activation_bytes(Architecture("[*-]", sizes), sequence_length=16).verified


@pytest.mark.parametrize(
    ("symbol", "other"),
    [
        ("*", {"head_dim": 24}),
        ("+", {"v_head_dim": 32}),
        ("D", {"dsa_index_heads": 32}),
        ("M", {"mamba_state_dim": 64}),
        ("G", {"gdn_value_head_dim": 24}),
        ("-", {"activation": "gelu"}),
        ("E", {"moe_topk": 3}),
    ],
)
def test_other_sizes_are_more_than_5_percent_away(symbol: str, other: dict[str, Any]) -> None:
    (measured,) = real(symbol, ModelSizes(), "bf16", (23, 2)).blocks
    (exact,) = predict(symbol, ModelSizes(), "bf16", (23, 2)).blocks
    (wrong,) = predict(symbol, ModelSizes(**other), "bf16", (23, 2)).blocks
    assert exact.bytes == measured
    assert abs(wrong.bytes - measured) > 0.05 * measured


@pytest.mark.parametrize("shape", [(24, 2), (23, 3)], ids=str)
def test_another_length_or_batch_is_told_apart(shape: tuple[int, int]) -> None:
    measured = real("M[*-]", ModelSizes(), "bf16", (23, 2)).blocks
    assert [block.bytes for block in predict("M[*-]", ModelSizes(), "bf16", shape).blocks] != measured


def test_the_measurement_sees_one_more_tensor() -> None:
    """A block that keeps something the formulas do not know is found out."""
    sizes = ModelSizes()
    model = build("M-", sizes)
    # `exp` keeps its output, which is the block's own: what the block hands on is another tensor.
    model.decoder.layers[0].mixer.norm.register_forward_hook(lambda _, __, output: output.exp() * 2)
    predicted = [block.bytes for block in predict("M-", sizes, "fp32", (23, 2)).blocks]
    assert measure(model, 23, 2, sizes.vocabulary).blocks != predicted
