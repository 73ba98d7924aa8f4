"""What `workbench.cost.flops` predicts of megatron's local modules is what `FlopCounterMode` counts while they run: exactly.

What the counter cannot see, or sees wrongly, and what is compared instead:

* triangular systems (`aten.linalg_solve_triangular`, in the chunked delta rule) have no formula in it: the terms of that
  name are left out of the prediction;
* the short convolutions, which this project's kernels compute elementwise: their terms are left out too;
* a product that is added in place (`aten.baddbmm_`) has no formula either: that of a product replaces it;
* elementwise work, softmax, norms, `topk`, scatters and sums have no formula: the prediction does not count them either;
* an `einsum` over a single token is an elementwise product: sparse attention is compared from two tokens on;
* recurrences token by token and decoding through them are elementwise, or run on kernels that are not here, and so does
  decoding in absorbed form.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from megatron.core.inference.contexts import StaticInferenceContext
from megatron.core.inference.utils import InferenceMode
from megatron.core.ssm.gated_delta_net.common import torch_chunk_gated_delta_rule

from tests.contracts.architectures import MEDIUM, ODD, OPTIONS, TINY, random_cases
from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.cost.flops import Flops, flops
from workbench.cost.letters import LOCAL_CHUNKS, MODEL_CHUNKS
from workbench.fusion import runtime
from workbench.fusion.config import transformer_config
from workbench.fusion.flop_counting import CORRECTED, UNSEEN, flop_counter, unseen
from workbench.fusion.inference import mamba_state_config
from workbench.fusion.model import build_model, forward_logits, forward_tokens, model_arguments
from workbench.kernels.delta import gated_delta_chunked
from workbench.kernels.ssd import ssd_chunked
from workbench.pattern.model import Pattern
from workbench.pattern.symbols import CHANNEL_MIXERS, SEQUENCE_MIXERS, SYMBOLS

PAIRS = [f"[{mixer}{channel}]" for mixer in SEQUENCE_MIXERS for channel in CHANNEL_MIXERS]
SIZES = {"tiny": TINY, "odd": ODD, "medium": MEDIUM}
# Shorter than a chunk, a whole number of chunks of the delta rule, and several chunks of Mamba with a shorter last one.
LENGTHS = [(1, 2), (9, 3), (32, 1), (150, 1)]


def build(pattern: str, sizes: ModelSizes, **fields: Any) -> Any:
    config = transformer_config(Pattern(pattern), sizes, **fields)
    return build_model(pattern, config, seed=1, backend="local", **model_arguments(Pattern(pattern), sizes))


def counted(model: Any, length: int, batch: int, mapping: Mapping[Any, Any] = CORRECTED) -> tuple[int, int]:
    """FLOPs of a forward pass, and of one with its backward pass."""
    tokens = torch.randint(0, 16, (batch, length + 1), generator=torch.Generator().manual_seed(3))
    runtime.forget_models()
    with flop_counter(mapping) as forward:
        forward_tokens(model, tokens)
    runtime.forget_models()
    with flop_counter(mapping) as training:
        forward_tokens(model, tokens).mean().backward()
    return forward.get_total_flops(), training.get_total_flops()


def visible(predicted: Flops, tokens: int) -> tuple[int, int]:
    """The prediction of the same, without what the counter cannot see."""
    terms = [term for part in predicted.parts for term in part.terms if term.name not in UNSEEN]
    forward = sum(term.forward for term in terms)
    backward = sum(term.backward for term in terms)
    return round(forward * tokens), round((forward + backward + predicted.recomputed_per_token) * tokens)


def assert_predicts(pattern: str, sizes: ModelSizes, lengths: Any = ((9, 3),)) -> None:
    if "G" in pattern and sizes.activation not in ("swiglu", "silu"):
        sizes = replace(
            sizes, activation="swiglu"
        )  # gated delta net convolves with the model's activation, which must be silu
    model = build(pattern, sizes)
    for length, batch in lengths:
        predicted = flops(Architecture(pattern, sizes), sequence_length=length, executed="local")
        assert visible(predicted, length * batch) == counted(model, length, batch), (length, batch)


def long_enough(fields: Mapping[str, Any]) -> ModelSizes:
    return ModelSizes(**{**fields, "max_sequence_length": 256})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pattern", SYMBOLS)
def test_every_kind(pattern: str, size: str) -> None:
    lengths = LENGTHS if pattern != "D" else [(2, 2), *LENGTHS[1:]]
    assert_predicts(pattern, long_enough(SIZES[size]), lengths)


@pytest.mark.parametrize("pattern", [*PAIRS, "M[*-]M[ME]|M-*-/[*-]"])
def test_every_pair_and_a_whole_model(pattern: str) -> None:
    assert_predicts(pattern, long_enough(ODD), [(21, 2)])


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option(option: str) -> None:
    pattern, fields = OPTIONS[option]
    assert_predicts(pattern, long_enough({**ODD, **fields}))


@pytest.mark.parametrize("topk", [1, 2, 3])
def test_experts_of_a_token(topk: int) -> None:
    assert_predicts("E", long_enough({**ODD, "moe_topk": topk}))


@pytest.mark.parametrize("pattern", ["M", "M/*", "M/*E/*E", "D/D"])
@pytest.mark.parametrize("repeated", [False, True])
def test_every_depth_runs_its_layers_and_the_output_layer(pattern: str, repeated: bool) -> None:
    assert_predicts(pattern, long_enough({**ODD, "mtp_use_repeated_layer": repeated}))


@pytest.mark.parametrize("topk", [4, 100])
@pytest.mark.parametrize("loss", [0.0, 0.01])
def test_sparse_attention_with_and_without_its_loss(loss: float, topk: int) -> None:
    sizes = long_enough({**ODD, "dsa_index_loss_coeff": loss, "dsa_index_topk": topk})
    assert_predicts("D", sizes, [(21, 2), (150, 1)])


@given(random_cases())
@settings(max_examples=25, deadline=None)
def test_random_small_models(case: tuple[str, dict[str, Any]]) -> None:
    pattern, fields = case
    assert_predicts(pattern, ModelSizes(**fields), [(19, 2)])


@pytest.mark.parametrize("pattern", ["[M-]G", "*[*E]", "[+-]", "[D-]E", "M[*-]/*E/*E"])
def test_full_recomputation_runs_the_layers_once_more(pattern: str) -> None:
    sizes = ModelSizes(**ODD)
    recomputing = {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}
    predicted = flops(Architecture(pattern, sizes), sequence_length=21, executed="local", recompute="full")
    hidden = unseen(predicted)
    _, training = counted(build(pattern, sizes, **recomputing), 21, 2)
    assert visible(predicted, 42)[1] - round(hidden * 42) == training


@pytest.mark.parametrize("pattern", ["M", "*E", "[D-]", "[+-]", "G"])
def test_prefill_is_a_forward_pass_without_losses(pattern: str) -> None:
    sizes = ModelSizes(**ODD)
    model = build(pattern, sizes).eval()
    runtime.forget_models()
    with torch.no_grad(), flop_counter() as found:
        forward_logits(model, torch.zeros(2, 21, dtype=torch.long))
    predicted = flops(Architecture(pattern, sizes), sequence_length=21, executed="local")
    hidden = unseen(predicted)
    assert found.get_total_flops() == round((predicted.prefill_per_token - hidden) * 42)


@pytest.mark.parametrize("pattern", ["*", "*/*", "*E[*-]", "+", "[+-][+E]"])
def test_prefill_and_decoding_with_megatrons_static_engine(pattern: str) -> None:
    """It asks for the last token's logits alone, caches keys and values, and runs no MTP."""
    sizes = ModelSizes(**ODD)
    architecture = Architecture(pattern, sizes)
    model = build(pattern, sizes).eval()
    context = StaticInferenceContext(max_batch_size=2, max_sequence_length=32)
    seen = 0
    for length in (8, 1, 1, 1):
        positions = torch.arange(seen, seen + length).expand(2, length)
        inputs = torch.zeros(2, length, dtype=torch.long)
        with torch.no_grad(), InferenceMode.active(), flop_counter() as found:
            model(inputs, positions, None, inference_context=context, runtime_gather_output=True)
        seen += length
        context.sequence_len_offset = seen
        predicted = flops(architecture, sequence_length=length, executed="local")
        logits = sum(part.prefill for part in predicted.parts if part.kind == "output layer" and part.depth is None)
        expected = length * predicted.prefill_per_token - (length - 1) * logits
        if length == 1:
            expected = predicted.decode_per_token(seen, latent_cache=False)
        assert found.get_total_flops() == 2 * expected


