"""What megatron's inference asks of a model: shapes, maps, chunk sizes and cached decoding are those of the unfused twin."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from megatron.core.inference.config import MambaInferenceStateConfig
from megatron.core.inference.contexts import StaticInferenceContext
from megatron.core.inference.utils import InferenceMode
from megatron.core.models.hybrid.hybrid_layer_allocation import get_layer_maps_from_layer_type_list

from tests.fusion.building import SEED, build, twins
from workbench.arch.sizes import ModelSizes
from workbench.fusion.config import transformer_config
from workbench.fusion.inference import mamba_state_config
from workbench.fusion.local_spec import local_stack_spec
from workbench.fusion.model import build_model, forward_logits
from workbench.pattern.model import Pattern

PATTERNS = ["[M-]", "M[*-]M[ME]", "[*-][M-]", "[*-][*E]M", "[+-][ME]G"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_layer_list_and_its_maps_are_the_twins(pattern: str) -> None:
    fused, unfused = (model.decoder.layer_type_list for model in twins(pattern))
    assert fused == unfused == list(str(Pattern(pattern).unfused()))
    assert get_layer_maps_from_layer_type_list(fused) == get_layer_maps_from_layer_type_list(unfused)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_mamba_state_shapes_are_the_twins(pattern: str) -> None:
    fused, unfused = twins(pattern, ModelSizes(mamba_num_heads=12, mamba_num_groups=3))
    shapes = fused.decoder.mamba_state_shapes_per_request()
    assert shapes == unfused.decoder.mamba_state_shapes_per_request()
    # 12 heads of 16, and B and C of 3 groups by 16; 4 taps.
    assert shapes == ((12 * 16 + 2 * 3 * 16, 4), (12, 16, 16))


def test_without_mamba_there_is_no_state() -> None:
    model = build("[*-]G")
    assert model.decoder.mamba_state_shapes_per_request() is None
    assert mamba_state_config(model) is MambaInferenceStateConfig.from_model(model) is None


@pytest.mark.parametrize("pattern", PATTERNS)
def test_upstreams_state_config_is_the_twins(pattern: str) -> None:
    fused, unfused = twins(pattern)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = MambaInferenceStateConfig.from_model(unfused)
        assert MambaInferenceStateConfig.from_model(fused) == expected
    assert mamba_state_config(fused) == mamba_state_config(unfused) == expected


def with_chunks(pattern: str, chunk_size: int) -> Any:
    config = transformer_config(Pattern(pattern), ModelSizes())
    base = local_stack_spec(config)
    mamba = base.submodules.mamba_layer
    mixer = replace(mamba.submodules.mixer, params={"chunk_size": chunk_size})
    mamba = replace(mamba, submodules=replace(mamba.submodules, mixer=mixer))
    spec = replace(base, submodules=replace(base.submodules, mamba_layer=mamba))
    return build_model(pattern, config, seed=SEED, spec=spec)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_chunk_size_of_a_spec_of_the_users_own(pattern: str) -> None:
    fused, unfused = with_chunks(pattern, 32), with_chunks(str(Pattern(pattern).unfused()), 32)
    expected = MambaInferenceStateConfig.from_model(unfused)
    assert expected.mamba_chunk_size == 32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mamba_state_config(fused) == mamba_state_config(unfused) == expected


@pytest.mark.parametrize(("pattern", "found"), [("[M-]", 128), ("[*-][*E]M", 128), ("M[M-]", 32)])
def test_where_upstream_does_not_find_the_chunk_size_it_is_said(pattern: str, found: int) -> None:
    model = with_chunks(pattern, 32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert MambaInferenceStateConfig.from_model(model).mamba_chunk_size == found
    texts = [str(warning.message) for warning in caught]
    assert texts == (
        [
            "megatron's MambaInferenceStateConfig.from_model takes a chunk size of 128 for this fused model, whose Mamba layers "
            "have 32; use workbench.fusion.inference.mamba_state_config"
        ]
        if found != 32
        else []
    )


def infer(model: Any, tokens: torch.Tensor, *lengths: int) -> tuple[list[torch.Tensor], dict[int, Any]]:
    """The last logits after each part of a sequence, and the caches by layer number."""
    model.eval()
    context = StaticInferenceContext(max_batch_size=tokens.shape[0], max_sequence_length=32)
    found, start = [], 0
    with torch.no_grad(), InferenceMode.active():
        for length in lengths:
            positions = torch.arange(start, start + length).expand(tokens.shape[0], length)
            part = tokens[:, start : start + length]
            found.append(model(part, positions, None, inference_context=context, runtime_gather_output=True)[:, -1])
            start += length
            context.sequence_len_offset = start
    return found, context.key_value_memory_dict


def assert_infer_alike(pattern: str, *lengths: int) -> None:
    """The twins' logits and caches, in the same places, to the last bit; and the logits of one whole forward."""
    fused, unfused = twins(pattern)
    (left, left_caches), (right, right_caches) = (infer(model, TOKENS, *lengths) for model in (fused, unfused))
    assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
    assert list(left_caches) == list(right_caches)
    symbols = {layer.index + 1: layer.symbol for layer in Pattern(pattern).sublayers if layer.symbol in "M*+"}
    assert list(left_caches) == list(symbols)
    for number, symbol in symbols.items():
        # Keys and values are [token, ...], and what no token has filled is uninitialised memory.
        filled = slice(None) if symbol == "M" else slice(TOKENS.shape[1])
        pairs = zip(left_caches[number], right_caches[number], strict=True)
        assert all(torch.equal(a[filled], b[filled]) for a, b in pairs), number
    with torch.no_grad():
        whole = forward_logits(fused, TOKENS)
    torch.testing.assert_close(left[-1], whole[:, -1], rtol=0, atol=1e-6)


TOKENS = torch.randint(0, 128, (2, 12), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("pattern", ["[*-]", "[*E][*-]", "[+-][+E]", "-[*E]"])
def test_decoding_with_caches(pattern: str) -> None:
    assert_infer_alike(pattern, 8, 1, 1, 1, 1)


@pytest.mark.parametrize("pattern", ["[M-]", "M[*-][ME]"])
def test_a_mamba_prefill(pattern: str) -> None:
    assert_infer_alike(pattern, 12)


@pytest.mark.parametrize("pattern", ["[M-]", "M-"])
def test_decoding_mamba_needs_triton_fused_or_not(pattern: str) -> None:
    """Upstream's own kernels for one token (`ssm/ops/`) have no CPU form."""
    with pytest.raises(RuntimeError, match="active drivers"):
        infer(build(pattern), TOKENS, 8, 1)


@pytest.mark.parametrize(
    ("pattern", "error"), [("[G-]", NotImplementedError), ("G-", NotImplementedError), ("[D-]", AssertionError)]
)
def test_what_upstream_cannot_infer_with_is_refused_fused_or_not(pattern: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="support"):
        infer(build(pattern), TOKENS, 8)
