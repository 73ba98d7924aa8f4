"""`arranged`: the names and shapes of every target, and back to the same canonical view, the same bytes at the same places."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from tests.checkpoint.layout_checks import arranged_rows, checkpoint_of, of, renamed, rows, without_stages
from tests.contracts.architectures import ODD, OPTIONS, TINY, random_cases
from workbench.arch.architecture import Architecture, Tensor
from workbench.arch.sizes import ModelSizes
from workbench.arch.stored import stored
from workbench.checkpoint.interop import to_gpt_refusals
from workbench.checkpoint.layout import Layout
from workbench.checkpoint.layouts import arranged, layout_of
from workbench.checkpoint.layouts.placing import TARGETS
from workbench.checkpoint.predicted import predicted
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

PATTERNS = ["M[*-][ME]G/[*-]/[*-]", "[+-][DE]", "M*-E", "M/*E", "*-/M", "*-" * 4, "[*E][*E]", "[M-][GE]", "M"]
STATES = ("optimizer.state.exp_avg.", "optimizer.state.fp32_param.", "chained_1.optimizer.state.exp_avg_sq.")


def architecture(pattern: Pattern | str, **sizes: object) -> Architecture:
    return Architecture(pattern, ModelSizes.from_mapping(sizes))


def views_equal(one: Layout, other: Layout) -> bool:
    """The same names in the same order, each with the same boxes of bytes."""
    return [(name, named.tensor) for name, named in one.canonical.items()] == [
        (name, named.tensor) for name, named in other.canonical.items()
    ]


def everywhere(layout: Layout) -> None:
    """To every target, form and backend, and back."""
    assert layout.pattern is not None
    for to in TARGETS:
        if to == "gpt" and to_gpt_refusals(layout.pattern):
            with pytest.raises(WorkbenchError, match="is no GPT model's pattern"):
                arranged(layout, to, form="state_dict")
            continue
        for form in ("state_dict", "distributed"):
            for backend in ("te", "local"):
                tensors = arranged(layout, to, form=form, backend=backend)
                again = layout_of(checkpoint_of(tensors, "torch_dist" if form == "distributed" else "mapping"))
                assert views_equal(layout, again), (to, form, backend)
                assert (again.form, again.unknown) == (form, layout.unknown)
                assert again.pattern is not None
                assert again.pattern.unfused() == layout.pattern.unfused()


@pytest.mark.parametrize("sizes", [TINY, ODD], ids=["tiny", "odd"])
@pytest.mark.parametrize("option", OPTIONS)
def test_options_there_and_back(option: str, sizes: dict[str, object]) -> None:
    pattern, fields = OPTIONS[option]
    model = architecture(pattern, **{**sizes, **fields})
    everywhere(of(model.built("local")))
    everywhere(of(stored(model), format="torch_dist"))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_there_and_back(pattern: str) -> None:
    everywhere(of(architecture(pattern, **ODD).built("te")))


@settings(deadline=None, max_examples=60)
@given(random_cases())
def test_random_architectures_there_and_back(case: tuple[str, dict[str, object]]) -> None:
    pattern, sizes = case
    everywhere(of(architecture(pattern, **sizes).built("local")))


@pytest.mark.parametrize("pattern", [*PATTERNS, *(pattern for pattern, _ in OPTIONS.values())])
def test_names_are_those_of_the_model(pattern: str) -> None:
    """In the model's order: what a model of the fused, the given and the unfused pattern holds, and what it stores."""
    model = architecture(pattern, **ODD)
    twin, fully = (architecture(each, **ODD) for each in (model.pattern.unfused(), model.pattern.fused()))
    layout = of(twin.built("local"))
    for backend in ("te", "local"):
        for wanted, built in ((None, fully), (model.pattern, model), (str(twin.pattern), twin)):
            found = arranged(layout, "fused", form="state_dict", backend=backend, pattern=wanted)
            assert arranged_rows(found) == rows(built.built(backend))
        canonical = arranged(layout, "canonical", form="state_dict", backend=backend)
        assert arranged_rows(canonical) == rows(twin.built(backend))
        for to in ("canonical", "fused"):
            assert arranged_rows(arranged(layout, to, form="distributed", backend=backend)) == rows(stored(twin))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_optimizer_states_go_along(pattern: str) -> None:
    """Under their prefix, each as its weight is; the weights come first."""
    model = architecture(pattern, **ODD)
    built = model.built("local")
    layout = of([replace(entry, name=state + entry.name) for state in (*STATES, "") for entry in built])
    everywhere(layout)
    for form, wanted in (("state_dict", model.built("te")), ("distributed", stored(model))):
        found = arranged(layout, "fused", form=form, pattern=without_stages(model.pattern, model.sizes))
        expected = [replace(entry, name=state + entry.name) for state in ("", *STATES) for entry in wanted]
        assert arranged_rows(found) == rows(expected)