# ------------------------------------------------------------------------- where 3 × forward holds


@pytest.mark.parametrize("pattern", ["*", "+", "-", "E", "[*-]/*E"])
def test_training_is_three_forward_passes(pattern: str) -> None:
    forward, training = counted(build(pattern, ModelSizes(**ODD)), 21, 2)
    assert training == 3 * forward


@pytest.mark.parametrize(
    ("pattern", "length", "low", "high"),
    [
        ("M", 21, 3.00, 3.05),  # the scores of a chunk are computed again
        ("M", 150, 3.07, 3.12),  # and what the states give
        ("D", 21, 2.90, 2.99),  # the indexer's inputs are detached
        ("D", 150, 3.05, 3.20),  # and its scores are computed again
    ],
)
def test_where_training_is_not_three_forward_passes(pattern: str, length: int, low: float, high: float) -> None:
    forward, training = counted(build(pattern, long_enough(ODD)), length, 1)
    assert low < training / forward < high


# -------------------------------------------------------------------------------- that it can fail


@pytest.mark.parametrize(
    ("pattern", "wrong"),
    [
        # The classic mistake: an inner width of 2 × hidden, here 96, where heads × head width is something else, here 180.
        ("M", {"mamba_num_heads": 6, "mamba_head_dim": 16}),
        ("M", {"mamba_state_dim": 16}),
        ("G", {"gdn_num_value_heads": 3}),
        ("*", {"num_query_groups": 6}),
        ("*", {"attention_output_gate": True}),
        ("+", {"q_lora_rank": None}),
        ("D", {"dsa_index_head_dim": 60}),
        ("-", {"activation": "gelu"}),
        ("E", {"moe_topk": 3}),
        ("E", {"moe_shared_ffn": None}),
    ],
)
def test_other_sizes_are_off_by_more_than_a_hundredth(pattern: str, wrong: dict[str, Any]) -> None:
    found = counted(build(pattern, ModelSizes(**ODD)), 21, 2)
    predicted = flops(Architecture(pattern, ModelSizes(**{**ODD, **wrong})), sequence_length=21, executed="local")
    assert all(abs(b / a - 1) > 0.01 for a, b in zip(found, visible(predicted, 42), strict=True))


