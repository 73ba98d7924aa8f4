"""Fused and unfused stacks compute the same bits, under every option that reaches into a layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from megatron.core.tensor_parallel import random as megatron_random

from tests.fusion.building import PAIRS, SEED, assert_same, assert_same_run, build, run, twins
from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError
from workbench.fusion.adapters import LocalNorm
from workbench.fusion.config import transformer_config
from workbench.fusion.local_spec import local_stack_spec
from workbench.fusion.model import build_model
from workbench.pattern.model import Pattern

DROPOUT = ModelSizes(hidden_dropout=0.1, attention_dropout=0.1)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_between_others(pair: str) -> None:
    fused, unfused = twins(f"M{pair}-")
    result = assert_same_run(fused, unfused)
    names = {name.split(".")[2] for name in result.gradients if name.startswith("decoder.layers.")}
    assert names == {"0", "1", "2", "3"}


@pytest.mark.parametrize("pair", PAIRS)
def test_with_dropout(pair: str) -> None:
    fused, unfused = twins(pair, DROPOUT)
    assert_same_run(fused, unfused)
    # Dropout did something, or the comparison would say nothing.
    assert not torch.equal(run(fused).losses, run(build(pair)).losses)


@pytest.mark.parametrize("pair", PAIRS)
def test_in_bf16(pair: str) -> None:
    assert_same_run(*twins(pair, DROPOUT, dtype="bf16"))


@pytest.mark.parametrize("pair", PAIRS)
def test_with_an_fp32_residual_stream(pair: str) -> None:
    assert_same_run(*twins(f"M{pair}M", dtype="bf16", fp32_residual_connection=True))


class WideNorm(LocalNorm):
    """A user's norm that makes use of the width of an fp32 residual stream."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = torch.nn.functional.rms_norm(x.float(), (self.hidden_size,), self.weight.float(), self.eps)
        return wide.to(self.weight.dtype)


def test_mamba_casts_an_fp32_residual_stream_before_its_norm_and_a_fused_one_does_too() -> None:
    """A TransformerLayer does not cast (`ssm/mamba_layer.py:155`); without the hook the twins differ."""
    pattern, fields = "M[M-]", {"dtype": "bf16", "fp32_residual_connection": True}
    config = transformer_config(Pattern(pattern), ModelSizes(), **fields)
    base = local_stack_spec(config)
    mamba = replace(base.submodules.mamba_layer.submodules, norm=WideNorm)
    layers = replace(base.submodules, mamba_layer=replace(base.submodules.mamba_layer, submodules=mamba))
    spec = replace(base, submodules=layers)
    fused, unfused = (build_model(text, config, seed=SEED, spec=spec) for text in (pattern, "MM-"))
    assert_same_run(fused, unfused)
    (hook,) = fused.decoder.layers[1].input_layernorm._forward_pre_hooks
    del fused.decoder.layers[1].input_layernorm._forward_pre_hooks[hook]
    assert not torch.equal(run(fused).losses, run(unfused).losses)


WITH_BIAS = ModelSizes(normalization="LayerNorm", linear_bias=True, hidden_dropout=0.1)


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair[1] != "D"])
def test_with_biases_and_layer_norms(pair: str) -> None:
    result = assert_same_run(*twins(pair, WITH_BIAS))
    assert any(name.endswith("bias") for name in result.gradients)


def test_sparse_attention_has_no_biases_upstream() -> None:
    with pytest.raises(WorkbenchError, match="requires add_bias_linear=False"):
        build("[D-]", WITH_BIAS)


@pytest.mark.parametrize(
    "sizes",
    [
        ModelSizes(qk_layernorm=True, qkv_bias=True),
        ModelSizes(attention_output_gate=True),
        ModelSizes(moe_shared_ffn=32, shared_expert_gate=True),
        ModelSizes(moe_router_bias=True),
        ModelSizes(tied_embeddings=True, activation="squared_relu"),
        ModelSizes(position_embedding="none"),
    ],
    ids=["qk norm", "output gate", "shared experts", "router bias", "tied", "no rotation"],
)
def test_with_other_sizes(sizes: ModelSizes) -> None:
    assert_same_run(*twins("[*-][ME][*E]", sizes))


@pytest.mark.parametrize("pattern", ["M[*-]/[*-]/[*-]", "[ME]/[ME]/[ME]", "[*E]/G[*E]"])
def test_with_mtp(pattern: str) -> None:
    result = assert_same_run(*twins(pattern, DROPOUT))
    assert any(name.startswith("mtp.layers.0.mtp_model_layer.layers.1.") for name in result.gradients)


