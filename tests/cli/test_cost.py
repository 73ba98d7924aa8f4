import json

import pytest

from workbench.arch.architecture import Architecture
from workbench.arch.presets import preset
from workbench.cost.summary import estimate

from ..render.pages import assert_self_contained


def test_a_preset(run):
    done = run("cost", "Nemotron-3-Super-120B-A12B")
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "Nemotron-3-Super-120B-A12B"
    assert lines[2].startswith("123,611,012,096 parameters · 12,770,216,960 active for a token")
    for said in ("FLOPs of one token, of 8,192.", "keys and values", "source: "):
        assert said in done.out


def test_a_preset_under_another_spelling(run):
    assert run("cost", "llama-3-8b").out == run("cost", "LLAMA 3 8B").out


def test_json_has_the_fields_of_the_design(run):
    data = json.loads(run("cost", "M[*-]M[ME]|M-*-/[*-]", "--json", "--sequence-length", "512").out)
    assert data["schema"] == "workbench.cost/1"
    assert {"total", "embedding", "active", "by_kind", "by_stage"} <= data["parameters"].keys()
    cost = estimate(Architecture("M[*-]M[ME]|M-*-/[*-]"), sequence_length=512)
    assert data["flops_per_token"] == cost.flops.training_per_token
    assert data["parameters"]["total"] == cost.parameters.total
    assert [rank["total_bytes"] for rank in data["memory"]["pipeline_ranks"]] == [rank.bytes for rank in cost.ranks]
    assert data["notes"] == ["the sizes are the tiny defaults; --sizes FILE.json takes a model's own"]


def test_sizes_from_a_file(run, tmp_path):
    (tmp_path / "sizes.json").write_text(json.dumps(preset("llama-3-8b").sizes.to_json()))
    done = run("cost", "*-" * 32, "--sizes", "sizes.json")
    assert "8,030,261,248 parameters" in done.out
    assert "tiny defaults" not in done.out


def test_a_hugging_face_configuration(run, tmp_path):
    config = {
        "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 100, "hidden_act": "silu",
    }  # fmt: skip
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    total = 2 * 100 * 64 + 64 + 2 * (2 * 64 + 64 * 64 * 2 + 2 * 32 * 64 + 3 * 64 * 96)
    for path in ("model/config.json", "model"):
        assert json.loads(run("cost", path, "--json").out)["parameters"]["total"] == total


def test_a_configuration_of_layers_that_are_no_symbols(run, tmp_path):
    config = {
        "model_type": "jamba", "hidden_size": 64, "num_hidden_layers": 8, "num_attention_heads": 4, "vocab_size": 100,
        "num_key_value_heads": 2, "intermediate_size": 96, "num_experts": 4, "num_experts_per_tok": 2,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = run("cost", "config.json")
    assert done.status == 2
    assert done.err.startswith("workbench: error: config.json: 'M' (Mamba-2) needs mamba_state_dim, mamba_head_dim")
    assert "Mamba-1" in done.err


SCRIPT = """\
#!/bin/bash
torchrun --nproc-per-node 8 pretrain_mamba.py \\
    --hybrid-layer-pattern "M-M*-" --hidden-size 64 --num-attention-heads 4 --ffn-hidden-size 96 --vocab-size 100 \\
    --mamba-head-dim 16 --mamba-num-groups 2 --disable-bias-linear --normalization RMSNorm --position-embedding-type none \\
    --seq-length 64 --max-position-embeddings 64 --lr 1e-4
"""


def test_a_megatron_script(run, tmp_path):
    (tmp_path / "train.sh").write_text(SCRIPT)
    data = json.loads(run("cost", "train.sh", "--json").out)
    assert (data["pattern"], data["sizes"]["ffn_hidden_size"], data["title"]) == ("M-M*-", 96, "train.sh")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("torchrun train.py --hidden-size 64", "train.sh: "),
        ("torchrun train.py --hybrid-layer-pattern 'M[*' --hidden-size 64 --num-attention-heads 4", "^"),
    ],
)
def test_a_script_that_says_too_little(run, tmp_path, text, said):
    (tmp_path / "train.sh").write_text(text)
    done = run("cost", "train.sh")
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err


def test_details_print_weights_and_formulas(run):
    plain, detailed = run("cost", "M").out, run("cost", "M", "--details").out
    for said in ("mixer.in_proj.layer_norm_weight", "FLOPs a token of one layer of each kind."):
        assert said not in plain
        assert said in detailed


def test_a_page(run, tmp_path):
    done = run("cost", "M[*E]|M-", "-o", "cost.html")
    assert (done.status, done.out, done.err) == (0, "", "wrote cost.html\n")
    page = assert_self_contained((tmp_path / "cost.html").read_text())
    for heading in ("FLOPs", "Pipeline stages", "Memory of each rank", "Inference state", "Weights", "Formulas"):
        assert heading in page.text
    assert run("cost", "M[*E]|M-", "-o", "cost.html").status == 2


def test_ranks(run):
    done = run("cost", "M[*E]|M-", "--tp", "2", "--ep", "2", "--dp", "2", "--recompute", "core_attn,mlp")
    assert "of 8 ranks: tensor 2 × pipeline 2 × data 2, experts over 2" in " ".join(done.out.split())
    assert "recompute: core_attn,mlp" in done.out
    one = json.loads(run("cost", "M[*E]|M-", "--pp", "1", "--json").out)
    assert len(one["memory"]["pipeline_ranks"]) == 1


