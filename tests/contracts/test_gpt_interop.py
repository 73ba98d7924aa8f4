"""A checkpoint of megatron's own `GPTModel` loads into fused and unfused hybrid models, which then are the same function."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.gpt_checkpoint_interop import (
    gpt_compatible_layer_maps,
    retarget_sharded_state_dict_to_gpt_checkpoint,
)
from torch import Tensor

from tests.gpt_models import LAYERS, gpt, save_gpt
from workbench.arch.sizes import ModelSizes
from workbench.checkpoint.mismatch import CheckpointMismatch
from workbench.errors import WorkbenchError
from workbench.fusion import runtime
from workbench.fusion.checkpointing import save_checkpoint, stored_shapes
from workbench.fusion.gpt import load_gpt_checkpoint
from workbench.fusion.model import build_model, forward_logits, forward_tokens, positions
from workbench.fusion.state import canonical_state_dict

KINDS: dict[str, dict[str, Any]] = {
    "rmsnorm swiglu": {},
    "layernorm gelu biases": {"normalization": "LayerNorm", "activation": "gelu", "linear_bias": True},
    "qk norms, qkv bias, tied": {"qk_layernorm": True, "qkv_bias": True, "tied_embeddings": True},
    "half rotary": {"position_embedding": "rope 50%", "rotary_base": 500},
    "experts": {},
}
# GPT layers as hybrid patterns; `Y` stands for the kind's channel mixer.
FUSIONS = ["[*Y][*Y][*Y]", "*Y*Y*Y", "*Y[*Y]*Y", "[*Y]*|Y[*Y]"]
DENSE_KEYS = {
    "self_attention.linear_qkv.layer_norm_weight",
    "self_attention.linear_qkv.weight",
    "self_attention.linear_proj.weight",
    "mlp.linear_fc1.layer_norm_weight",
    "mlp.linear_fc1.weight",
    "mlp.linear_fc2.weight",
}


@dataclass
class Saved:
    """A GPT model, its sizes, and the checkpoint of it that megatron itself wrote."""

    model: Any
    sizes: ModelSizes
    path: Path


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    """Bits are compared: no reduction may depend on how threads share it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    runtime.start()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def gpts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Saved]:
    saved = {}
    for kind, options in KINDS.items():
        sizes = ModelSizes(**options)
        model = gpt(sizes, experts=kind == "experts")
        saved[kind] = Saved(model, sizes, save_gpt(model, tmp_path_factory.mktemp("gpt") / "checkpoint"))
    return saved


def hybrid(pattern: str, sizes: ModelSizes, kind: str = "") -> Any:
    return build_model(pattern.replace("Y", "E" if kind == "experts" else "-"), sizes, seed=99, backend="local")


def tokens() -> Tensor:
    """[2, 33]"""
    return torch.randint(0, 128, (2, 33), generator=torch.Generator().manual_seed(13))


def gpt_logits(model: Any) -> Tensor:
    inputs = tokens()[:, :-1]
    return model(inputs, positions(inputs), None)


@pytest.mark.parametrize("kind", ["rmsnorm swiglu", "experts"])
def test_gpt_saves_layers_as_an_axis_and_by_canonical_names(gpts: dict[str, Saved], kind: str) -> None:
    """What the translation rests on: no layer numbers, a leading axis of layers, the TE names of the norms."""
    found = {
        name: shape for name, shape in stored_shapes(gpts[kind].path).items() if name.startswith("decoder.layers.")
    }
    assert {shape[0] for shape in found.values()} == {LAYERS}
    names = {name.removeprefix("decoder.layers.") for name in found}
    if kind == "experts":
        # GPT's local spec gives the norm before experts the dense name, unlike its TE spec; `load_gpt_checkpoint` knows.
        assert {"mlp.linear_fc1.layer_norm_weight", "mlp.experts.experts.linear_fc1.weight"} <= names
        assert "pre_mlp_layernorm.weight" not in names
    else:
        assert names == DENSE_KEYS


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_gpts(gpts: dict[str, Saved], kind: str, fusion: str) -> None:
    """Every bit of the logits, of the losses, and of the embedding's gradient, which every layer has a part in."""
    saved = gpts[kind]
    model = hybrid(fusion, saved.sizes, kind)
    assert load_gpt_checkpoint(saved.path, model).iteration == 12
    assert torch.equal(forward_logits(model, tokens()[:, :-1]), gpt_logits(saved.model))
    gradients = []
    for each in (model, saved.model):
        losses = forward_tokens(each, tokens())
        each.zero_grad()
        losses.mean().backward()
        gradients.append((losses.detach(), each.embedding.word_embeddings.weight.grad))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(*gradients, strict=True))