def test_optimizer_states_alone() -> None:
    """Sizes that a projection is divided by are those of the states themselves."""
    built = architecture("MG", **ODD).built("te")
    layout = of(
        [replace(entry, name=STATES[0] + entry.name) for entry in built if entry.name.startswith("decoder.layers")]
    )
    assert str(layout.pattern) == "MG"
    found = arranged(layout, "canonical", form="distributed")
    assert found[f"{STATES[0]}decoder.layers.0.mixer.in_proj.weight.dt"].shape == (9, 48)


def test_a_step_a_weight_is_not_divided() -> None:
    built = architecture("[ME]").built("te")
    steps = [Tensor(f"optimizer.state.step.{entry.name}", (), "float32") for entry in built]
    everywhere(of([*steps, *built]))


# ------------------------------------------------------------------------------------- GPT and groups


def as_gpt(built: Architecture, backend: str) -> list[Tensor]:
    return list(
        renamed(built.built(backend), lambda name: name.replace("decoder.final_norm.", "decoder.final_layernorm."))
    )


@pytest.mark.parametrize("layer", ["[*-]", "[*E]"])
@pytest.mark.parametrize("backend", ["te", "local"])
def test_gpt(layer: str, backend: str) -> None:
    """A GPT layer has a fused block's names; stored, each tensor has an axis of layers, before that of experts."""
    built = architecture(layer * 3, **ODD, linear_bias=True)
    layout = of(built.built("te"))
    live = arranged(layout, "gpt", form="state_dict", backend=backend)
    assert sorted(arranged_rows(live)) == sorted(rows(as_gpt(built, backend)))
    found = arranged(layout, "gpt", form="distributed", backend=backend)
    assert found["decoder.layers.self_attention.linear_qkv.weight"].shape == (3, 120, 48)
    if layer == "[*E]":
        assert found["decoder.layers.mlp.experts.experts.linear_fc1.weight"].shape == (3, 7, 72, 48)
        assert found["decoder.layers.mlp.experts.experts.linear_fc1.bias"].shape == (3, 7, 72)
    # GPT's local spec stores the norm before experts as the dense MLP's.
    dense = layer == "[*-]" or backend == "local"
    assert ("decoder.layers.mlp.linear_fc1.layer_norm_weight" in found) == dense
    assert ("decoder.layers.pre_mlp_layernorm.weight" in found) != dense
    assert not any(name.startswith("decoder.layers.0") for name in found)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("*-/*-", "it has MTP layers"),
        ("G-*-", "gated delta net (G) sub-layers"),
        ("*-*E", "it mixes dense (-) and MoE (E)"),
        ("**-", "it has 2 self-attention"),
        ("M*-", "its Mamba-2 sub-layer has no place in a GPT model"),
        ("-*", "in another order"),
    ],
)
def test_what_no_gpt_model_is(pattern: str, reason: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        arranged(of(architecture(pattern).canonical()), "gpt", form="distributed")
    assert reason in str(caught.value)


def test_gpt_layers_that_differ_are_no_axis() -> None:
    tensors = [
        entry
        for entry in architecture("*-*-", linear_bias=True).canonical()
        if "3.mlp.linear_fc2.bias" not in entry.name
    ]
    layout = of(tensors)
    assert len(arranged(layout, "gpt", form="state_dict")) == len(tensors)
    with pytest.raises(WorkbenchError, match=r"layers\.mlp\.linear_fc2\.bias cannot be one .*: 1 of 2 have it"):
        arranged(layout, "gpt", form="distributed")


@pytest.mark.parametrize("backend", ["te", "local"])
def test_groups(backend: str) -> None:
    """One layer a group, its members under their own names; `final_layernorm` where there is a group."""
    twin = architecture("M*-EG-/M", **ODD)
    layout = of(twin.canonical())
    found = arranged(layout, "grouped", form="state_dict", backend=backend, pattern="[M*-]E|[G-]/M")
    layers = {0: 0, 1: 0, 2: 0, 3: 1, 4: 2, 5: 2}

    def grouped(name: str) -> str:
        if name.startswith("decoder.layers."):
            _, _, number, rest = name.split(".", 3)
            return f"decoder.layers.{layers[int(number)]}.{rest}"
        return name.replace("decoder.final_norm.", "decoder.final_layernorm.")

    assert arranged_rows(found) == rows(renamed(twin.built(backend), grouped))
    again = layout_of(checkpoint_of(found))
    assert (again.name, again.backend, str(again.pattern)) == ("grouped", backend, "M*-E[G-]/M")
    assert views_equal(layout, again)
    assert any("layer 0 is written as the group [M*-]" in reason for reason in again.reasons)


def test_groups_of_two_are_pairs() -> None:
    layout = of(architecture("M-*E").canonical())
    again = layout_of(checkpoint_of(arranged(layout, "grouped", form="state_dict")))
    assert (again.name, str(again.pattern)) == ("grouped", "[M-][*E]")
    alone = arranged(layout, "grouped", form="state_dict", pattern="M-*E")
    assert alone == arranged(layout, "canonical", form="state_dict")


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("[M*-]E/[*-]", "group in its MTP pattern"),
        ("[M*-]E/*-x", "unknown"),
        ("[M*-E]/*-", "at most one Mamba"),
        ("[M[*-]E]/*-", "bracket out of place"),
        ("[M*|-]E/*-", "bracket out of place"),
        ("[M*-]]E/*-", "bracket out of place"),
        ("[]M*-E/*-", "bracket out of place"),
        ("M*[-E/*-", "not closed"),
        ("[M*-]/*-", "sub-layer 3 is mixture of experts in it, not nothing"),
        ("[M*-]E/*", "MTP sub-layer 1 is MLP in it, not nothing"),
    ],
)
def test_groups_that_cannot_be(pattern: str, problem: str) -> None:
    layout = of(architecture("M*-E/*-").canonical())
    with pytest.raises(WorkbenchError) as caught:
        arranged(layout, "grouped", form="state_dict", pattern=pattern)
    assert problem in str(caught.value)


