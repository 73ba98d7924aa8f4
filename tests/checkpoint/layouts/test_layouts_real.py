"""Layouts of real models and real files: megatron's own modules and writers, every value bit for bit, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.checkpoint.layout_checks import checkpoint_of
from tests.fusion.checkpoints import KINDS, Training, differing
from tests.gpt_models import LAYERS, gpt, save_gpt
from workbench.arch.sizes import ModelSizes
from workbench.checkpoint.layout import Layout
from workbench.checkpoint.layouts import arranged, layout_of
from workbench.checkpoint.reading.live import open_live
from workbench.checkpoint.reading.torch_dist import open_torch_dist
from workbench.fusion import runtime
from workbench.fusion.checkpointing import save_checkpoint, stored_tensors
from workbench.fusion.config import transformer_config
from workbench.fusion.gpt import load_gpt_checkpoint
from workbench.fusion.model import build_model
from workbench.fusion.state import canonical_state_dict
from workbench.pattern.model import Pattern

TWINS = ["M[*-][ME]G/[*-]/[*-]", "M*-MEG/*-/*-"]
LATENT = ["[+-][DE]", "+-DE"]
OPTIONS = {"normalization": "LayerNorm", "linear_bias": True, "qk_layernorm": True, "moe_router_bias": True}


@pytest.fixture(scope="module", autouse=True)
def _started() -> None:
    runtime.start()


def values(tensors: Any) -> dict[str, Tensor]:
    """Every tensor, read."""
    opened = checkpoint_of(dict(tensors))
    return {name: opened.read(name) for name in opened.names}


def canonical_values(layout: Layout) -> dict[str, Tensor]:
    return values({name: named.tensor for name, named in layout.canonical.items()})


def state_of(model: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, without extra states."""
    return {name: value.detach() for name, value in model.state_dict().items() if isinstance(value, Tensor)}


# ------------------------------------------------------------------------------------------- state dicts


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "options"])
@pytest.mark.parametrize("pattern", [*TWINS, "M[G-][*E]", *LATENT])
def test_a_live_model(pattern: str, options: dict[str, Any]) -> None:
    if "D" in pattern and options:
        options = {**options, "linear_bias": False}
    model = build_model(pattern, ModelSizes.from_mapping(options), seed=3, backend="local")
    layout = layout_of(open_live(model))
    assert differing(canonical_values(layout), canonical_state_dict(model)) == []
    assert (layout.name, layout.form) == ("fused" if "[" in pattern else "canonical", "state_dict")
    assert (layout.backend, str(layout.pattern), layout.unknown) == ("local", pattern, ())


@pytest.mark.parametrize("wrapper", ["model.", "module.", "module.module.", "state_dict.", "model0."])
def test_a_wrapped_state_dict(wrapper: str) -> None:
    model = build_model(TWINS[0], seed=3, backend="local")
    state = {f"{wrapper}{name}": value for name, value in state_of(model).items()}
    layout = layout_of(open_live(state))
    assert differing(canonical_values(layout), canonical_state_dict(model)) == []
    assert all(named.written[0].startswith(wrapper) for named in layout.canonical.values())


def test_names_of_one_fusion_are_given_to_another() -> None:
    """What `arranged` makes of one model's state dict loads, strictly, into every other fusion, and is all of it."""
    source = build_model(TWINS[0], seed=3, backend="local")
    layout = layout_of(open_live(source))
    for pattern in (*TWINS, "M*-[ME]G/*-/*-"):
        model = build_model(pattern, seed=4, backend="local")
        assert differing(canonical_state_dict(model), canonical_state_dict(source))
        to = values(arranged(layout, "fused", form="state_dict", backend="local", pattern=Pattern(pattern)))
        assert to.keys() == state_of(model).keys()
        missing = model.load_state_dict(to, strict=False)
        assert not missing.unexpected_keys
        assert all(name.endswith("_extra_state") for name in missing.missing_keys)
        assert differing(canonical_state_dict(model), canonical_state_dict(source)) == []


# --------------------------------------------------------------------------------------------- torch_dist


