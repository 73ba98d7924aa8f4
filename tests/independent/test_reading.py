"""Where weights may come from, and what is refused: unmapped names on either side, and whatever Megatron would compute otherwise."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.independent.models import ASSUMED, CONFIGS, copied, model, tokens
from workbench.arch.architecture import Architecture
from workbench.checkpoint.mismatch import CheckpointMismatch
from workbench.errors import WorkbenchError
from workbench.fusion.config import transformer_config
from workbench.fusion.hugging_face import from_hugging_face, load_hugging_face, read_hugging_face
from workbench.fusion.model import build_model, forward_logits, model_arguments
from workbench.fusion.state import canonical_state_dict

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def state(kind: str) -> dict[str, Any]:
    return dict(model(kind).state_dict())


# ------------------------------------------------------------------------------------------- sources


@pytest.mark.parametrize("kind", CONFIGS)
def test_files_and_live_models_are_the_same_bits(kind: str, tmp_path: Path) -> None:
    """`save_pretrained` names and cuts experts otherwise than a model in memory; there are rules for both."""
    model(kind).save_pretrained(tmp_path)
    files = read_hugging_face(tmp_path, assume=ASSUMED[kind])
    live = read_hugging_face(model(kind), assume=ASSUMED[kind])
    assert (files.pattern, files.sizes, files.fields) == (live.pattern, live.sizes, live.fields)
    assert list(files.tensors) == list(live.tensors)
    assert all(torch.equal(tensor, live.tensors[name]) for name, tensor in files.tensors.items())


def test_every_canonical_name_is_there(tmp_path: Path) -> None:
    """In the order of the model, with its shapes."""
    read = read_hugging_face(model("qwen3_next"))
    wanted = Architecture(read.pattern, read.sizes, dtype="fp32").canonical()
    assert [(each.name, each.shape) for each in wanted] == [
        (name, tuple(tensor.shape)) for name, tensor in read.tensors.items()
    ]


def test_a_state_dict_needs_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match=r"^a mapping of 21 tensors comes without a configuration: give config="):
        from_hugging_face(state("llama"))
    path = tmp_path / "config.json"
    path.write_text(model("llama").config.to_json_string())
    expected = canonical_state_dict(from_hugging_face(model("llama")))
    for config in (model("llama").config, json.loads(path.read_text()), path, str(tmp_path)):
        found = canonical_state_dict(from_hugging_face(state("llama"), config))
        assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


def test_a_configuration_as_a_mapping() -> None:
    """With tuples and infinities where a file has lists and texts."""
    config = model("mamba2").config
    found = read_hugging_face(state("mamba2"), config.to_dict() | {"time_step_limit": (0.0, float("inf"))})
    assert (found.pattern, found.sizes) == (
        read_hugging_face(model("mamba2")).pattern,
        read_hugging_face(model("mamba2")).sizes,
    )


@pytest.mark.parametrize("pattern", ["*-[*-]", "[*-]|*-"])
def test_any_fusion_of_the_same_sublayers(pattern: str) -> None:
    found = from_hugging_face(model("llama"), pattern=pattern).eval()
    assert str(found.pattern) == pattern
    with torch.no_grad():
        expected = model("llama")(tokens(20)).logits
        assert (forward_logits(found, tokens(20)) - expected).abs().max() <= 1e-5


def test_other_sublayers() -> None:
    with pytest.raises(WorkbenchError, match=r"is the pattern \*-\*-, and \[\*-\]\*M has other sub-layers"):
        from_hugging_face(model("llama"), pattern="[*-]*M")


def test_bf16() -> None:
    """The weights are rounded to what the model is built in."""
    found = canonical_state_dict(from_hugging_face(model("qwen3_next"), dtype="bf16"))
    read = read_hugging_face(model("qwen3_next")).tensors
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}
    assert all(torch.equal(tensor, read[name].bfloat16()) for name, tensor in found.items())


def test_the_language_part_of_a_model_of_pictures() -> None:
    """Its tensors have another prefix, and those of the pictures are left out by name."""
    kind = "qwen3_5_text"
    whole = {name.replace("model.", "model.language_model.", 1): tensor for name, tensor in state(kind).items()}
    whole["model.visual.patch_embed.proj.weight"] = torch.zeros(3)
    config = {"model_type": "qwen3_5", "text_config": model(kind).config.to_dict(), "vision_config": {}}
    with pytest.raises(WorkbenchError, match=r"there is no place for model\.visual\.patch_embed\.proj\.weight \("):
        read_hugging_face(whole, config)
    found, expected = read_hugging_face(whole, config, skip=("model.visual.*",)), read_hugging_face(model(kind))
    assert (found.pattern, found.sizes, found.fields) == (expected.pattern, expected.sizes, expected.fields)
    assert all(torch.equal(tensor, expected.tensors[name]) for name, tensor in found.tensors.items())


def test_a_model_without_its_multi_token_prediction() -> None:
    """As a release is: the configuration says that it is there, and its tensors are beside the others."""
    extra = state("qwen3_next") | {"mtp.fc.weight": torch.zeros(2, 2)}
    config = model("qwen3_next").config.to_dict() | {"mtp_num_hidden_layers": 1}
    with pytest.raises(WorkbenchError) as caught:
        read_hugging_face(extra, config)
    assert "assume={'mtp_num_hidden_layers': 0} with skip=('mtp.*',)" in str(caught.value)
    read = read_hugging_face(extra, config, assume={"mtp_num_hidden_layers": 0}, skip=("mtp.*",))
    assert list(read.tensors) == list(read_hugging_face(model("qwen3_next")).tensors)


# ----------------------------------------------------------------------------------- names and shapes


def test_a_tensor_that_has_no_place() -> None:
    extra = state("llama") | {f"model.layers.0.self_attn.extra_{number}": torch.zeros(2) for number in range(10)}
    with pytest.raises(WorkbenchError) as caught:
        from_hugging_face(extra, model("llama").config)
    listed = ", ".join(f"model.layers.0.self_attn.extra_{number}" for number in range(8))
    assert str(caught.value) == (
        "a mapping of 31 tensors does not fit its configuration:\n"
        f"  there is no place for {listed} and 2 more (skip=('NAME', 'PREFIX.*') leaves tensors out knowingly)"
    )
    from_hugging_face(extra, model("llama").config, skip=("*.extra_?",))


def test_tensors_that_are_missing() -> None:
    less = state("mixtral")
    del less["model.layers.1.self_attn.k_proj.weight"], less["model.layers.0.mlp.experts.down_proj"]
    with pytest.raises(WorkbenchError) as caught:
        from_hugging_face(less, model("mixtral").config)
    first, *lines = str(caught.value).split("\n")
    assert first.endswith("does not fit its configuration:")
    assert lines[:4] == [
        f"  decoder.layers.1.mlp.experts.linear_fc2.weight{expert} (sub-layer 1 (mixture of experts)) is made of "
        f"model.layers.0.mlp.experts.down_proj[{expert}] or of "
        f"model.layers.0.block_sparse_moe.experts.{expert}.w2.weight, of which none is there"
        for expert in range(4)
    ]
    assert lines[4] == (
        "  decoder.layers.2.self_attention.linear_qkv.weight (sub-layer 2 (self-attention)) is made of "
        "model.layers.1.self_attn.q_proj.weight+model.layers.1.self_attn.k_proj.weight+"
        "model.layers.1.self_attn.v_proj.weight, of which none is there"
    )
    assert lines[5].startswith("  there is no place for model.layers.1.self_attn.q_proj.weight, model.layers.1.")


def test_a_tensor_that_is_there_twice() -> None:
    twice = state("mixtral") | {"model.layers.0.block_sparse_moe.gate.weight": torch.zeros(4, 32)}
    with pytest.raises(WorkbenchError, match=r"mlp\.router\.weight .* or of .*, of which both are there"):
        from_hugging_face(twice, model("mixtral").config)


def test_a_head_that_is_not_the_embedding_it_is_tied_to() -> None:
    kind = "llama with biases, tied"
    other = state(kind) | {"lm_head.weight": torch.zeros(96, 32)}
    with pytest.raises(WorkbenchError, match=r"lm_head\.weight is not the embedding, and tie_word_embeddings is true"):
        from_hugging_face(other, model(kind).config)


def test_no_language_model() -> None:
    with pytest.raises(
        WorkbenchError, match=r"holds no names like model\.layers\.\*: it must be a model with its language"
    ):
        from_hugging_face(model("llama").model, model("llama").config)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(CheckpointMismatch, match="padded vocabulary is 128 in the model and 96"):
        from_hugging_face(model("llama"), assume={"vocab_size": 128})
    with pytest.raises(WorkbenchError, match=r"q_proj\.weight \[32, 32\].* cannot be .*linear_qkv\.weight"):
        from_hugging_face(model("llama"), assume={"num_key_value_heads": 3, "num_attention_heads": 3, "head_dim": 12})
    with pytest.raises(WorkbenchError, match=r"experts\.gate_up_proj is \[4, 96, 32\], and the configuration has 8"):
        from_hugging_face(model("mixtral"), assume={"num_local_experts": 8})


# ------------------------------------------------------------------------------ what is not expressed


@pytest.mark.parametrize(
    ("kind", "changed", "said"),
    [
        ("mistral", {"sliding_window": 16}, "Attention sees a window of 16 tokens only."),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "scaled (linear)"),
        ("llama", {"attention_bias": True}, "Attention's output projection has a bias"),
        ("llama", {"hidden_act": "gelu_pytorch_tanh"}, "GELU is in its tanh approximation."),
        ("mamba2", {"layer_norm_epsilon": 1e-6}, "the norms' epsilon is 1e-06: the gated norm of Megatron's Mamba"),
        ("mamba2", {"hidden_act": "gelu"}, "hidden_act is not silu, which is all that Megatron's Mamba mixer has."),
        ("mamba2", {"time_step_limit": [0.01, 1.0]}, "Mamba's step size is limited"),
        ("nemotron_h", {"time_step_min": 0.001}, "time_step_min is 0.001: transformers makes no step size smaller"),
        ("nemotron_h", {"norm_topk_prob": False}, "Megatron always divides sigmoid scores by their sum."),
        ("nemotron_h", {"n_group": 4, "topk_group": 4}, "num_experts_per_tok 4 over topk_group 4 is not 2"),
        ("nemotron_h", {"num_nextn_predict_layers": 1}, "num_nextn_predict_layers is not 0"),
        ("deepseek_v3", {"rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-05: transformers has 1e-06 in the norms inside"),
        ("deepseek_v3", {"q_lora_rank": None}, "q_lora_rank is null: Megatron has no latent attention that norms"),
        ("deepseek_v3", {"num_nextn_predict_layers": 1}, "num_nextn_predict_layers is not 0"),
        ("deepseek_v3", {"rope_interleave": False}, "Megatron's latent attention rotates neighbouring channels."),
        ("mixtral", {"num_experts_per_tok": 1}, "num_experts_per_tok is 1 and its weight is divided by itself"),
        ("qwen3_next", {"hidden_act": "gelu"}, "hidden_act is not silu, which is all that Megatron's gated delta net"),
        ("qwen3_next", {"mtp_num_hidden_layers": 1}, "there are no rules for its weights."),
    ],
)
def test_what_megatron_would_compute_otherwise(kind: str, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(WorkbenchError) as caught:
        from_hugging_face(model(kind), assume=ASSUMED[kind] | changed)
    first, *reasons, last = str(caught.value).split("\n")
    assert first.startswith("the configuration of a live ")
    assert first.endswith(": Megatron would not compute what transformers computes:")
    assert any(said in reason for reason in reasons)
    assert last == "Where that is known and meant, say what to take instead: assume={'FIELD': value}"


def test_what_a_backend_cannot_build() -> None:
    config = copy.deepcopy(CONFIGS["nemotron_h"])
    config.moe_latent_size = 16
    latent = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(WorkbenchError, match="the local backend needs moe_latent_size=None, not 16"):
        from_hugging_face(latent, assume={"time_step_min": 0.0}, backend="local")


def test_families_without_rules() -> None:
    with pytest.raises(WorkbenchError, match="no rules for the weights of model_type 'jamba'; there are for bamba, "):
        from_hugging_face({}, {"model_type": "jamba"})


def test_why_small_steps_are_refused() -> None:
    """The limit that transformers puts on NemotronH's step sizes makes another function, once a step is as small."""
    limited = copied("nemotron_h")
    with torch.no_grad():
        for layer in limited.model.layers:
            if hasattr(layer.mixer, "dt_bias"):
                layer.mixer.dt_bias.fill_(-9.0)
                layer.mixer.D.zero_()  # what passes the recurrence by hides it
    found = from_hugging_face(limited, assume={"time_step_min": 0.0}).eval()
    with torch.no_grad():
        assert (forward_logits(found, tokens(40)) - limited(tokens(40)).logits).abs().max() > 1e-3
        for layer in limited.model.layers:
            if hasattr(layer.mixer, "dt_bias"):
                layer.mixer.time_step_limit = (0.0, float("inf"))
        assert (forward_logits(found, tokens(40)) - limited(tokens(40)).logits).abs().max() <= 1e-5


