"""Checkpoints that are no whole model, names of strangers, and names that no rule knows: nothing is dropped, nothing raises."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.checkpoint.layout_checks import of, renamed, rows, seen
from tests.contracts.architectures import ODD
from workbench.arch.architecture import Architecture, Tensor
from workbench.arch.sizes import ModelSizes
from workbench.arch.stored import stored
from workbench.checkpoint.layout import Layout
from workbench.checkpoint.layouts import arranged


def names(pattern: str, backend: str = "te", **sizes: object) -> tuple[Tensor, ...]:
    return Architecture(pattern, ModelSizes.from_mapping(sizes)).built(backend)


def without(tensors: tuple[Tensor, ...], *starts: str) -> list[Tensor]:
    return [entry for entry in tensors if not entry.name.startswith(starts)]


def said(layout: Layout) -> str:
    return "\n".join(layout.reasons)


def check_nothing_dropped(tensors: list[Tensor] | tuple[Tensor, ...]) -> Layout:
    """Every name is the written one of a canonical tensor, and no element is lost."""
    layout = of(tensors)
    written = {name for named in layout.canonical.values() for name in named.written}
    assert written == {entry.name for entry in tensors}
    assert set(layout.unknown) <= set(layout.canonical)
    return layout


def test_the_check_can_fail() -> None:
    found = check_nothing_dropped(names("M-"))
    assert {name for named in found.canonical.values() for name in named.written} != {
        entry.name for entry in names("M*")
    }


# --------------------------------------------------------------------------------------- parts missing


def test_a_missing_layer_keeps_the_others_numbers() -> None:
    layout = check_nothing_dropped(without(names("M-M*-"), "decoder.layers.2."))
    assert "decoder.layers.3.self_attention.linear_qkv.weight" in layout.canonical
    assert layout.pattern is None
    assert "layer 2 is missing" in said(layout)


def test_a_missing_block_is_taken_to_be_like_most() -> None:
    layout = check_nothing_dropped(without(names("[M-][*-][M-]M[*-]"), "decoder.layers.1."))
    expected = {entry.name for entry in Architecture("M-*-M-M*-").canonical()}
    lost = {name for name in expected if name.startswith(("decoder.layers.2.", "decoder.layers.3."))}
    assert set(layout.canonical) == expected - lost
    assert layout.pattern is None
    assert "a missing layer is counted as 2 sub-layer(s), as most of the others are" in said(layout)


def test_half_a_block_that_left_its_norm() -> None:
    """A local block without its attention still has the norm before it: its place is counted, its kind is not known."""
    layout = check_nothing_dropped(without(names("M[*-]M", "local"), "decoder.layers.1.self_attention."))
    assert "decoder.layers.2.mlp.linear_fc1.weight" in layout.canonical
    assert "decoder.layers.1.input_layernorm.weight" in layout.canonical
    assert "decoder.layers.3.mixer.A_log" in layout.canonical
    assert "layer 1 holds no known kind of sub-layer" in said(layout)
    assert layout.pattern is None


@pytest.mark.parametrize("piece", ["z", "dt"])
def test_a_missing_piece(piece: str) -> None:
    tensors = stored(Architecture("M-", ModelSizes()))
    layout = check_nothing_dropped([entry for entry in tensors if not entry.name.endswith(f"in_proj.weight.{piece}")])
    assert len(layout.unknown) == 4
    assert "layer 0: mixer.in_proj.weight is stored in 5 pieces, and 4 of them are there" in said(layout)
    assert str(layout.pattern) == "M-"


def test_pieces_that_do_not_fit() -> None:
    tensors = [
        replace(entry, dtype="float32") if entry.name.endswith("in_proj.weight.z") else entry
        for entry in stored(Architecture("M-", ModelSizes()))
    ]
    layout = check_nothing_dropped(tensors)
    assert "the pieces of mixer.in_proj.weight do not fit together" in said(layout)
    scalar = [replace(entry, shape=()) if entry.name.endswith("in_proj.weight.z") else entry for entry in tensors]
    assert len(check_nothing_dropped(scalar).unknown) == 5


@pytest.mark.parametrize("shape", [(), (4,), (4, 64), (10**12, 0, 64)])
def test_experts_of_an_absurd_shape(shape: tuple[int, ...]) -> None:
    """A shape that says a million million experts makes no list of them."""
    tensors = [
        replace(entry, shape=shape) if entry.name.endswith("experts.experts.linear_fc1.weight") else entry
        for entry in stored(Architecture("E", ModelSizes()))
    ]
    layout = check_nothing_dropped(tensors)
    assert layout.unknown == ("decoder.layers.0.mlp.experts.experts.linear_fc1.weight",)
    assert "a layer's experts have 3 axes, the first of experts" in said(layout)


def gpt_stored(layers: int = 3, **sizes: object) -> list[Tensor]:
    layout = of(names("[*-]" * layers, **sizes))
    found = arranged(layout, "gpt", form="distributed")
    return [Tensor(name, tensor.shape, tensor.dtype) for name, tensor in found.items()]


def test_a_layer_axis_of_another_length() -> None:
    tensors = [replace(e, shape=(2, *e.shape[1:])) if "linear_proj" in e.name else e for e in gpt_stored()]
    layout = check_nothing_dropped(tensors)
    assert layout.unknown == ("decoder.layers.self_attention.linear_proj.weight",)
    assert "1 tensors of the layers have not 3 of them, as most have" in said(layout)


@pytest.mark.parametrize("shape", [(), (10**12, 0)])
def test_absurd_layer_axes(shape: tuple[int, ...]) -> None:
    tensors = [replace(entry, shape=shape) if ".layers." in entry.name else entry for entry in gpt_stored()]
    layout = check_nothing_dropped(tensors)
    assert len(layout.unknown) == 6
    assert (layout.name, layout.pattern) == ("canonical", None)
    assert "the layers have no numbers, and their tensors no axis of layers" in said(layout)


def test_numbered_layers_beside_an_axis_of_them() -> None:
    layout = check_nothing_dropped(
        [*gpt_stored(), *without(names("M-"), "embedding.", "output_layer.", "decoder.final")]
    )
    assert "some layers are numbered and others an axis" in said(layout)
    assert layout.pattern is None
    assert "decoder.layers.0.mixer.A_log" in layout.canonical


def test_a_layer_of_no_known_kind() -> None:
    strange = Tensor("decoder.layers.1.hyena.filter", (4,), "float32")
    layout = check_nothing_dropped([*without(names("M-M"), "decoder.layers.1."), strange])
    assert layout.unknown == ("decoder.layers.1.hyena.filter",)
    assert "layer 1 holds no known kind of sub-layer" in said(layout)
    assert "decoder.layers.2.mixer.A_log" in layout.canonical


def test_a_joint_projection_that_cannot_be_parted() -> None:
    tensors = names("+", mla_down_proj_fusion=True)
    layout = check_nothing_dropped([entry for entry in tensors if "q_up" not in entry.name])
    assert "cannot be parted without self_attention.linear_q_up_proj.weight" in said(layout)
    assert "decoder.layers.0.self_attention.linear_qkv_down_proj.weight" in layout.canonical


def test_two_names_of_one_tensor() -> None:
    """A file with a local norm and a TE norm for one layer: the first stays, the other keeps its name."""
    layout = check_nothing_dropped([*names("M"), Tensor("decoder.layers.0.norm.weight", (64,), "float32")])
    assert layout.unknown == ("decoder.layers.0.norm.weight",)
    assert "are two names of one tensor" in said(layout)
    assert layout.backend is None
    layout = check_nothing_dropped([*names("M"), *renamed(names("M"), lambda name: f"module.{name}")])
    assert len(layout.unknown) == len(names("M"))


def test_a_name_that_means_another_tensor_where_it_stands() -> None:
    """An unknown tensor of block 1 keeps its name, and cannot have that of what is numbered 1 now."""
    tensors = [*names("[M-][M-]"), Tensor("decoder.layers.01.mlp.linear_fc1.weight", (2,), "float32")]
    layout = check_nothing_dropped(tensors)
    assert layout.unknown == ("decoder.layers.01.mlp.linear_fc1.weight",)
    pieces = [
        entry for entry in stored(Architecture("GG", ModelSizes())) if not entry.name.endswith("conv1d.weight.key")
    ]
    assert len(check_nothing_dropped(pieces).unknown) == 4


@pytest.mark.parametrize(
    ("pattern", "lost", "reason"),
    [
        ("M/*-/*-", "mtp.layers.0.", "an MTP depth is missing"),
        ("M/*-/*-", "mtp.layers.1.mtp_model_layer.", "MTP depth 2 has a projection or norms, and no layers"),
        ("M/*-/*-", "mtp.layers.1.mtp_model_layer.layers.1.", "the MTP depths differ, which no pattern can say: *-, *"),
        ("M/[*-]", ("decoder.layers.", "decoder.final"), "there are no layers of the main model, and no final norm"),
    ],
)
def test_mtp_that_is_not_whole(pattern: str, lost: str, reason: str) -> None:
    layout = check_nothing_dropped(without(names(pattern), *((lost,) if isinstance(lost, str) else lost)))
    assert layout.pattern is None
    assert reason in said(layout)


def test_kinds_that_no_pattern_has_together() -> None:
    tensors = [*names("*-"), *renamed(names("M+"), lambda name: name.replace("layers.1.", "layers.2."))]
    layout = of(list({entry.name: entry for entry in tensors if "layers.0.mixer" not in entry.name}.values()))
    assert layout.pattern is None
    assert "no pattern has these layers" in said(layout)


def test_the_end_of_a_pipeline_says_what_it_can() -> None:
    """The last stage alone: numbered from 0, as megatron does."""
    layout = check_nothing_dropped(without(names("[M-][*-]"), "embedding.", "decoder.layers.0."))
    assert layout.name == "fused"
    assert "layer 0 is missing" in said(layout)


# ------------------------------------------------------------------------------------------- decisions


def other_norm(tensors: tuple[Tensor, ...], norm: str | None) -> list[Tensor]:
    if norm is None:
        return without(tensors, "decoder.final_norm.")
    return list(renamed(tensors, lambda name: name.replace("decoder.final_norm.", f"decoder.{norm}.")))


@pytest.mark.parametrize(
    ("pattern", "norm", "name", "why"),
    [
        ("[*-][*-]", "final_norm", "fused", "the final norm is a hybrid model's"),
        ("[*-][*-]", "final_layernorm", "gpt", "has the same names"),
        ("[*-][*E]", "final_layernorm", "gpt", "has the same names"),
        ("[+-][DE]", "final_layernorm", "gpt", "has the same names"),
        ("[*-][*-]", None, "gpt", "every layer is such a pair"),
        ("[*-]*", None, "fused", "not every layer is such a pair"),
        ("[*-]*", "final_layernorm", "grouped", "some layers are single"),
        ("[M-][*-]", "final_norm", "fused", "a Mamba in the attention slot"),
        ("[M-][*-]", "final_layernorm", "fused", "a Mamba in the attention slot"),
        (
            "M*-",
            "final_layernorm",
            "grouped",
            "each layer is one sub-layer, and the final norm is called as with groups",
        ),
        ("M*-", None, "canonical", "each layer is one sub-layer"),
    ],
)
def test_which_layout(pattern: str, norm: str | None, name: str, why: str) -> None:
    model = Architecture(pattern, ModelSizes())
    tensors = other_norm(model.built("te"), norm)
    layout = check_nothing_dropped(tensors)
    assert layout.name == name
    assert why in layout.reasons[0]
    assert seen(layout) == rows(without(model.canonical(), *(() if norm else ("decoder.final_norm.",))))


def test_a_layer_of_gpt_without_its_mlp() -> None:
    tensors = without(tuple(other_norm(names("[*-][*-][*-]"), "final_layernorm")), "decoder.layers.1.mlp.")
    layout = check_nothing_dropped(tensors)
    assert layout.name == "grouped"
    assert "unless halves of some are missing" in said(layout)


# --------------------------------------------------------------------------------------- stages, states


def chunk(number: int, tensors: list[Tensor] | tuple[Tensor, ...]) -> list[Tensor]:
    return list(renamed(tensors, lambda name: f"model{number}.{name}"))


def test_virtual_stages_of_a_whole_model_follow_each_other() -> None:
    first = without(names("M[*-]", **ODD), "decoder.final_norm.", "output_layer.")
    last = without(names("[ME]G", **ODD), "embedding.")
    layout = check_nothing_dropped([*chunk(0, first), *chunk(1, last)])
    assert seen(layout) == rows(Architecture("M*-MEG", ModelSizes.from_mapping(ODD)).canonical())
    assert str(layout.pattern) == "M[*-][ME]G"
    assert "they follow each other" in said(layout)


def test_virtual_stages_of_one_rank_cannot_be_numbered() -> None:
    part = without(names("M[*-]"), "embedding.", "decoder.final_norm.", "output_layer.")
    layout = check_nothing_dropped([*chunk(0, part), *chunk(1, part)])
    assert layout.unknown == tuple(entry.name for entry in chunk(1, part))
    assert "where the stages lie in it is not known" in said(layout)
    assert layout.pattern is None
    assert "decoder.layers.2.mlp.linear_fc1.weight" in layout.canonical


def test_virtual_stages_with_numbers_of_the_whole_model() -> None:
    both = Architecture("M*-", ModelSizes()).built("te")
    low = [entry for entry in both if entry.name.startswith("decoder.layers.0.")]
    layout = check_nothing_dropped([*chunk(0, low), *chunk(1, [entry for entry in both if entry not in low])])
    assert seen(layout) == rows(both)


def test_states_behind_the_names() -> None:
    """Torch's way: `optim.state.<weight>.exp_avg`; the canonical name is that of every other optimizer state."""
    tensors = renamed(names("[M-]"), lambda name: f"optim.state.module.{name}.exp_avg")
    layout = check_nothing_dropped(tensors)
    assert layout.unknown == ()
    assert seen(layout) == rows(renamed(names("M-"), lambda name: f"optimizer.state.exp_avg.{name}"))