@pytest.mark.parametrize("pattern", [TWINS[0], LATENT[0]])
def test_a_saved_model(pattern: str, tmp_path: Path) -> None:
    model = build_model(pattern, ModelSizes(qk_layernorm=True), seed=3, backend="local")
    layout = layout_of(open_torch_dist(save_checkpoint(tmp_path / "saved", model)))
    assert differing(canonical_values(layout), canonical_state_dict(model)) == []
    assert (layout.name, layout.form, layout.backend) == ("canonical", "distributed", None)
    assert (layout.pattern, layout.unknown) == (Pattern(pattern).unfused(), ())


@pytest.mark.parametrize("kind", KINDS)
def test_optimizer_states_are_named_like_their_weights(kind: str, tmp_path: Path) -> None:
    """From a fused and an unfused run: the same canonical names and bits; back to stored keys, megatron's own tensors."""
    views = []
    for pattern in TWINS:
        training = Training(pattern, kind).train(0, 2)
        path = save_checkpoint(tmp_path / pattern.replace("/", "_"), training.model, training.optimizer)
        layout = layout_of(open_torch_dist(path))
        assert layout.unknown == () or set(layout.unknown) == {"optimizer.state.common_step"}
        views.append(canonical_values(layout))
        stored = values(arranged(layout, "canonical", form="distributed"))
        assert differing(stored, stored_tensors(path)) == []
    assert differing(*views) == []
    weights = [name for name in views[0] if not name.startswith("optimizer.")]
    moments = {name for name in views[0] if name.startswith("optimizer.state.exp_avg.")}
    trained = {f"optimizer.state.exp_avg.{name}" for name in weights if not name.endswith("expert_bias")}
    assert moments == trained


def test_live_optimizer_states() -> None:
    training = Training(TWINS[0], "AdamW").train(0, 1)
    layout = layout_of(open_live({"model": training.model, "optimizer": training.optimizer}))
    assert layout.unknown == ()
    first = "optimizer.state.exp_avg.decoder.layers.2.mlp.linear_fc1.layer_norm_weight"
    assert layout.canonical[first].written == ("optimizer.state.exp_avg.decoder.layers.1.pre_mlp_layernorm.weight",)
    stored = arranged(layout, "canonical", form="distributed")
    again = layout_of(checkpoint_of(stored, "torch_dist"))
    assert {name: named.tensor for name, named in again.canonical.items()} == {
        name: named.tensor for name, named in layout.canonical.items()
    }


# --------------------------------------------------------------------------------------------------- GPT


@pytest.fixture(scope="module", params=["dense", "experts", "options"])
def gpt_model(request: pytest.FixtureRequest) -> tuple[Any, str, ModelSizes]:
    sizes = ModelSizes.from_mapping(
        {"normalization": "LayerNorm", "linear_bias": True, "qk_layernorm": True} if request.param == "options" else {}
    )
    experts = request.param == "experts"
    return gpt(sizes, experts=experts), "*E" if experts else "*-", sizes