def test_members_in_another_order_are_refused() -> None:
    """Names do not say which member comes first."""
    layout = of(architecture("*M-").canonical())
    with pytest.raises(WorkbenchError, match=r"\[\*M-\] cannot be told from another order"):
        arranged(layout, "grouped", form="state_dict", pattern="[*M-]")


# ------------------------------------------------------------------------------------------- refusals


def test_another_pattern_is_refused() -> None:
    layout = of(architecture("M*-").canonical())
    with pytest.raises(
        WorkbenchError, match=r"MG- is not .*: sub-layer 1 is self-attention in it, not gated delta net"
    ):
        arranged(layout, "fused", form="state_dict", pattern="MG-")
    with pytest.raises(WorkbenchError, match="sub-layer 3 is nothing in it, not MLP"):
        arranged(layout, "canonical", form="state_dict", pattern="M*--")


def test_stages_are_not_in_the_names() -> None:
    layout = of(architecture("M*-").canonical())
    assert arranged(layout, "fused", form="state_dict", pattern="M|[*-]") == arranged(
        layout, "fused", form="state_dict"
    )


@pytest.mark.parametrize(
    ("lost", "problem"),
    [
        (
            ("mixer.A_log", "mixer.D", "mixer.dt_bias"),
            "the number of heads cannot be known without mixer.A_log or mixer.D",
        ),
        (("mixer.norm.weight", "mixer.out_proj.weight"), "the inner width cannot be known"),
        (("mixer.conv1d_weight", "mixer.conv1d_bias"), "the state size cannot be known"),
    ],
)
def test_sizes_that_no_shape_tells(lost: tuple[str, ...], problem: str) -> None:
    layout = of([entry for entry in architecture("M").canonical() if not entry.name.endswith(lost)])
    assert arranged(layout, "canonical", form="state_dict")
    with pytest.raises(WorkbenchError) as caught:
        arranged(layout, "canonical", form="distributed")
    assert f"sub-layer 0: {problem}" in str(caught.value)