def test_older_convolutions() -> None:
    def older(name: str) -> str:
        return name.replace("mixer.conv1d_", "mixer.conv1d.").replace("mixer.in_proj.layer_norm_", "norm.")

    layout = check_nothing_dropped(renamed(names("M-"), older))
    assert seen(layout) == rows(names("M-"))


def test_experts_stored_one_by_one() -> None:
    """`singleton_local_shards` of megatron: a key an expert."""
    tensors = renamed(
        names("E", moe_shared_ffn=24),
        lambda name: (
            f"decoder.layers.0.mlp.experts.experts.{name[-1]}.{name.split('.')[-2]}.weight"
            if ".experts.linear" in name
            else name
        ),
    )
    layout = check_nothing_dropped(tensors)
    assert seen(layout) == rows(names("E", moe_shared_ffn=24))


def test_half_of_a_gated_linear_is_said_to_be_half() -> None:
    tensors = renamed(names("-"), lambda name: f"{name}_v" if name.endswith("linear_fc1.weight") else name)
    layout = check_nothing_dropped(tensors)
    assert layout.unknown == ("decoder.layers.0.mlp.linear_fc1.weight_v",)
    assert any("stored in 2 pieces, and 1 of them" in reason for reason in layout.reasons)


# ------------------------------------------------------------------------------------------- strangers