@pytest.fixture(scope="module")
def gpt_paths(gpt_model: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("gpt")
    return (
        save_gpt(gpt_model[0], folder / "homogeneous"),
        save_gpt(gpt_model[0], folder / "numbered", non_homogeneous_layers=True),
    )


@pytest.fixture(scope="module")
def hybrid(gpt_model: Any, gpt_paths: Any) -> Any:
    """The same weights in a hybrid model, by megatron's own translation."""
    _, layer, sizes = gpt_model
    model = build_model(f"[{layer}]" * LAYERS, sizes, seed=5, backend="local")
    load_gpt_checkpoint(gpt_paths[0], model)
    return model


def test_gpt_models_are_hybrid_models_under_other_names(gpt_model: Any, gpt_paths: Any, hybrid: Any) -> None:
    """State dict, homogeneous and numbered checkpoint: one canonical view, the one that megatron's translation gives."""
    model, layer, _ = gpt_model
    for opened, form in (
        (open_live(model), "state_dict"),
        (open_torch_dist(gpt_paths[0]), "distributed"),
        (open_torch_dist(gpt_paths[1]), "distributed"),
    ):
        layout = layout_of(opened)
        assert differing(canonical_values(layout), canonical_state_dict(hybrid)) == [], form
        assert (layout.name, layout.form, layout.unknown) == ("gpt", form, ())
        assert str(layout.pattern) == layer * LAYERS
        assert layout.backend == ("local" if form == "state_dict" or layer == "*E" else None)


def test_hybrid_models_become_gpt_models(gpt_model: Any, gpt_paths: Any, hybrid: Any) -> None:
    """To the names, shapes and bits that megatron's own GPT model has live, and that it stores."""
    layout = layout_of(open_live(hybrid))
    live = values(arranged(layout, "gpt", form="state_dict", backend="local"))
    assert differing(live, state_of(gpt_model[0])) == []
    stored = values(arranged(layout, "gpt", form="distributed", backend="local"))
    assert differing(stored, stored_tensors(gpt_paths[0])) == []


def test_the_comparison_can_fail(gpt_model: Any, hybrid: Any) -> None:
    layout = layout_of(open_live(hybrid))
    live = values(arranged(layout, "gpt", form="state_dict", backend="te"))
    assert differing(live, state_of(gpt_model[0]))
    assert differing(canonical_values(layout), canonical_state_dict(build_model("[*-]" * LAYERS, backend="local")))


def test_halves_and_experts_under_keys_of_their_own(gpt_model: Any, hybrid: Any, tmp_path: Path) -> None:
    """`singleton_local_shards`: `linear_fc1.weight_w` and `_v`, a key an expert; the same weights as in one piece."""
    layout = layout_of(open_torch_dist(save_gpt(gpt_model[0], tmp_path / "apart", singleton_local_shards=True)))
    assert any("linear_fc1.weight_v" in named.written[-1] for named in layout.canonical.values())
    assert differing(canonical_values(layout), canonical_state_dict(hybrid)) == []
    assert (layout.name, layout.form, layout.unknown) == ("gpt", "distributed", ())


def test_halves_of_a_hybrid_model(tmp_path: Path) -> None:
    """Shared experts and an MTP depth too."""
    from megatron.core import dist_checkpointing

    model = build_model("M-*E/[*E]", ModelSizes(moe_shared_ffn=24), seed=3, backend="local")
    dist_checkpointing.save(
        {"model": model.sharded_state_dict(metadata={"singleton_local_shards": True})}, str(tmp_path)
    )
    opened = open_torch_dist(tmp_path)
    assert "decoder.layers.3.mlp.shared_experts.linear_fc1.weight_w" in opened.tensors
    layout = layout_of(opened)
    assert differing(canonical_values(layout), canonical_state_dict(model)) == []
    assert (layout.name, str(layout.pattern), layout.unknown) == ("canonical", "M-*E/*E", ())


def test_mtp_of_a_gpt_model(tmp_path: Path) -> None:
    """A layer, not a stack; `mtp_model_layer` live, `transformer_layer` in a checkpoint."""
    # At the top they would come before workbench.fusion, which keeps megatron's small functions from being compiled.
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec, get_gpt_mtp_block_spec
    from megatron.core.models.gpt.gpt_model import GPTModel

    runtime.forget_models()
    runtime.seed(7)
    sizes = ModelSizes()
    config = transformer_config(Pattern("*-*-"), sizes, num_layers=2, is_hybrid_model=False, mtp_num_layers=2)
    spec = get_gpt_layer_local_spec(normalization=sizes.normalization)
    model = GPTModel(
        config=config,
        transformer_layer_spec=spec,
        mtp_block_spec=get_gpt_mtp_block_spec(config, spec, use_transformer_engine=False),
        vocab_size=sizes.vocab_size,
        max_sequence_length=sizes.max_sequence_length,
        position_embedding_type="rope",
    )
    views = []
    for opened in (open_live(model), open_torch_dist(save_gpt(model, tmp_path / "mtp"))):
        layout = layout_of(opened)
        assert (layout.name, str(layout.pattern), layout.unknown) == ("gpt", "*-*-/*-/*-", ())
        views.append(canonical_values(layout))
    assert differing(*views) == []
    state = model.state_dict()
    name = "mtp.layers.1.mtp_model_layer.layers.1.mlp.linear_fc2.weight"
    assert torch.equal(views[0][name], state["mtp.layers.1.mtp_model_layer.mlp.linear_fc2.weight"])
    hybrid = build_model("[*-][*-]/[*-]/[*-]", backend="local")
    assert {name: tensor.shape for name, tensor in canonical_state_dict(hybrid).items()} == {
        name: tensor.shape for name, tensor in views[0].items()
    }
