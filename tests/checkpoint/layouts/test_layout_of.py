"""`layout_of` on names and shapes that architectures predict: canonical names, layout, form, backend and pattern, exactly."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from tests.checkpoint.layer_names import CASES, ORACLE, PAIRS
from tests.checkpoint.layout_checks import apart, check_built, check_stored, fuses, of, renamed, rows, seen
from tests.contracts.architectures import MEDIUM, ODD, OPTIONS, TINY, random_cases
from workbench.arch.architecture import Architecture, Tensor
from workbench.arch.presets import preset, presets
from workbench.arch.sizes import ModelSizes
from workbench.arch.stored import stored
from workbench.checkpoint.layouts import layout_of
from workbench.checkpoint.predicted import predicted
from workbench.pattern.model import Pattern

PATTERNS = ["M[*-][ME]G/[*-]/[*-]", "[+-][DE]", "M*-E", "M/[*E]", "[*-]/M", "*-" * 12]
SIZES = {"tiny": TINY, "odd": ODD, "medium": MEDIUM}


def architecture(pattern: str, **sizes: object) -> Architecture:
    return Architecture(pattern, ModelSizes.from_mapping(sizes))


def check(built: Architecture) -> None:
    """A built model of either backend, its unfused twin, and what both store."""
    twin = Architecture(built.pattern.unfused(), built.sizes, dtype=built.dtype)
    for backend in ("te", "local"):
        check_built(built, backend)
        check_built(twin, backend)
    check_stored(built)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("option", OPTIONS)
def test_options(option: str, sizes: str) -> None:
    pattern, fields = OPTIONS[option]
    check(architecture(pattern, **{**SIZES[sizes], **fields}))


@pytest.mark.parametrize("pattern", [*PATTERNS, *(f"[{pair}]/[{pair}]" for pair in PAIRS), *(f"M[{p}]" for p in PAIRS)])
def test_patterns(pattern: str) -> None:
    for sizes in SIZES.values():
        check(architecture(pattern, **sizes))


@settings(deadline=None)
@given(random_cases())
def test_random_architectures(case: tuple[str, dict[str, object]]) -> None:
    pattern, sizes = case
    check(architecture(pattern, **sizes))


@pytest.mark.parametrize("name", [each.name for each in presets() if each.expressible and each.sizes.vocab_size])
def test_presets(name: str) -> None:
    """Every published architecture, fused as far as it can be, and what it stores."""
    published = preset(name).architecture()
    fused = Architecture(published.pattern.fused(), published.sizes)
    check_built(fused, "te")
    check_stored(fused)


# ---------------------------------------------------------------------------------------- the oracle


def of_case(case: str, entries: dict[str, tuple[list[int], str]], prefix: str = "decoder.") -> tuple[Tensor, ...]:
    return tuple(
        Tensor(prefix + name, tuple(shape), dtype)
        for name, (shape, dtype) in entries.items()
        if not name.endswith("_extra_state")
    )


@pytest.mark.parametrize("case", CASES)
def test_upstreams_own_names_are_canonical(case: str) -> None:
    """Names that megatron's own Transformer Engine spec gave, with their shapes, come back as they are."""
    tensors = of_case(case, ORACLE["tp1"][case]["state_dict"])
    layout = of(tensors)
    expected = {(entry.name, entry.shape, entry.dtype) for entry in tensors}
    if case == "++down_fusion":  # one model has one canonical view, whether its down-projections are joint or not
        plain = of_case("+", ORACLE["tp1"]["+"]["state_dict"])
        expected = {(entry.name, entry.shape, entry.dtype) for entry in plain}
    assert set(seen(layout)) == expected
    assert (layout.name, layout.form, layout.unknown) == ("canonical", "state_dict", ())
    assert str(layout.pattern) == ORACLE["tp1"][case]["pattern"]


@pytest.mark.parametrize("case", CASES)
def test_a_stack_without_its_model(case: str) -> None:
    """`layers.0.mixer.A_log`, as the oracle has them: `decoder.` is added, and what was written is kept."""
    layout = of(of_case(case, ORACLE["tp1"][case]["state_dict"], prefix=""))
    assert set(layout.canonical) == set(of(of_case(case, ORACLE["tp1"][case]["state_dict"])).canonical)
    assert all(f"decoder.{named.written[0]}".startswith("decoder.") for named in layout.canonical.values())
    assert not any(written.startswith("decoder.") for named in layout.canonical.values() for written in named.written)
    assert "a stack of layers without its model" in layout.reasons[-1]