@pytest.mark.parametrize("fusion", FUSIONS[:2])
def test_upstreams_translation_meets_our_names_unaided(gpts: dict[str, Saved], fusion: str) -> None:
    """Megatron's interop alone, as Megatron-LM calls it, over our sharded state dict."""
    saved = gpts["rmsnorm swiglu"]
    model = hybrid(fusion, saved.sizes)
    state = {"model": model.sharded_state_dict()}
    retarget_sharded_state_dict_to_gpt_checkpoint(state, gpt_compatible_layer_maps(str(model.pattern.unfused())))
    model.load_state_dict(dist_checkpointing.load(state, str(saved.path))["model"])
    assert torch.equal(forward_logits(model, tokens()[:, :-1]), gpt_logits(saved.model))


def test_comparison_can_fail(gpts: dict[str, Saved], tmp_path: Path) -> None:
    """Two swapped layers have the same names and shapes, load, and are another function."""
    saved = gpts["rmsnorm swiglu"]
    swapped = gpt(saved.sizes)
    weights = swapped.state_dict()
    places = {"0": "1", "1": "0"}
    renamed = {}
    for name, weight in weights.items():
        parts = name.split(".")
        if name.startswith("decoder.layers."):
            parts[2] = places.get(parts[2], parts[2])
        renamed[".".join(parts)] = weight if weight is None else weight.clone()
    swapped.load_state_dict(renamed)
    model = hybrid("[*-][*-][*-]", saved.sizes)
    load_gpt_checkpoint(save_gpt(swapped, tmp_path / "swapped"), model)
    logits = forward_logits(model, tokens()[:, :-1])
    assert torch.equal(logits, gpt_logits(swapped))
    assert not torch.equal(logits, gpt_logits(saved.model))


def test_attention_and_mlps_go_by_their_own_count_and_mamba_is_kept(gpts: dict[str, Saved]) -> None:
    """The g-th `*` and the g-th `-` come from GPT layer g, neighbours or not; `M` has no counterpart and stays as it was."""
    saved = gpts["rmsnorm swiglu"]
    model = hybrid("M*[*-]M[*-]-", saved.sizes)
    before = {name: tensor.clone() for name, tensor in canonical_state_dict(model).items()}
    load_gpt_checkpoint(saved.path, model)
    found, theirs = canonical_state_dict(model), saved.model.state_dict()
    for layer, (attention, mlp) in enumerate([(1, 3), (2, 6), (5, 7)]):
        there = f"decoder.layers.{layer}"
        qkv, fc1 = found[f"decoder.layers.{attention}.self_attention.linear_qkv.weight"], f"decoder.layers.{mlp}.mlp"
        assert torch.equal(qkv, theirs[f"{there}.self_attention.linear_qkv.weight"])
        assert torch.equal(found[f"{fc1}.linear_fc1.weight"], theirs[f"{there}.mlp.linear_fc1.weight"])
    mamba = [name for name in found if name.startswith(("decoder.layers.0.", "decoder.layers.4."))]
    assert len(mamba) > 10
    assert all(torch.equal(found[name], before[name]) for name in mamba)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("[*-][*-]/[*-]", "contains MTP layers"),
        ("[G-][*-][*-]", r"contains layer types \['G'\] that cannot be translated"),
        ("[D-][D-]", r"contains layer types \['D'\] that cannot be translated"),
        ("[*-][*E]", r"mixes dense \('-'\) and MoE \('E'\)"),
        ("[*-]*", r"has 2 attention \('\*'\) and 1 MLP"),
        ("[M-]", r"has 0 attention \('\*'\) and 1 MLP"),
    ],
)
def test_pattern_that_no_gpt_fits(gpts: dict[str, Saved], pattern: str, reason: str) -> None:
    """The error is ours and carries megatron's reason."""
    with pytest.raises(WorkbenchError, match=rf"^no GPT checkpoint fits this model\. Hybrid layer pattern .*{reason}"):
        load_gpt_checkpoint(gpts["rmsnorm swiglu"].path, hybrid(pattern, ModelSizes()))


