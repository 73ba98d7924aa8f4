"""A transformers model's names: the layers, and the shapes that a Megatron model of the same layers has."""

from __future__ import annotations

import json

import pytest

from tests.checkpoint.hugging_face_models import CONFIGS, save
from workbench.arch.architecture import Architecture
from workbench.arch.hugging_face import from_hugging_face_file
from workbench.checkpoint.inference.hugging_face_shapes import as_canonical
from workbench.checkpoint.inference.infer import infer
from workbench.checkpoint.inference.recorded import plain_values
from workbench.checkpoint.inspect import inspect

PATTERNS = {"llama": "*-*-", "mixtral": "*E*E", "qwen3_next": "GEGEGE*E", "nemotron_h": "ME*-ME"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = tmp_path_factory.mktemp("hugging_face")
    return {family: save(family, made / family) for family in CONFIGS}


@pytest.mark.parametrize("family", CONFIGS)
def test_what_transformers_saved_is_the_model_that_its_config_says(folders, family):
    """Shapes of the Megatron model, made from the names there, are those that pattern and sizes of the config predict."""
    found = inspect(folders[family])
    assert (found.format, found.layout, str(found.pattern)) == ("hugging_face", "hugging_face", PATTERNS[family])
    assert found.findings == ()
    config = from_hugging_face_file(folders[family])
    true = plain_values(config.sizes, config.pattern)
    assert found.known == {name: true[name] for name in found.known}
    assert {entry.name for entry in found.unknown} <= {"rotary_base", "moe_aux_loss_coeff"}
    assert found.parameters.total == Architecture(config.pattern, config.sizes).parameters
    assert found.dtypes.keys() <= {"bfloat16", "float32"}


@pytest.mark.parametrize("family", CONFIGS)
def test_without_its_config_the_names_say_the_pattern(folders, family):
    found = inspect(folders[family] / "model.safetensors")
    assert (found.format, found.layout, str(found.pattern)) == ("safetensors", "hugging_face", PATTERNS[family])
    assert found.findings == ()
    assert found.known["hidden_size"] == 32
    assert "activation" in {entry.name for entry in found.unknown}


def test_a_config_of_another_model_is_found_out(folders, tmp_path):
    config = json.loads((folders["llama"] / "config.json").read_text())
    config |= {"num_hidden_layers": 3, "intermediate_size": 52, "num_attention_heads": 8, "head_dim": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(folders["llama"] / "model.safetensors")
    found = "\n".join(inspect(tmp_path).findings)
    assert "config.json says that the pattern is (*-)×3, and the names show *-*-" in found
    assert "config.json says that ffn_hidden_size is 52, and" in found
    assert "config.json says that num_attention_heads is 8 and head_dim is 8, and the shapes prove that" in found


def test_it_does_not_load_as_it_is(folders):
    found = inspect(folders["llama"], "*-*-").preflight
    assert found.reasons == (
        "its names are those of a transformers model, which megatron does not read: it has to be exported",
    )
    assert len(inspect(folders["llama"], "*-*E").preflight.reasons) == 2


# ------------------------------------------------------------------------- names of releases, by hand


def layer(number: int, **names: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"model.layers.{number}.{name.replace('__', '.')}": shape for name, shape in names.items()}


AROUND = {"model.embed_tokens.weight": (32, 16), "model.norm.weight": (16,), "lm_head.weight": (32, 16)}
LATENT = {
    "self_attn__q_a_proj__weight": (6, 16), "self_attn__q_a_layernorm__weight": (6,), "self_attn__q_b_proj__weight": (24, 6),
    "self_attn__kv_a_proj_with_mqa__weight": (7, 16), "self_attn__kv_a_layernorm__weight": (5,),
    "self_attn__kv_b_proj__weight": (28, 5), "self_attn__o_proj__weight": (16, 12), "input_layernorm__weight": (16,),
    "post_attention_layernorm__weight": (16,),
}  # fmt: skip
DENSE = {
    "mlp__gate_proj__weight": (20, 16), "mlp__up_proj__weight": (20, 16), "mlp__down_proj__weight": (16, 20),
}  # fmt: skip


def test_deepseek_with_a_multi_token_layer_behind_the_others():
    mtp = {
        "eh_proj__weight": (16, 32),
        "enorm__weight": (16,),
        "hnorm__weight": (16,),
        "shared_head__norm__weight": (16,),
    }
    mtp |= {"embed_tokens__weight": (32, 16), "shared_head__head__weight": (32, 16)}
    found = as_canonical(AROUND | layer(0, **LATENT, **DENSE) | layer(1, **LATENT, **DENSE, **mtp))
    assert found.unknown == ()
    inferred = infer(found.shapes)
    assert (str(inferred.pattern), inferred.findings) == ("+-/+-", ())
    assert {name: inferred.values[name] for name in ("num_attention_heads", "qk_rope_head_dim", "v_head_dim")} == {
        "num_attention_heads": 4, "qk_rope_head_dim": 2, "v_head_dim": 3,
    }  # fmt: skip
    assert found.shapes["mtp.layers.0.eh_proj.weight"] == (16, 32)


def test_all_experts_in_one_tensor_either_way_round():
    attention = {
        **{f"self_attn__{name}_proj__weight": (16, 16) for name in "qkvo"},
        "input_layernorm__weight": (16,), "post_attention_layernorm__weight": (16,), "mlp__gate__weight": (3, 16),
    }  # fmt: skip
    for first, second in (((3, 40, 16), (3, 16, 20)), ((3, 16, 40), (3, 20, 16))):
        experts = {"mlp__experts__gate_up_proj": first, "mlp__experts__down_proj": second}
        inferred = infer(as_canonical(AROUND | layer(0, **attention, **experts)).shapes)
        assert (str(inferred.pattern), inferred.findings) == ("*E", ())
        assert (inferred.values["moe_experts"], inferred.values["moe_ffn"], inferred.values["gated"]) == (3, 20, True)


def test_names_of_nobody_are_kept_apart():
    names = AROUND | layer(0, **LATENT, **DENSE, nobody__knows=(3,)) | {"model.visual.blocks.0.attn.weight": (3,)}
    assert as_canonical(names).unknown == ("model.visual.blocks.0.attn.weight", "layer 0: nobody.knows")
    assert as_canonical({}).shapes == {}