def test_a_vocabulary_that_is_not_published(run):
    done = run("cost", "Megatron test flextron MoE", "--vocab-size", "1000")
    assert done.status == 0
    assert "parameters" in done.out


REFUSED = {
    (
        "cost",
    ): "needs a pattern, a preset's name, a config.json or a Megatron script, such as: workbench cost nemotron-h-8b",
    ("cost", "none.sh"): "none.sh: No such file or directory",
    ("cost", "Nemotron-3-Supr"): "no preset is named 'Nemotron-3-Supr': did you mean 'Nemotron-3-Super-120B-A12B'",
    ("cost", "falcon-h1"): "Falcon-H1 (all sizes) cannot be written as a pattern: attention and Mamba run side by side",
    ("cost", "none.json"): "none.json: No such file or directory",
    (
        "cost",
        "Megatron test flextron MoE",
    ): "Megatron test flextron MoE comes without a vocab_size: --vocab-size says one",
    ("cost", "llama-3-8b", "--tp", "7"): "num_attention_heads 32 cannot be divided over 7 tensor-parallel ranks",
    ("cost", "llama-3-8b", "--sizes", "x"): "Llama-3 8B has its own sizes; --sizes goes with a pattern",
    ("cost", "M|M|M", "--pp", "2"): "3 stages cannot be divided over 2 pipeline ranks",
    ("cost", "E", "--ep", "3"): "tensor 1 × data 1 ranks are not a multiple of expert 3",
    ("cost", "M", "--recompute", "all"): "recompute must be none, full, or modules of core_attn",
    ("cost", ""): "an empty pattern has no layers: there is nothing to count",
    ("report",): "such as: workbench report nemotron-h-8b -o review.html",
    ("draw",): "such as: workbench draw nemotron-h-8b -o pattern.svg",
    ("draw", "M[*"): "unclosed-group",
    ("balance", "--stages", "2"): "workbench balance needs a pattern, a preset's name, a config.json",
    ("balance", "MMM"): "the following arguments are required: --stages",
    ("balance", "MMM", "--stages", "10001"): "stages must be at most 10000",
    ("cost", "M", "--micro-batch", "9" * 400): "--micro-batch: expected a whole number of at most 18 digits, not 400",
    ("cost", "\x1b[31m.json"): "workbench: error: \\x1b[31m.json: No such file or directory",
}


def test_an_empty_stage(run):
    done = run("cost", "M||M")
    assert (done.status, done.err) == (0, "")


def test_the_name_of_a_file_cannot_write_to_the_terminal(run, tmp_path):
    (tmp_path / "a\x1b[31m.json").write_text('{"model_type": "llama"}')
    done = run("cost", "a\x1b[31m.json")
    assert done.status == 0
    assert done.out.startswith("a\\x1b[31m.json\n")


@pytest.mark.parametrize("argv", REFUSED, ids=" ".join)
def test_what_is_refused(run, argv):
    done = run(*argv)
    assert (done.status, done.out) == (2, "")
    assert REFUSED[argv] in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"hidden_size": "wide"}', "hidden_size must be a whole number of at least 1, not 'wide'"),
        ('{"hiden_size": 64}', "unknown field 'hiden_size'"),
        ('{"hidden_size": 64,}', "line 1, column 2"),
        ("[1]", "sizes must be an object"),
        ('{"moe_topk": 9, "moe_experts": 4}', "moe_topk 9 is more than moe_experts 4"),
    ],
)
@pytest.mark.parametrize("command", [("cost", "M-"), ("balance", "M-", "--stages", "2")])
def test_a_broken_sizes_file(run, tmp_path, command, text, said):
    (tmp_path / "sizes.json").write_text(text)
    done = run(*command, "--sizes", "sizes.json")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("workbench: error: sizes.json: ")
    assert said in done.err


def test_a_wrong_pattern_is_shown_with_carets(run):
    for pattern in ("M[*", "m[*-]", "M*-q*"):
        done = run("cost", pattern)
        assert done.status == 2
        assert "^" in done.err


# ------------------------------------------------------------------------------------------- balance


def test_balance_places_stages(run):
    done = run("balance", "M-M-M-M-", "--stages", "2", "--by", "parameters")
    assert (done.status, done.err) == (0, "")
    assert "efficiency without bubbles" in done.out
    assert "Pattern:\n  M-M-|M-M-\n" in done.out


def test_balance_shows_what_was_there(run):
    done = run("balance", "M|[*-]M[*-]M", "--stages", "2")
    assert "The stages that it had" in done.out
    assert "The stages that it had" not in run("balance", "M[*-]M", "--stages", "2").out


def test_balance_json(run):
    data = json.loads(run("balance", "nemotron-h-56b", "--stages", "16", "--json").out)
    assert data["schema"] == "workbench.balance/1"
    assert data["pattern"].count("|") == 15
    assert len(data["stage_costs"]) == 16
    assert data["slowest_stage"] == data["stage_costs"].index(max(data["stage_costs"]))
    assert data["before"] is None


def test_balance_page(run, tmp_path):
    run("balance", "M[*-]M|M", "--stages", "2", "-o", "stages.html")
    assert_self_contained((tmp_path / "stages.html").read_text())
