"""Stack specs that fuse: made from any hybrid spec without changing it, found by Megatron-LM, refused with a reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from megatron.core.models.hybrid.hybrid_block import HybridStack
from megatron.core.models.hybrid.hybrid_layer_specs import hybrid_stack_spec
from megatron.core.models.hybrid.hybrid_model import HybridModel
from megatron.core.transformer.multi_token_prediction import MultiTokenPredictionLayer
from megatron.core.transformer.spec_utils import ModuleSpec, import_module

from tests.fusion.building import SEED, assert_same, build
from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError
from workbench.fusion import runtime, stack_spec
from workbench.fusion.adapters import LocalNorm
from workbench.fusion.config import transformer_config
from workbench.fusion.fused_spec import SpecError
from workbench.fusion.local_spec import local_stack_spec
from workbench.fusion.model import build_model
from workbench.fusion.names import canonical_parameters
from workbench.fusion.stack import FusedHybridStack, FusedMultiTokenPredictionLayer
from workbench.fusion.stack_spec import choose_backend, fused_stack_spec, model_stack_spec
from workbench.fusion.upstream import has_cuda
from workbench.pattern.model import Pattern


def local(pattern: str = "M*-E") -> ModuleSpec:
    return local_stack_spec(transformer_config(Pattern(pattern), ModelSizes()))


def test_the_stack_and_the_mtp_layer_are_ours_and_the_rest_is_the_users() -> None:
    base = local()
    fused = fused_stack_spec(base, "[M-]", final_norm=LocalNorm)
    assert fused.module is FusedHybridStack
    assert fused.params == {"fusion": "[M-]", "final_norm": LocalNorm, "lean": True}
    (mtp,) = fused.submodules.mtp_block_spec.submodules.layer_specs
    assert (mtp.module, mtp.params) == (FusedMultiTokenPredictionLayer, {"fusion": "[M-]", "lean": True})
    (theirs,) = base.submodules.mtp_block_spec.submodules.layer_specs
    assert mtp.submodules is theirs.submodules
    for slot in ("mamba_layer", "attention_layer", "mlp_layer", "moe_layer"):
        assert getattr(fused.submodules, slot) is getattr(base.submodules, slot)


def test_the_base_is_not_changed() -> None:
    base = local()
    fused_stack_spec(base, "[M-]")
    assert (base.module, base.params) == (HybridStack, {})
    (mtp,) = base.submodules.mtp_block_spec.submodules.layer_specs
    assert (mtp.module, mtp.params) == (MultiTokenPredictionLayer, {})


class OwnStack(HybridStack):
    """A user's stack."""


class OwnMtpLayer(MultiTokenPredictionLayer):
    """A user's multi-token-prediction layer."""


def test_a_stack_of_the_users_own_is_refused() -> None:
    with pytest.raises(SpecError) as error:
        fused_stack_spec(replace(local(), module=OwnStack))
    assert str(error.value) == f"the stack spec builds {OwnStack!r}; only megatron's HybridStack is known here"


def test_an_mtp_layer_of_the_users_own_is_refused() -> None:
    base = local()
    block = base.submodules.mtp_block_spec
    (layer,) = block.submodules.layer_specs
    block = replace(block, submodules=replace(block.submodules, layer_specs=[replace(layer, module=OwnMtpLayer)]))
    with pytest.raises(SpecError) as error:
        fused_stack_spec(replace(base, submodules=replace(base.submodules, mtp_block_spec=block)))
    assert str(error.value) == f"the MTP layer spec builds {OwnMtpLayer!r}; only megatron's own is known here"


def hybrid_model(spec: ModuleSpec, pattern: str, **fields: Any) -> HybridModel:
    """As Megatron-LM builds it: a plain pattern, and whatever spec --spec named."""
    runtime.seed(SEED)
    return HybridModel(
        config=transformer_config(Pattern(pattern), ModelSizes(), **fields),
        hybrid_stack_spec=spec,
        hybrid_layer_pattern=pattern,
        vocab_size=128,
        max_sequence_length=64,
        position_embedding_type="rope",
        pg_collection=runtime.require().groups,
    )


def test_without_a_pattern_every_pair_of_the_models_is_fused_mtp_too() -> None:
    model = hybrid_model(fused_stack_spec(local(), final_norm=LocalNorm), "M-*E/*-")
    assert [block.symbols for block in model.decoder.blocks] == ["M-", "*E"]
    assert [block.symbols for block in model.mtp.layers[0].mtp_model_layer.blocks] == ["*-"]
    assert_same(canonical_parameters(model), canonical_parameters(build("[M-][*E]/[*-]")))


def test_a_spec_made_for_another_pattern_is_refused_by_the_model() -> None:
    with pytest.raises(WorkbenchError, match="the stack spec was made for"):
        hybrid_model(fused_stack_spec(local(), "[M-]", final_norm=LocalNorm), "*-")


def test_megatron_lm_finds_the_spec_as_it_looks_for_one() -> None:
    spec = import_module(("workbench.fusion.stack_spec", "fully_fused_stack_spec"))
    assert spec is stack_spec.fully_fused_stack_spec
    assert (spec.module, spec.params) == (FusedHybridStack, {"fusion": None, "final_norm": None, "lean": True})
    assert spec.submodules.mamba_layer is hybrid_stack_spec.submodules.mamba_layer
    assert hybrid_stack_spec.module is HybridStack


@pytest.mark.skipif(has_cuda(), reason="a CUDA device is here: Transformer Engine may be too")
def test_without_transformer_engine_megatron_says_that_it_is_missing() -> None:
    with pytest.raises(ImportError, match="Transformer Engine is not installed"):
        hybrid_model(stack_spec.fully_fused_stack_spec, "M-", transformer_impl="transformer_engine")
    with pytest.raises(SpecError) as error:
        build_model("[M-]", spec=hybrid_stack_spec)
    assert str(error.value) == (
        "the stack spec asks for modules of Transformer Engine, which is not installed (pip install 'hybrid-workbench[gpu]')"
    )


def test_a_spec_of_the_users_own_is_built_here() -> None:
    model = build_model("[M-][*E]/[*-]", seed=SEED, spec=local())
    assert_same(canonical_parameters(model), canonical_parameters(build("[M-][*E]/[*-]")))


def test_the_final_norm_is_local_where_the_backend_is() -> None:
    config = transformer_config(Pattern("M"), ModelSizes())
    assert model_stack_spec("local", config, "M").params["final_norm"] is LocalNorm
    assert model_stack_spec("te", config, "M").params["final_norm"] is None
    assert model_stack_spec("te", config, "M").submodules.mamba_layer is hybrid_stack_spec.submodules.mamba_layer


def test_backends() -> None:
    assert choose_backend("local") == "local"
    with pytest.raises(WorkbenchError) as error:
        choose_backend("cuda")
    assert str(error.value) == "backend must be one of auto, local, te, not 'cuda'"


@pytest.mark.skipif(has_cuda(), reason="a CUDA device is here")
def test_without_cuda_the_backend_is_local_and_te_is_refused() -> None:
    assert choose_backend() == "local"
    with pytest.raises(WorkbenchError) as error:
        choose_backend("te")
    assert str(error.value) == "backend 'te' needs a CUDA device, which is not here; use 'local'"


def test_without_transformer_engine_te_is_refused_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_spec, "has_cuda", lambda: True)
    monkeypatch.setattr(stack_spec, "find_spec", lambda _: None)
    assert choose_backend() == "local"
    with pytest.raises(WorkbenchError, match=r"needs transformer-engine \(pip install 'hybrid-workbench\[gpu\]'\)"):
        choose_backend("te")