@pytest.mark.parametrize(
    ("kind", "pattern", "options", "problems"),
    [
        ("rmsnorm swiglu", "[*-][*-]", {}, ["it holds 3 GPT layers, and the pattern has 2 pairs of"]),
        ("rmsnorm swiglu", "[*-]" * 4, {}, ["it holds 3 GPT layers, and the pattern has 4 pairs of"]),
        (
            "layernorm gelu biases",
            "[*-][*-][*-]",
            {"normalization": "LayerNorm", "activation": "gelu"},
            ["it holds decoder.layers.mlp.linear_fc1.bias, and the model has no place for it"],
        ),
        (
            "rmsnorm swiglu",
            "[*-][*-][*-]",
            {"qkv_bias": True},
            ["it lacks decoder.layers.self_attention.linear_qkv.bias"],
        ),
        (
            "qk norms, qkv bias, tied",
            "[*-][*-][*-]",
            {},
            ["it lacks output_layer.weight", "q_layernorm.weight, and the"],
        ),
        (
            "rmsnorm swiglu",
            "[*-][*-][*-]",
            {"ffn_hidden_size": 64},
            ["decoder.layers.mlp.linear_fc2.weight is [3, 64, 128] there, and [3, 64, 64] in the model"],
        ),
        (
            "rmsnorm swiglu",
            "[*E][*E][*E]",
            {},
            ["it lacks decoder.layers.mlp.router.weight", "fc1.weight, and the model"],
        ),
    ],
)
def test_checkpoint_that_does_not_fit(
    gpts: dict[str, Saved], kind: str, pattern: str, options: dict[str, Any], problems: list[str]
) -> None:
    """Nothing is dropped and nothing is left at its start in silence, and the model is as it was."""
    model = hybrid(pattern, ModelSizes(**options))
    before = {name: tensor.clone() for name, tensor in canonical_state_dict(model).items()}
    with pytest.raises(CheckpointMismatch) as caught:
        load_gpt_checkpoint(gpts[kind].path, model)
    for problem in problems:
        assert problem in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in canonical_state_dict(model).items())


def test_checkpoints_with_numbered_layers_are_told_apart(gpts: dict[str, Saved], tmp_path: Path) -> None:
    """A hybrid model's own checkpoint, and a GPT model's in the layout that megatron does not translate."""
    saved = gpts["rmsnorm swiglu"]
    model = hybrid("[*-][*-][*-]", saved.sizes)
    paths = [
        save_checkpoint(tmp_path / "hybrid", model),
        save_gpt(saved.model, tmp_path / "gpt", non_homogeneous_layers=True),
    ]
    for path in paths:
        with pytest.raises(CheckpointMismatch, match="every layer under a number of its own"):
            load_gpt_checkpoint(path, model)
    with pytest.raises(WorkbenchError, match="nothing does not exist: a torch_dist checkpoint is a folder"):
        load_gpt_checkpoint(tmp_path / "nothing", model)