# -------------------------------------------------------------------------------- into a built model


def test_into_a_model_that_is_there() -> None:
    read = read_hugging_face(model("qwen3_next"))
    pattern = read.pattern.fused()
    config = transformer_config(pattern, read.sizes, **read.fields)
    built = build_model(pattern, config, seed=3, backend="local", **model_arguments(pattern, read.sizes))
    assert load_hugging_face(built, model("qwen3_next")).pattern == read.pattern
    expected = canonical_state_dict(from_hugging_face(model("qwen3_next"), backend="local"))
    assert all(torch.equal(tensor, expected[name]) for name, tensor in canonical_state_dict(built).items())


def test_into_a_model_that_computes_something_else() -> None:
    """Names and shapes fit; nothing is written."""
    read = read_hugging_face(model("qwen3_next"))
    sizes = replace(read.sizes, position_embedding="rope 50%", norm_epsilon=1e-5)
    built = build_model(read.pattern, sizes, seed=3)
    before = {name: tensor.clone() for name, tensor in canonical_state_dict(built).items()}
    with pytest.raises(WorkbenchError) as caught:
        load_hugging_face(built, model("qwen3_next"))
    assert str(caught.value).split("\n")[1:] == [
        "  layernorm_epsilon is 1e-05 in the model's config and must be 0.0001",
        "  layernorm_zero_centered_gamma is False in the model's config and must be True",
        "  rotary_percent is 0.5 in the model and must be 0.25",
    ]
    assert all(torch.equal(tensor, before[name]) for name, tensor in canonical_state_dict(built).items())