def test_sizes_that_contradict_each_other() -> None:
    tensors = [
        replace(entry, shape=(entry.shape[0] + 1, 1, 4)) if entry.name.endswith("conv1d_weight") else entry
        for entry in architecture("M").canonical()
    ]
    with pytest.raises(WorkbenchError, match="sub-layer 0: the sizes of its tensors contradict each other"):
        arranged(of(tensors), "canonical", form="distributed")
    tensors = [
        replace(entry, shape=(entry.shape[0] + 1, 64)) if entry.name.endswith("in_proj.weight") else entry
        for entry in architecture("M").canonical()
    ]
    with pytest.raises(WorkbenchError, match=r"mixer\.in_proj\.weight has 329 rows, and by the tensors beside it"):
        arranged(of(tensors), "canonical", form="distributed")


def test_experts_that_are_no_axis() -> None:
    tensors = architecture("E").canonical()
    lacking = [entry for entry in tensors if not entry.name.endswith("linear_fc1.weight2")]
    with pytest.raises(WorkbenchError, match=r"sub-layer 0: mlp\.experts\.linear_fc1\.weight: an expert is missing"):
        arranged(of(lacking), "canonical", form="distributed")
    other = [replace(e, dtype="float32") if e.name.endswith("linear_fc1.weight2") else e for e in tensors]
    with pytest.raises(WorkbenchError, match="the experts differ in shape or dtype"):
        arranged(of(other), "canonical", form="distributed")


def test_names_that_cannot_be_arranged() -> None:
    with pytest.raises(WorkbenchError, match="only a hybrid or GPT model's names can be arranged"):
        arranged(of([Tensor("model.layers.0.mlp.up_proj.weight", (2, 2), "float32")]), "canonical", form="state_dict")
    gap = of([entry for entry in architecture("M-M").canonical() if not entry.name.startswith("decoder.layers.1.")])
    with pytest.raises(WorkbenchError, match=r"its pattern is not known: .*layer 1 is missing"):
        arranged(gap, "fused", form="state_dict")
    with pytest.raises(WorkbenchError, match="to must be one of canonical, fused, gpt, grouped, not 'hf'"):
        arranged(gap, "hf", form="state_dict")  # type: ignore[arg-type]


def test_unknown_names_are_carried_along() -> None:
    extra = Tensor("decoder.something.weight", (3,), "float32")
    layout = of([*architecture("M-").canonical(), extra])
    assert layout.unknown == ("decoder.something.weight",)
    everywhere(layout)
    assert list(arranged(layout, "fused", form="state_dict"))[-1] == "decoder.something.weight"


def test_a_run_of_bytes_stays_one() -> None:
    """What was cut into layers, experts and pieces, and joined again, is copied as one."""
    source = predicted(stored(architecture("[*E][*E]", **ODD)), format="torch_dist")
    layout = layout_of(source)
    back = arranged(layout, "canonical", form="distributed")
    assert {name: tensor.run for name, tensor in back.items()} == {
        name: each.run for name, each in source.tensors.items()
    }
    gpt = checkpoint_of(arranged(layout, "gpt", form="distributed"), "torch_dist")
    assert arranged(layout_of(gpt), "gpt", form="distributed") == gpt.tensors


def test_the_comparison_can_fail() -> None:
    one, other = (of(architecture("M[*-]", **sizes).built("te")) for sizes in (TINY, ODD))
    assert not views_equal(one, other)
    swapped = dict(arranged(one, "canonical", form="state_dict"))
    names = "decoder.layers.0.mixer.A_log", "decoder.layers.0.mixer.D"
    swapped |= {names[0]: swapped[names[1]], names[1]: swapped[names[0]]}
    assert not views_equal(one, layout_of(checkpoint_of(swapped)))
