"""Bytes of state as `workbench.cost.state` has them are those that megatron's modules allocate, and our kernels return.

Not verifiable here: the dynamic engine's latent cache (it needs Flash MLA), any state of gated delta net and of sparse
attention (upstream does not generate with them yet; `test_upstream_cannot_generate_with` says when that changes).
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from megatron.core.inference.config import MambaInferenceStateConfig
from megatron.core.inference.contexts import StaticInferenceContext
from megatron.core.inference.utils import InferenceMode

from tests.contracts.architectures import MEDIUM, ODD, TINY
from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.cost.state import inference_state
from workbench.fusion.model import build_model
from workbench.kernels.conv import last_tokens
from workbench.kernels.delta import gated_delta_chunked

SIZES = {"tiny": TINY, "odd": ODD, "medium": MEDIUM}
CONTEXT = 32  # tokens for which the static engine allocates


def allocated(pattern: str, sizes: ModelSizes, dtype: str, batch: int = 3) -> dict[int, int]:
    """Bytes a sequence by canonical sub-layer, as the static engine allocates them."""
    model = build_model(pattern, sizes, dtype=dtype, seed=1, backend="local").eval()
    context: Any = StaticInferenceContext(max_batch_size=batch, max_sequence_length=CONTEXT)
    with torch.no_grad(), InferenceMode.active():
        model(
            torch.zeros(batch, 4, dtype=torch.long), torch.arange(4).expand(batch, 4), None,
            inference_context=context, runtime_gather_output=True,
        )  # fmt: skip
    return {
        number - 1: sum(tensor.numel() * tensor.element_size() for tensor in tensors) // batch
        for number, tensors in context.key_value_memory_dict.items()
    }


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pattern", ["M", "*", "+", "M[*-]M[ME]", "[+E]-M"])
def test_what_the_static_engine_allocates(pattern: str, size: str, dtype: str) -> None:
    sizes = ModelSizes(**SIZES[size])
    predicted = inference_state(Architecture(pattern, sizes, dtype=dtype), context_length=CONTEXT, latent_cache=False)
    assert {layer.index: layer.bytes for layer in predicted.layers if layer.bytes} == allocated(pattern, sizes, dtype)


def test_other_sizes_are_not_what_it_allocates() -> None:
    found = allocated("M*", ModelSizes(**ODD), "bf16")
    wrong = ModelSizes(**{**ODD, "mamba_num_heads": 6, "mamba_head_dim": 16, "num_query_groups": 6})
    predicted = inference_state(Architecture("M*", wrong), context_length=CONTEXT)
    assert all(layer.bytes != found[layer.index] for layer in predicted.layers)


@pytest.mark.parametrize("ssm_dtype", [None, "fp32"])
@pytest.mark.parametrize("size", SIZES)
def test_mambas_shapes_and_dtypes(size: str, ssm_dtype: str | None) -> None:
    sizes = ModelSizes(**SIZES[size])
    model = build_model("M*", sizes, dtype="bf16", backend="local")
    config = MambaInferenceStateConfig.from_model(model, None, {None: None, "fp32": torch.float32}[ssm_dtype])
    assert config is not None
    mamba, _ = inference_state(Architecture("M*", sizes), context_length=9, ssm_dtype=ssm_dtype).layers
    assert [term.bytes for term in mamba.terms] == [
        math.prod(config.conv_states_shape) * config.conv_states_dtype.itemsize,
        math.prod(config.ssm_states_shape) * config.ssm_states_dtype.itemsize,
    ]
    assert model.decoder.mamba_state_shapes_per_request() == (config.conv_states_shape, config.ssm_states_shape)


@pytest.mark.parametrize("size", SIZES)
def test_the_delta_rules_state_is_what_our_kernel_returns(size: str) -> None:
    sizes = ModelSizes(**SIZES[size])
    model = build_model("G", sizes, dtype="bf16", backend="local")
    mixer = model.decoder.layers[0].self_attention
    heads, keys, values = mixer.num_value_heads, mixer.key_head_dim, mixer.value_head_dim
    q, v, g = (torch.zeros(1, 5, heads, width, dtype=torch.bfloat16) for width in (keys, values, 1))
    _, state = gated_delta_chunked(q, q, v, g[..., 0], g[..., 0])
    convolved = last_tokens(torch.zeros(1, mixer.conv_dim, 5, dtype=torch.bfloat16), mixer.conv_kernel_dim)
    (layer,) = inference_state(Architecture("G", sizes), context_length=5).layers
    assert [term.bytes for term in layer.terms] == [
        convolved.numel() * convolved.element_size(),
        state.numel() * state.element_size(),
    ]


@pytest.mark.parametrize(("pattern", "error"), [("G", NotImplementedError), ("D", AssertionError)])
def test_upstream_cannot_generate_with(pattern: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="support"):
        allocated(pattern, ModelSizes(), "bf16")