@pytest.mark.parametrize(
    ("tensors", "format", "name", "reason"),
    [
        (
            ["model.layers.0.self_attn.q_proj.weight", "lm_head.weight"],
            "safetensors",
            "hugging_face",
            "transformers model",
        ),
        (["backbone.layers.0.mixer.A_log", "lm_head.weight"], "safetensors", "hugging_face", "transformers model"),
        (["model.language_model.layers.3.mlp.up_proj.weight"], "safetensors", "hugging_face", "transformers model"),
        (["model.decoder.layers.0.self_attn.q_proj.weight"], "safetensors", "hugging_face", "transformers model"),
        (["decoder.layers.0.attn.weight", "decoder.norm.weight"], "torch", "other", "no name"),
        (["anything"], "hugging_face", "hugging_face", "its names are of no decoder's layers"),
        (["conv.weight", "fc.bias"], "torch", "other", "no name is of a hybrid, GPT or transformers model"),
        (["layers.0.conv.weight"], "torch", "other", "no name"),
        ([], "torch", "other", "it holds no tensor"),
    ],
)
def test_foreign(tensors: list[str], format: str, name: str, reason: str) -> None:
    layout = of([Tensor(each, (2, 2), "float32") for each in tensors], format=format)
    assert (layout.name, layout.pattern, layout.backend) == (name, None, None)
    assert [named.written for named in layout.canonical.values()] == [(each,) for each in tensors]
    assert layout.unknown == (tuple(tensors) if name == "other" else ())
    assert reason in said(layout)