@pytest.mark.parametrize("pattern", ["M/*/*", "M"])
def test_a_lost_depth_shows(pattern: str) -> None:
    found = counted(build("M/*", ModelSizes(**ODD)), 21, 2)
    predicted = flops(Architecture(pattern, ModelSizes(**ODD)), sequence_length=21, executed="local")
    assert all(abs(b / a - 1) > 0.01 for a, b in zip(found, visible(predicted, 42), strict=True))


def test_the_causal_half_is_not_what_the_local_modules_compute() -> None:
    forward, _ = counted(build("*", long_enough(ODD)), 150, 1)
    predicted = flops(Architecture("*", long_enough(ODD)), sequence_length=150)
    assert predicted.forward_per_token * 150 < 0.99 * forward


# ---------------------------------------------------------------------------------- what is assumed


def test_the_chunks_of_mamba_are_the_mixers_and_the_kernels() -> None:
    config = mamba_state_config(build("M", ModelSizes()))
    assert config is not None
    assert config.mamba_chunk_size == MODEL_CHUNKS["M"]
    assert inspect.signature(ssd_chunked).parameters["chunk_size"].default == LOCAL_CHUNKS["M"]


def test_the_chunk_of_the_delta_rule_is_the_kernels() -> None:
    assert inspect.signature(gated_delta_chunked).parameters["chunk_size"].default == LOCAL_CHUNKS["G"]
    assert inspect.signature(torch_chunk_gated_delta_rule).parameters["chunk_size"].default == MODEL_CHUNKS["G"]


@pytest.mark.parametrize("causal", [True, False])
def test_megatrons_own_formula_of_attention(causal: bool) -> None:
    """Megatron-LM reports 4·b·s·h·p·(h + h·g/a + s/2) for a layer of attention, where p·h is the width of all heads."""
    sizes = ModelSizes(**ODD)
    hidden, heads, groups, width = 48, 6, 3, 10
    for length in (8, 64, 4096):
        (layer,) = (
            part
            for part in flops(Architecture("*", sizes), sequence_length=length, causal=causal).parts
            if part.kind == "attention"
        )
        theirs = 4 * hidden * (width * heads / hidden) * (hidden + hidden * groups / heads + length / 2)
        if causal:
            # They leave a query out of its own half: s / 2 keys, not (s + 1) / 2.
            assert layer.forward == pytest.approx(theirs + 2 * heads * width * 2 * 0.5)
        else:
            assert layer.forward == pytest.approx(theirs + 2 * heads * width * length)