@pytest.mark.parametrize(
    "fields", [{"mlp_chunks_for_training": 3}, {"apply_residual_connection_post_layernorm": False}]
)
def test_with_other_options_of_the_config(fields: dict[str, Any]) -> None:
    assert_same_run(*twins("[M-][*-]", **fields))


# ----------------------------------------------------------------------------------------- recompute


@pytest.fixture
def checkpoints(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was recomputed: an entry a forward that was thrown away."""
    ran: list[str] = []
    checkpoint = megatron_random.CheckpointFunction.apply

    def noting(function: Any, *args: Any) -> Any:
        ran.append(getattr(function, "__qualname__", repr(function)))
        return checkpoint(function, *args)

    monkeypatch.setattr(megatron_random.CheckpointFunction, "apply", noting)
    return ran


FULL = [
    {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1},
    {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 2},
    {"recompute_granularity": "full", "recompute_method": "block", "recompute_num_layers": 1},
]


@pytest.mark.parametrize("fields", FULL, ids=["uniform 1", "uniform 2", "block 1"])
def test_full_recompute_changes_nothing(fields: dict[str, Any], checkpoints: list[str]) -> None:
    # Upstream recomputes MTP layers one by one only (multi_token_prediction.py:1419).
    pattern = "M[*-][ME][G-]" + ("/[*E]" if fields["recompute_num_layers"] == 1 else "")
    plain = run(build(pattern, DROPOUT))
    assert not checkpoints
    recomputing = run(build(pattern, DROPOUT, **fields))
    assert len(checkpoints) >= (1 if fields["recompute_method"] == "block" else 4 // fields["recompute_num_layers"])
    assert torch.equal(plain.losses, recomputing.losses)
    assert_same(plain.gradients, recomputing.gradients)


@pytest.mark.parametrize("pair", PAIRS)
def test_full_recompute_of_a_pair_is_that_of_its_twin(pair: str, checkpoints: list[str]) -> None:
    fused, unfused = twins(pair, DROPOUT, **FULL[0])
    assert_same_run(fused, unfused)
    # One checkpoint for the block, one for each of the twin's two layers.
    assert len(checkpoints) == 3
    plain = run(build(pair, DROPOUT))
    assert_same(plain.gradients, run(fused).gradients)


@pytest.mark.parametrize(
    ("modules", "pattern"),
    [
        (["core_attn"], "M[*-][*E]"),
        (["mlp"], "[M-][*-][G-]"),
        (["moe"], "[ME][*E][GE]"),
        (["core_attn", "mlp", "moe"], "[M-][*E][*-]"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_selective_recompute_changes_nothing(modules: list[str], pattern: str, checkpoints: list[str]) -> None:
    fields: dict[str, Any] = {"recompute_granularity": "selective", "recompute_modules": modules}
    plain = run(build(pattern, DROPOUT))
    assert not checkpoints
    recomputing = run(build(pattern, DROPOUT, **fields))
    fused = len(checkpoints)
    assert fused == {"core_attn": 2, "mlp": 3, "moe": 3, "core_attn+mlp+moe": 5}["+".join(modules)]
    assert torch.equal(plain.losses, recomputing.losses)
    assert_same(plain.gradients, recomputing.gradients)
    checkpoints.clear()
    unfused = run(build(pattern.replace("[", "").replace("]", ""), DROPOUT, **fields))
    assert_same(recomputing.gradients, unfused.gradients)
    # Upstream also checkpoints the empty MLP slot of a stand-alone attention layer (transformer_layer.py:443).
    empty = sum(pattern.count(symbol) for symbol in "*G") if "mlp" in modules else 0
    assert len(checkpoints) == fused + empty


def test_selective_recompute_of_norms_is_that_of_the_twin() -> None:
    fields: dict[str, Any] = {"recompute_granularity": "selective", "recompute_modules": ["layernorm"]}
    assert_same_run(*twins("[G-][*E][*-]", **fields))


def test_a_fused_mamba_gains_the_recompute_of_its_norm() -> None:
    """A stand-alone Mamba layer never recomputes its norm; the sum of two gradients is then rounded in another order."""
    fields: dict[str, Any] = {"recompute_granularity": "selective", "recompute_modules": ["layernorm"]}
    fused, unfused = twins("[M-]", **fields)
    assert fused.decoder.layers[0].recompute_input_layernorm
    left, right = run(fused), run(unfused)
    assert torch.equal(left.losses, right.losses)
    for name, gradient in left.gradients.items():
        torch.testing.assert_close(gradient, right.gradients[name], rtol=0, atol=1e-7)