@pytest.mark.parametrize("case", CASES)
def test_upstreams_own_stored_keys(case: str) -> None:
    sharded = ORACLE["tp1"][case]["sharded"]
    keys = {
        key: tuple(shape) for entry in sharded.values() for key, shape in entry["stored"] if "_extra_state" not in key
    }
    layout = of([Tensor(key, shape, "bfloat16") for key, shape in keys.items()], format="torch_dist")
    source = "+" if case == "++down_fusion" else case
    expected = of_case(case, ORACLE["tp1"][source]["state_dict"])
    assert {(name, shape) for name, shape, _ in seen(layout)} == {(entry.name, entry.shape) for entry in expected}
    assert (layout.form, layout.backend, layout.unknown) == ("distributed", None, ())


def test_a_whole_model_of_upstreams() -> None:
    oracle = ORACLE["hybrid_model_with_mtp"]["M*-E/*E/*E"]
    layout = of(of_case("", oracle["state_dict"], prefix=""))
    assert str(layout.pattern) == "M*-E/*E/*E"
    assert set(layout.canonical) == {name for name in oracle["state_dict"] if not name.endswith("_extra_state")}


# -------------------------------------------------------------------------------------- what is written


def test_every_tensor_says_what_it_is_written_as() -> None:
    layout = of(architecture("M[*-]").built("local"))
    canonical = layout.canonical
    assert canonical["decoder.layers.1.self_attention.linear_qkv.layer_norm_weight"].written == (
        "decoder.layers.1.input_layernorm.weight",
    )
    assert canonical["decoder.layers.2.mlp.linear_fc1.weight"].written == ("decoder.layers.1.mlp.linear_fc1.weight",)


def test_pieces_are_joined_in_their_order() -> None:
    layout = check_stored(architecture("MGE", **ODD))
    projection = layout.canonical["decoder.layers.0.mixer.in_proj.weight"]
    stem = "decoder.layers.0.mixer.in_proj.weight."
    assert projection.written == tuple(stem + piece for piece in ("z", "x", "B", "C", "dt"))
    assert [piece.offset[0] for piece in projection.tensor.pieces] == [0]  # they lie one behind the other
    expert = layout.canonical["decoder.layers.2.mlp.experts.linear_fc1.weight3"]
    assert expert.written == ("decoder.layers.2.mlp.experts.experts.linear_fc1.weight",)


def test_pieces_may_come_in_any_order() -> None:
    tensors = predicted(tuple(reversed(stored(architecture("M"))))).tensors
    found = layout_of(replace(predicted(()), tensors=tensors))
    pieces = found.canonical["decoder.layers.0.mixer.in_proj.weight"].tensor.pieces
    rows_of = [tensors[f"decoder.layers.0.mixer.in_proj.weight.{piece}"] for piece in ("z", "x", "B", "C", "dt")]
    assert [piece.start for piece in pieces] == [tensor.pieces[0].start for tensor in rows_of]
    assert [piece.offset[0] for piece in pieces] == [0, 32 * 4, 32 * 8, 32 * 9, 32 * 10]


def test_backend_is_said_where_names_differ() -> None:
    assert [check_built(architecture("D"), backend).backend for backend in ("te", "local")] == [None, None]
    assert [check_built(architecture("M"), backend).backend for backend in ("te", "local")] == ["te", "local"]


def test_joint_down_projections_are_parted() -> None:
    joint = architecture("[+-]D", mla_down_proj_fusion=True)
    assert rows(joint.canonical()) != rows(apart(joint).canonical())
    assert seen(of(joint.canonical())) == rows(apart(joint).canonical())


def test_comparison_can_fail() -> None:
    built = architecture("M[*-]")
    assert fuses(built.pattern)
    assert seen(of(built.built("te"))) != rows(architecture("M*E").canonical())
    swapped = renamed(built.built("te"), lambda name: name.replace("linear_fc1", "linear_fc2x"))
    with pytest.raises(AssertionError):
        assert seen(of(swapped)) == rows(built.canonical())
    assert of(architecture("M*-").built("te")).pattern != Pattern("M[*-]")
