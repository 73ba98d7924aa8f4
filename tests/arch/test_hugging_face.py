"""Real `config.json` files: their patterns, totals against the published ones, sizes and caveats.

`data/hugging_face.json` holds configurations as published, their counts and where those were read. `buffers` are router
biases that the published count has too, `copies` further copies of the embedding.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.arch.architecture import Architecture
from workbench.arch.hugging_face import FAMILIES, Converted, from_hugging_face
from workbench.arch.presets import preset
from workbench.arch.sizes import SizesError

MODELS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "hugging_face.json").read_text("utf-8")
)
COUNTED = [name for name, model in MODELS.items() if model["published"] is not None]


def converted(name: str, **changes: Any) -> Converted:
    return from_hugging_face(MODELS[name]["config"] | changes)


def model_of(found: Converted) -> Architecture:
    return Architecture(found.pattern, found.sizes)


# -- totals


@pytest.mark.parametrize("name", COUNTED)
def test_totals_are_the_published_ones(name):
    row, model = MODELS[name], model_of(converted(name))
    buffers = sum(weight.elements for part in model.parts for weight in part.rows if not weight.trained)
    total = model.parameters + row.get("copies", 0) * model.sizes.vocabulary * model.sizes.hidden_size
    if "buffers" in row:
        assert buffers == row["buffers"]
        total += buffers
    if "digits" in row:
        total = round(total / 1e9, row["digits"])
    assert total == row["published"]


def test_every_family_has_a_real_configuration():
    tested = {model["config"]["model_type"] for model in MODELS.values()}
    # These read no field of their own: kimi_k2 is deepseek_v3, the others are spellings of qwen3_5 and its experts.
    assert set(FAMILIES) - tested == {"kimi_k2", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_5_text"}


def test_granite_without_experts_term_by_term():
    hidden, inner, state, heads, width = 1536, 3072, 128, 48, 4096
    mamba = hidden * (2 * inner + 2 * state + heads) + (inner + 2 * state) * 5 + 3 * heads + inner + inner * hidden
    attention = hidden * hidden * 2 + 2 * hidden * (4 * 128)
    mlp = 3 * hidden * width
    norms = 81 * hidden
    assert model_of(converted("granite-4.0-h-1b")).parameters == (
        100352 * hidden + 36 * mamba + 4 * attention + 40 * mlp + norms
    )


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Nemotron-H-8B-Base-8K", "Nemotron-H-8B"),
        ("NVIDIA-Nemotron-Nano-9B-v2", "Nemotron-Nano-9B-v2"),
        ("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "Nemotron-3-Nano-30B-A3B"),
        ("Qwen3-Next-80B-A3B-Instruct with its MTP module", "Qwen3-Next-80B-A3B"),
        ("Qwen3.6-27B, text part", "Qwen3.5-27B (language part)"),
        ("granite-4.0-h-small", "Granite-4.0-H-Small"),
        ("Jamba-v0.1", "Jamba-v0.1"),
        ("Meta-Llama-3-8B", "Llama-3 8B"),
        ("Mixtral-8x7B-v0.1", "Mixtral-8x7B"),
        ("gpt-oss-20b", "gpt-oss-20b"),
    ],
)
def test_presets_and_configurations_say_the_same(model, name):
    """Pattern and every size that has to do with shapes; training values may differ."""
    found, entry = converted(model), preset(name)
    assert found.pattern == entry.pattern
    assert entry.sizes is not None
    training = {"initializer_std", "moe_aux_loss_coeff", "position_embedding", "moe_shared_experts", "ffn_hidden_size"}
    ours, theirs = found.sizes.to_json(), entry.sizes.to_json()
    different = {field for field in ours if ours[field] != theirs[field]} - training
    assert different == set()


# -- families


def test_nemotron_h():
    found = converted("NVIDIA-Nemotron-3-Super-120B-A12B-BF16")
    assert str(found.pattern).endswith("*EMEMEMEME/*E")
    sizes = found.sizes
    assert (sizes.activation, sizes.moe_latent_size, sizes.moe_topk, sizes.moe_shared_ffn) == (
        "squared_relu",
        1024,
        22,
        5376,
    )
    assert (sizes.moe_router_bias, sizes.position_embedding, sizes.ffn_hidden_size) == (True, "none", None)
    assert found.caveats == ("The sum of the routed experts is multiplied by 5.",)


def test_nemotron_h_with_its_layers_in_a_list():
    listed = converted("NVIDIA-Nemotron-3.5-Lightning-30B-A3B-BF16")
    written = converted("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16")
    assert str(listed.pattern) == f"{written.pattern}/*E"
    newer = {"mamba": "linear_attention", "attention": "full_attention"}
    layers = MODELS["NVIDIA-Nemotron-3.5-Lightning-30B-A3B-BF16"]["config"]["layers_block_type"]
    renamed = [newer.get(layer, layer) for layer in layers]
    assert converted("NVIDIA-Nemotron-3.5-Lightning-30B-A3B-BF16", layers_block_type=renamed) == listed


def test_nemotron_h_has_as_many_layers_as_are_listed():
    found = converted("NVIDIA-Nemotron-Nano-9B-v2", num_hidden_layers=50)
    assert found.pattern == converted("NVIDIA-Nemotron-Nano-9B-v2").pattern
    assert found.caveats == ("num_hidden_layers says 50; the layers that are listed are 56, and count.",)


def test_an_old_nemotron_h_spells_its_head_width_otherwise():
    assert converted("Nemotron-H-8B-Base-8K", attention_head_dim=64).sizes.head_dim == 64


def test_qwen3_next_says_nothing_of_mtp():
    config = {name: value for name, value in _qwen3_next().items() if name != "num_nextn_predict_layers"}
    found = from_hugging_face(config)
    assert found.pattern.mtp is None
    assert found.caveats[-1] == (
        "The file says nothing of multi-token prediction, which releases of the family have: /*E after the pattern adds it."
    )


def test_qwen3_next_with_some_dense_blocks():
    found = from_hugging_face(
        _qwen3_next(num_hidden_layers=8, mlp_only_layers=[0], decoder_sparse_step=2, num_nextn_predict_layers=0)
    )
    assert str(found.pattern) == "G-GEG-*EG-GEG-*E"
    assert (found.sizes.ffn_hidden_size, found.sizes.shared_expert_gate) == (5120, True)
    listed = ["linear_attention", "full_attention"]
    found = from_hugging_face(_qwen3_next(num_hidden_layers=2, layer_types=listed, num_experts=0))
    assert str(found.pattern) == "G-*-/*-"
    assert found.sizes.moe_experts is None
    assert not found.sizes.shared_expert_gate


def test_qwen3_next_without_shared_experts():
    found = from_hugging_face(_qwen3_next(shared_expert_intermediate_size=0))
    assert (found.sizes.moe_shared_ffn, found.sizes.shared_expert_gate) == (None, False)


def _qwen3_next(**changes: Any) -> dict[str, Any]:
    return MODELS["Qwen3-Next-80B-A3B-Instruct with its MTP module"]["config"] | changes


def test_qwen3_moe_without_experts():
    found = from_hugging_face({"model_type": "qwen3_moe", "num_experts": 0, "num_hidden_layers": 3})
    assert (str(found.pattern), found.sizes.moe_experts, found.sizes.ffn_hidden_size) == ("*-*-*-", None, 6144)


def test_qwen3_5_is_read_inside_of_its_text_part():
    found = converted("Qwen3.6-27B, text part")
    assert found.sizes.position_embedding == "mrope 25%"
    assert found.caveats[0] == "Only the text part is converted."
    assert converted("Qwen3.6-27B, text part", tie_word_embeddings=True).sizes.tied_embeddings
    text = MODELS["Qwen3.6-27B, text part"]["config"]["text_config"] | {"mtp_num_hidden_layers": 1}
    assert str(from_hugging_face(text).pattern).endswith("G-*-/*-")
    other = from_hugging_face(text | {"attn_output_gate": False, "mtp_use_dedicated_embeddings": True})
    assert not other.sizes.attention_output_gate
    assert other.caveats[-1] == "The MTP modules have embeddings of their own, which are left out."
    experts = from_hugging_face({"model_type": "qwen3_5_moe", "text_config": {"mtp_num_hidden_layers": 1}})
    assert str(experts.pattern) == "GEGEGE*E" * 10 + "/*E"
    assert experts.sizes.moe_experts == 256


def test_granite():
    found = converted("granite-4.0-h-small")
    assert found.caveats == (
        "Attention scores are multiplied by 0.0078125 instead of 1/√128.",
        "The embedding is multiplied by 12.",
        "What a sub-layer adds to the residual stream is multiplied by 0.22.",
        "Logits are divided by 16.",
    )
    assert found.sizes.position_embedding == "none"
    assert converted("granite-4.0-h-small", position_embedding_type="rope").sizes.position_embedding == "rope"
    dense = converted("granite-4.0-h-1b")
    assert str(dense.pattern)[:14] == "M-M-M-M-M-*-M-"
    assert (dense.sizes.ffn_hidden_size, dense.sizes.moe_experts) == (4096, None)
    # The older name of the list, which transformers still takes.
    kinds = {"layer_types": None, "layers_block_type": ["attention"] + ["mamba"] * 39}
    assert str(converted("granite-4.0-h-small", **kinds).pattern) == "*E" + "ME" * 39
    alone = converted("granite-4.0-h-small", shared_intermediate_size=0)
    assert (alone.sizes.moe_shared_experts, alone.sizes.moe_shared_ffn) == (0, None)


def test_bamba():
    found = converted("Bamba-9B-v2")
    assert [layer.index // 2 for layer in found.pattern.sublayers if layer.symbol == "*"] == [9, 18, 27]
    assert found.sizes.position_embedding == "rope 50%"
    assert converted("Bamba-9B-v2", mamba_d_head="auto").sizes == found.sizes
    assert set(str(converted("Bamba-9B-v2", attn_layer_indices=None).pattern)) == {"M", "-"}


def test_jamba_is_a_layout():
    found = converted("Jamba-v0.1")
    assert "M is Mamba-1 here" in found.caveats[0]
    with pytest.raises(SizesError, match=r"'M' \(Mamba-2\) needs mamba_state_dim, mamba_head_dim, mamba_num_groups"):
        model_of(found)
    assert set(str(converted("Jamba-v0.1", num_experts=1).pattern)) == set("M*-")


def test_deepseek():
    found = converted("DeepSeek-V3")
    assert str(found.pattern) == "+-" * 3 + "+E" * 58 + "/+E"
    assert found.sizes.qk_layernorm
    assert found.sizes.moe_router_bias
    assert found.caveats == (
        "The rotary frequencies are stretched to a longer context (yarn), which is read and not built.",
        "A release repeats the embedding and the output layer in every MTP module; here they are there once.",
        "The sum of the routed experts is multiplied by 2.5.",
        "Experts are chosen from 4 of 8 groups of them.",
        "The router scores experts with a sigmoid.",
        "The weights are stored quantised; the sizes are those of the model before that.",
    )
    assert str(converted("DeepSeek-V3.2", num_hidden_layers=4).pattern) == "D-D-D-DE/DE"
    lite = converted("DeepSeek-V2-Lite", moe_layer_freq=2, num_hidden_layers=5)
    assert str(lite.pattern) == "+-+-+E+-+E"
    assert (lite.sizes.q_lora_rank, lite.sizes.moe_shared_ffn, lite.sizes.moe_router_bias) == (None, 2816, False)
    dense = converted("DeepSeek-V3", n_routed_experts=None, num_hidden_layers=2, num_nextn_predict_layers=2)
    assert str(dense.pattern) == "+-+-/+-/+-"
    kimi = from_hugging_face({"model_type": "kimi_k2", "num_attention_heads": 64, "n_routed_experts": 384})
    assert (str(kimi.pattern)[:6], kimi.sizes.moe_experts) == ("+-+-+-", 384)


def test_biases():
    assert converted("Meta-Llama-3-8B", attention_bias=True, mlp_bias=True).sizes.linear_bias
    found = converted("Meta-Llama-3-8B", attention_bias=True)
    assert (found.sizes.linear_bias, found.sizes.qkv_bias) == (False, True)
    assert found.caveats == (
        "Attention's output projection has a bias, hidden_size parameters a layer, which the sizes leave out.",
    )
    found = converted("Meta-Llama-3-8B", mlp_bias=True)
    assert found.caveats == ("The MLPs have biases and attention has none: the sizes leave the MLPs' out.",)
    assert converted("Qwen2.5-7B-Instruct").sizes.qkv_bias
    assert converted("Bamba-9B-v2", attention_bias=True, mlp_bias=True).sizes.linear_bias
    assert any("The MLPs have biases" in text for text in converted("Bamba-9B-v2", mlp_bias=True).caveats)
    found = from_hugging_face({"model_type": "nemotron_h", "hybrid_override_pattern": "M-", "mlp_bias": True})
    assert found.caveats == ("The MLPs have biases and attention has none: the sizes leave the MLPs' out.",)
    assert "latent attention leave out" in converted("DeepSeek-V3", attention_bias=True).caveats[1]


def test_rotary_embeddings():
    assert converted("Llama-3.2-3B-Instruct").caveats == (
        "The rotary frequencies are scaled (llama3); the sizes have them unscaled.",
    )
    newer = {"rope_theta": 5000.0, "rope_type": "yarn", "factor": 4.0, "partial_rotary_factor": 0.5}
    config = {name: value for name, value in MODELS["Qwen3-8B"]["config"].items() if not name.startswith("rope")}
    found = from_hugging_face(config | {"rope_parameters": newer})
    assert (found.sizes.position_embedding, found.sizes.rotary_base) == ("rope 50% (yarn)", 5000)
    found = from_hugging_face(config | {"rope_parameters": {"full_attention": {"rope_theta": 7}, "other": {}}})
    assert found.sizes.rotary_base == 7
    assert found.caveats[-1].startswith("Rotary embeddings differ between kinds of layers")
    assert converted("Qwen3-8B", rope_scaling={"type": "<new>"}).caveats == (
        "The rotary frequencies are scaled in a way that is not known here; the sizes have them unscaled.",
    )


def test_windows():
    assert converted("Mistral-7B-v0.1").caveats == ("Attention sees a window of 4096 tokens only.",)
    assert converted("Mistral-7B-v0.1", sliding_window=None).caveats == ()
    assert "In 12 layers attention sees a window of 128 tokens only." in converted("gpt-oss-20b").caveats
    late = converted("Qwen2.5-7B-Instruct", use_sliding_window=True, max_window_layers=27)
    assert late.caveats == ("In 1 layer attention sees a window of 131072 tokens only.",)
    assert converted("Qwen2.5-7B-Instruct", use_sliding_window=True).caveats == ()


def test_what_changes_only_the_function_is_said():
    found = converted(
        "Qwen3-30B-A3B",
        norm_topk_prob=False,
        router_jitter_noise=0.1,
        final_logit_softcapping=30,
        hidden_act="gelu_pytorch_tanh",
        attention_dropout=0.1,
        hidden_dropout=0.2,
    )
    assert found.caveats == (
        "GELU is in its tanh approximation.",
        "The router's input has noise of 0.1 in training.",
        "Logits are capped softly at 30.",
        "The weights of the chosen experts are not normalised to a sum of 1.",
    )
    assert found.sizes.activation == "geglu"
    assert (found.sizes.attention_dropout, found.sizes.hidden_dropout) == (0.1, 0.2)
    assert found.sizes.moe_aux_loss_coeff == 0.001
    limited = converted("NVIDIA-Nemotron-Nano-9B-v2", time_step_limit=[0.001, 0.1], residual_in_fp32=True)
    assert limited.caveats == (
        "Mamba's step size is limited, which Megatron's mixer does not do.",
        "The residual stream is in FP32.",
    )


def test_a_padded_vocabulary():
    found = converted("Mamba-Codestral-7B-v0.1", vocab_size=50277, pad_vocab_size_multiple=16)
    assert found.sizes.padded_vocabulary == 50288
