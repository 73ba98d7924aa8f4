"""`inspect` of every layout and of real files: the pattern and the sizes come back, and it says whether a model would load it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoint.megatron_checkpoints import KINDS
from tests.contracts.architectures import random_cases
from workbench.arch.architecture import Architecture, Tensor
from workbench.arch.presets import Preset, preset, presets
from workbench.arch.sizes import ModelSizes
from workbench.arch.stored import stored
from workbench.checkpoint.inference.recorded import plain_values
from workbench.checkpoint.inspect import inspect
from workbench.checkpoint.interop import to_gpt_refusals
from workbench.checkpoint.layouts import arranged, layout_of
from workbench.checkpoint.predicted import predicted
from workbench.checkpoint.source import Checkpoint
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

PRESETS = [preset for preset in presets() if preset.expressible and preset.sizes and preset.sizes.vocab_size]


def canonical(pattern: str, **fields: Any) -> Checkpoint:
    return predicted(Architecture(pattern, ModelSizes(**fields)).canonical())


def every_layout(architecture: Architecture) -> dict[str, Checkpoint]:
    """The same model as each layout has it; what cannot hold it is left out."""
    fused = Architecture(architecture.pattern.fused(), architecture.sizes)
    found = {
        "canonical": predicted(architecture.canonical()),
        "stored": predicted(stored(architecture), format="torch_dist"),
        "local": predicted(Architecture(architecture.pattern.unfused(), architecture.sizes).built("local")),
        "fused": predicted(fused.built("local")),
        "fused te": predicted(fused.built("te")),
    }
    layout = layout_of(found["canonical"])
    grouped = Pattern(str(fused.pattern).split("/")[0]) if fused.pattern.mtp is None else None
    if grouped is not None:
        tensors = arranged(layout, "grouped", form="state_dict", pattern=grouped)
        found["grouped"] = Checkpoint("grouped", "mapping", tensors)
    if not to_gpt_refusals(architecture.pattern):
        found["gpt"] = Checkpoint("gpt", "torch_dist", arranged(layout, "gpt", form="distributed"))
        found["gpt in layers"] = Checkpoint("gpt", "mapping", arranged(layout, "gpt", form="state_dict"))
    return found


def check_inspected(architecture: Architecture, name: str, checkpoint: Checkpoint) -> None:
    found = inspect(checkpoint, architecture)
    plain = architecture.pattern.unfused()
    depth = f"/{plain.mtp}" if plain.mtp else ""
    main = plain.main.replace("|", "")
    assert found.pattern is not None, (name, found.findings, found.reasons)
    assert str(found.pattern.unfused()) == main + depth * architecture.built_depths, name
    assert found.findings == (), name
    true = plain_values(architecture.sizes, architecture.pattern)
    assert found.known == {size: true[size] for size in found.known}, name
    assert found.parameters.total == architecture.parameters, name
    assert found.preflight is not None
    # Groups of the newer dialect may be stored fused; only GPT's order is another model's.
    assert found.preflight.loads, (name, found.preflight.reasons)
    assert sum(group.tensors for group in found.groups) == len(layout_of(checkpoint).canonical)
    assert json.loads(json.dumps(found.to_json()))["sizes"] == {
        size: value for size, value in found.known.items() if size not in ("gated", "padded_vocabulary")
    }


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_preset_as_it_is_stored(preset: Preset) -> None:
    architecture = preset.architecture()
    check_inspected(architecture, "stored", predicted(stored(architecture), format="torch_dist"))


@pytest.mark.parametrize("name", ["Nemotron-H-8B", "Llama-3 8B", "Granite-4.0-H-Micro", "Qwen3.5-27B (language part)"])
def test_presets_in_every_layout(name: str) -> None:
    architecture = preset(name).architecture()
    for layout, checkpoint in every_layout(architecture).items():
        check_inspected(architecture, layout, checkpoint)


@given(random_cases())
@settings(max_examples=40, deadline=None)
def test_models_at_random_in_every_layout(case: tuple[str, dict[str, Any]]) -> None:
    pattern, fields = case
    if "E" not in pattern or not fields["moe_shared_ffn"]:
        fields = {**fields, "shared_expert_gate": False}
    # Which of two down-projections a distributed checkpoint was made from does not show.
    sizes = replace(ModelSizes(**fields), mla_down_proj_fusion=False)
    for layout, checkpoint in every_layout(Architecture(pattern, sizes)).items():
        check_inspected(Architecture(pattern, sizes), layout, checkpoint)


# ------------------------------------------------------------------------------------------ real files


@pytest.mark.parametrize("kind", ["fused", "unfused", "bf16", "distributed fp32"])
def test_what_megatron_wrote(megatron_saves: Any, kind: str) -> None:
    pattern = Pattern(KINDS[kind][0])
    found = inspect(megatron_saves(kind), str(pattern))
    assert (found.format, found.layout, found.form) == ("torch_dist", "canonical", "distributed")
    assert found.pattern == pattern.unfused()
    assert found.fused_pattern == pattern.fused()
    assert found.findings == ()
    assert found.optimizer is not None
    assert {"exp_avg", "exp_avg_sq"} <= set(found.optimizer.states)
    assert found.parameters.total == Architecture(pattern).parameters
    assert found.preflight is not None
    assert found.preflight.loads
    assert found.preflight.compared == "layer kinds"


def test_what_a_gpt_model_wrote(megatron_saves: Any) -> None:
    found = inspect(megatron_saves("gpt in layers"))
    assert found.layout == "gpt"
    assert str(found.pattern.unfused()) == "*-*-*-"
    assert [option.to for option in found.options] == ["fused", "hybrid", "grouped"]
    # By count, with Mamba started fresh; in any order.
    for pattern in ("[*-][*-][*-]", "M*-M*-*-M", "***---"):
        assert inspect(megatron_saves("gpt in layers"), pattern).preflight.loads, pattern
    sized = inspect(megatron_saves("gpt in layers"), Architecture("M[*-]*-*-"))
    assert sized.preflight.loads
    assert "sub-layer 0 (Mamba-2) have no counterpart and start fresh" in sized.preflight.notes


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("M*-*-", "sub-layer 4 is not in *-*-, and the checkpoint holds self-attention there"),
        ("M*-*-*-/*-", "MTP"),
        ("M*-*-*E", "mixes dense (-) and MoE (E)"),
        ("G*-*-*-", "gated delta net (G)"),
        ("M*E*E*E", "sub-layers 1, 3, 5 are mixture of experts, and the checkpoint holds MLP there"),
    ],
)
def test_what_a_gpt_checkpoint_cannot_become(megatron_saves: Any, pattern: str, reason: str) -> None:
    found = inspect(megatron_saves("gpt in layers"), pattern)
    assert not found.preflight.loads
    assert reason in "; ".join(found.preflight.reasons)


# ------------------------------------------------------------------------------------------- preflight


def test_a_preset_is_compared_by_names_and_shapes() -> None:
    llama = preset("llama-3-8b")
    found = inspect(predicted(llama.architecture().canonical()), "llama-3-8b").preflight
    assert (found.loads, found.compared, found.against) == (True, "names and shapes", "Llama-3 8B")
    other = inspect(predicted(preset("mixtral-8x7b").architecture().canonical()), llama).preflight
    assert not other.loads
    assert "the padded vocabulary is 128256 in the model and 32000 in the checkpoint" in other.reasons


def test_a_pattern_with_sizes() -> None:
    checkpoint = canonical("M-*-")
    assert inspect(checkpoint, "[M-][*-]", sizes=ModelSizes()).preflight.loads
    found = inspect(checkpoint, Pattern("M-|*-"), sizes=ModelSizes(ffn_hidden_size=96)).preflight
    assert found.reasons == ("ffn_hidden_size is 96 in the model and 128 in the checkpoint",)


def test_a_pattern_alone_says_that_sizes_were_not_compared() -> None:
    found = inspect(canonical("M-*-"), "M-M*-").preflight
    assert found.reasons == ("the model has a sub-layer that the checkpoint has not: its sub-layer 2, Mamba-2",)
    assert "only layer kinds were compared: a pattern alone has no sizes" in found.notes


def test_one_stored_depth_loads_where_every_depth_runs_the_same() -> None:
    found = inspect(canonical("M-/*-"), "M-/*-/*-").preflight
    assert found.loads
    assert any("mtp_use_repeated_layer" in note for note in found.notes)


def test_another_checkpoint(tmp_path) -> None:
    from safetensors.numpy import save_file

    paths = []
    for name, width in (("a", 128), ("b", 96)):
        import numpy

        shapes = Architecture("M-", ModelSizes(ffn_hidden_size=width)).canonical()
        paths.append(tmp_path / f"{name}.safetensors")
        save_file({tensor.name: numpy.zeros(tensor.shape, numpy.float32) for tensor in shapes}, paths[-1])
    assert inspect(paths[0], paths[0]).preflight.loads
    assert inspect(paths[0], str(paths[1])).preflight.reasons == (
        "ffn_hidden_size is 96 in the model and 128 in the checkpoint",
    )


def test_what_is_no_model() -> None:
    with pytest.raises(WorkbenchError, match="unknown"):
        inspect(canonical("M-"), "what is this")
    with pytest.raises(WorkbenchError, match="no pattern to hold another checkpoint against"):
        inspect(canonical("M-"), predicted([]))


# ------------------------------------------------------------------- what a checkpoint says of itself


def saying(pattern: str, values: dict[str, Any], **fields: Any):
    return inspect(replace(canonical(pattern, **fields), values=values))


ARGS = {
    "hidden_size": 64, "num_attention_heads": 4, "kv_channels": 16, "group_query_attention": True, "num_query_groups": 2,
    "swiglu": True, "padded_vocab_size": 128, "hybrid_layer_pattern": "M-|*-", "mamba_num_groups": 2,
    "position_embedding_type": "rope", "rotary_percent": 0.5, "untie_embeddings_and_output_weights": True,
}  # fmt: skip


def test_arguments_fill_what_shapes_leave_open() -> None:
    found = saying("M-*-", {"args": ARGS, "iteration": 12})
    assert found.findings == ()
    assert str(found.pattern) == "M-|*-"
    assert found.iteration == 12
    assert {name: found.known[name] for name in ("num_attention_heads", "num_query_groups", "head_dim", "activation")} == {
        "num_attention_heads": 4, "num_query_groups": 2, "head_dim": 16, "activation": "swiglu",
    }  # fmt: skip
    assert found.known["position_embedding"] == "rope 50%"
    # B and C show groups × state; with the groups that is the state.
    state = next(size for size in found.sizes if size.name == "mamba_state_dim")
    assert (state.value, state.source) == (16, "names and shapes and args")


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"hidden_size": 65}, "args says that hidden_size is 65, and embedding.word_embeddings.weight [128, 64] says 64"),
        ({"num_attention_heads": 8}, "and the shapes prove that num_attention_heads × head_dim = 64"),
        ({"swiglu": False}, "says that gated is false"),
        ({"position_embedding_type": "learned_absolute"}, "it is not learned_absolute: there is no table of positions"),
        ({"hybrid_layer_pattern": "M-*E"}, "args says that the pattern is M-*E, and the names show M-*-"),
    ],
)  # fmt: skip
def test_arguments_that_contradict_are_findings(change: dict[str, Any], finding: str) -> None:
    found = saying("M-*-", {"args": {**ARGS, **change}})
    assert any(finding in text for text in found.findings), found.findings


def test_a_pattern_on_record_says_how_often_one_depth_runs() -> None:
    found = saying("M-/*-", {"workbench": {"pattern": "M-/*-/*-/*-"}})
    assert str(found.pattern) == "M-/*-/*-/*-"
    assert found.known["mtp_use_repeated_layer"] is True


@pytest.mark.parametrize(
    "values",
    [
        {"args": 3, "workbench": "no", "iteration": "no"},
        {"args": {"hidden_size": [1], "hybrid_layer_pattern": 7, "swiglu": None}, "workbench": {"pattern": 3}},
        {"config": {"model_type": "nobody knows"}},
        {"config.json": {"model_type": {}}, "args": {1: 2, "rotary_percent": "x", "num_query_groups": True}},
        {"workbench": {"pattern": "no pattern"}, "args": {"hybrid_override_pattern": "M" * 10_000}},
    ],
)
def test_strange_values_are_no_error(values: dict[str, Any]) -> None:
    assert str(saying("M-*-", values).pattern) == "M-*-"


# --------------------------------------------------------------------------------------------- damage


def test_layers_that_disagree_are_found_and_named() -> None:
    tensors = dict(canonical("M-M-M-").tensors)
    other = canonical("M-M-M-", ffn_hidden_size=96).tensors
    for name in tensors:
        if name.startswith("decoder.layers.3.mlp."):
            tensors[name] = other[name]
    found = inspect(Checkpoint("x", "mapping", tensors))
    assert found.findings == ("ffn_hidden_size is 128 in sub-layers 1, 5 and 96 in sub-layer 3: a model has one",)
    entry = next(entry for entry in found.unknown if entry.name == "ffn_hidden_size")
    assert entry.reason == "the layers disagree about it"


def test_a_tensor_that_does_not_belong_is_found() -> None:
    tensors = dict(canonical("M-*-").tensors)
    tensors["decoder.layers.0.mixer.dt_bias"] = canonical("M-", mamba_head_dim=32).tensors[
        "decoder.layers.0.mixer.dt_bias"
    ]
    del tensors["decoder.layers.3.mlp.linear_fc1.layer_norm_weight"]
    tensors["nobody.knows"] = tensors["decoder.final_norm.weight"]
    found = "; ".join(inspect(Checkpoint("x", "mapping", tensors)).findings)
    assert "mixer.dt_bias is [8] in a model of the checkpoint's own sizes and [4] in the checkpoint" in found
    assert "sub-layer 3, MLP: the checkpoint lacks mlp.linear_fc1.layer_norm_weight" in found
    assert "a tensor has a name that no rule knows: nobody.knows" in found


def test_layers_that_lack_what_makes_them_layers_are_not_understood() -> None:
    tensors = {name: tensor for name, tensor in canonical("M-M-").tensors.items() if "conv1d" not in name}
    assert inspect(Checkpoint("x", "mapping", tensors)).findings == (
        "no model has exactly these tensors: 'M' (Mamba-2) needs mamba_state_dim, mamba_num_groups, which they do not show",
    )


def test_a_part_of_a_model_is_said_to_be_one() -> None:
    tensors = {name: tensor for name, tensor in canonical("M-M-").tensors.items() if ".layers.0." not in name}
    found = inspect(Checkpoint("x", "mapping", tensors))
    assert found.pattern is None
    assert "its sub-layers are numbered 1–3, not from 0 without a gap: a part of a model, or damaged" in found.findings
    assert found.known["ffn_hidden_size"] == 128


@pytest.mark.parametrize(
    "tensors", [{}, {"a": (1,)}, {"decoder.layers.0.mixer.A_log": ()}, {"mtp.layers.0.enorm.weight": (3,)}]
)
def test_whatever_a_mapping_holds(tensors: dict[str, tuple[int, ...]]) -> None:
    found = inspect(predicted([Tensor(name, shape, "float32") for name, shape in tensors.items()]))
    assert found.tensors == len(tensors)


def test_torch_is_not_imported(tmp_path) -> None:
    import numpy
    from safetensors.numpy import save_file

    shapes = Architecture("M[*-]").canonical()
    save_file({tensor.name: numpy.zeros(tensor.shape, numpy.float32) for tensor in shapes}, tmp_path / "x.safetensors")
    code = (
        "import sys\nfrom workbench.cli import main\n"
        "assert main(['inspect', sys.argv[1], '--against', 'M*-', '--json']) == 0\n"
        "assert not {'torch', 'megatron', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.safetensors")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pattern"] == "M*-"


NAMES = sorted(
    {tensor.name for pattern in ("MG*-E/*E", "+D-") for tensor in Architecture(pattern).canonical()}
    | {tensor.name for tensor in stored(Architecture("MG*-E"))}
    | {
        f"model.layers.0.{name}"
        for name in ("self_attn.q_proj.weight", "mlp.experts.gate_up_proj", "mlp.experts.down_proj")
    }
)
ANY_SHAPE = st.lists(st.sampled_from([0, 1, 2, 3, 8, 64, 10**9, 2**60]), max_size=4).map(tuple)


@given(st.dictionaries(st.sampled_from(NAMES), ANY_SHAPE, max_size=12), st.sampled_from(["", "torch_dist"]))
@settings(max_examples=200, deadline=None)
def test_any_shapes_under_known_names(shapes: dict[str, tuple[int, ...]], format: str) -> None:
    """Nothing is raised and nothing is allocated for what a stranger's file says."""
    tensors = [Tensor(name, shape, "float32") for name, shape in shapes.items()]
    checkpoint = predicted(tensors, format=format or "mapping")
    found = inspect(checkpoint, "M*-")
    assert found.tensors == len(shapes)
    assert found.preflight is not None
    assert json.dumps(found.to_json())
    assert inspect(checkpoint, Architecture("MG*-E")).preflight.loads is False


def test_a_thousand_million_experts() -> None:
    shapes = Architecture("E").canonical()
    tensors = [Tensor(t.name, (10**9, 64) if "router" in t.name else t.shape, t.dtype) for t in shapes]
    assert inspect(predicted(tensors)).findings == (
        "no model has exactly these tensors: they show 1000000000 experts a layer",
    )
