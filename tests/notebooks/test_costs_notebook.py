"""The notebook of costs says what its prose claims, for the model that it comes with and for others."""

from dataclasses import replace

import pytest

from workbench import Architecture, preset, presets
from workbench.cost.activations import activation_bytes
from workbench.cost.flops import flops
from workbench.cost.stages import best_stages

from .running import COSTS, NOTEBOOKS, executed, once, outputs, shown_text, stderr

(PATH,) = (path for path in NOTEBOOKS if path.stem == COSTS)


@pytest.fixture(scope="module")
def costs():
    """What the notebook shows for its own model."""
    return shown_text(once(PATH)[0])


@pytest.mark.parametrize(
    "said",
    [
        "31,577,937,344 parameters · 3,580,073,408 active for a token",
        "DeepSeek-V3 / R1: The published count holds 14,848 router biases",
        "Nemotron-3-Nano-30B-A3B. Tensors whose name, shape or dtype is not as predicted: 0.",
        "tensors                 6,231           6,231",
        "One size wrong: 6 of 6,231 tensors are not as predicted.",
        "Mamba, forward: 2 × hidden wide                2.36 GFLOP  1.86 GFLOP   ×1.27",
        "training: without MTP                          20.8 GFLOP  26.9 GFLOP   ×0.77",
        "training: 6 × all parameters                    197 GFLOP  26.9 GFLOP   ×7.35",
        "keys and values: in all 52 sub-layers             416 MiB    48.0 MiB   ×8.67",
        "keys and values: in all 29 blocks, once fused     232 MiB    48.0 MiB   ×4.83",
        "hidden_size 1024 is not a multiple of num_attention_heads 15: set head_dim",
        "Attention sees a window of 4096 tokens only.",
        "vocabulary 50,304, dropout 0.1",
    ],
)
def test_the_story_is_told(costs, said):
    assert said in costs


def test_torch_counts_what_was_predicted(costs):
    counted = rows_below(costs, "FLOPs of one forward pass.")
    assert [row[-1] for row in counted] == ["yes", "yes"]
    assert [row[-2] for row in counted] == [row[-3] for row in counted]


def test_a_hybrid_is_the_cheaper_one_only_where_the_sequence_is_long(costs):
    shares = [float(row[-2]) for row in rows_below(costs, "Training FLOPs of one token.")]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 100 > shares[1] > 25 > shares[-1]


def test_the_differences_of_published_counts_are_explained(costs):
    exact = [entry for entry in presets() if entry.exact_parameters]
    gaps = {entry: abs(entry.architecture().parameters - entry.exact_parameters) for entry in exact}
    equal = sum(gap == 0 for gap in gaps.values())
    assert f"{equal} of {len(exact)} counts are the published number." in costs
    assert equal > 10
    for entry, gap in gaps.items():
        if gap:
            (why,) = (caveat for caveat in entry.caveats if f"{gap:,}" in caveat)
            assert f"{entry.name}: {why}" in costs


@pytest.mark.parametrize("entry", [entry for entry in presets() if entry.expressible], ids=lambda entry: entry.name)
def test_only_full_recompute_tells_fused_from_unfused(entry):
    sizes = entry.sizes if entry.sizes.vocab_size else replace(entry.sizes, vocab_size=1000)
    twins = [Architecture(pattern, sizes) for pattern in (entry.pattern.unfused(), entry.pattern.fused())]
    for recompute in ("none", "core_attn", "mlp", "moe", "full"):
        plain, fused = (activation_bytes(twin, sequence_length=8192, recompute=recompute).total for twin in twins)
        assert fused < plain if recompute == "full" else fused == plain, recompute


def test_the_model_with_mtp_is_the_other_one_with_mtp():
    plain, deep = (preset(name).architecture() for name in ("Nemotron-3-Nano-30B-A3B", "Nemotron-3.5-Lightning"))
    without, counted = flops(plain, sequence_length=8192), flops(deep, sequence_length=8192)
    assert str(plain.pattern) == deep.pattern.main
    assert without.by_kind == {kind: number for kind, number in counted.by_kind.items() if kind != "mtp"}
    # "More than an even share, and then no placement is even, not even one that leaves the last stage no layers at all."
    behind = (counted.by_kind["output layer"] + counted.by_kind["mtp"]) / counted.forward_per_token
    best = best_stages(deep, 4)
    assert behind > 1 / 4
    assert best.pattern.stages[-1] == ()
    assert best.efficiency == pytest.approx(1 / 4 / behind)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Llama-3 8B", ["Llama-3 8B. Tensors whose name, shape or dtype is not as predicted: 0.", "100.0 %"]),
        # Tens of thousands of experts, a gated delta net, MTP.
        (
            "Qwen3-Next-80B-A3B",
            ["Qwen3-Next-80B-A3B. Tensors whose name, shape or dtype is not as predicted: 0.", "50,745"],
        ),
        # Not built by the local modules; an odd number of stages would not do.
        (
            "DeepSeek-V3 / R1",
            ["DeepSeek-V3 / R1: ", "Llama-3 8B. Tensors whose name, shape or dtype is not as predicted: 0."],
        ),
        # Not every layout divides it.
        ("Granite-4.0-H-Micro", ["2×1×8×8: mamba_num_groups 1 cannot be divided", "as predicted: 0."]),
    ],
)
def test_it_takes_another_model(name, said, tmp_path):
    notebook = executed(PATH, tmp_path, name)
    text = shown_text(notebook)
    assert stderr(notebook) == []
    assert [output for output in outputs(notebook) if output.output_type == "error"] == []
    for words in said:
        assert words in text
    assert [row[-1] for row in rows_below(text, "FLOPs of one forward pass.")] == ["yes", "yes"]


def rows_below(text, caption):
    """The words of every row of the table under a caption: two lines of head, then lines that are indented."""
    lines = text[text.index(caption) :].splitlines()[3:]
    end = next((place for place, line in enumerate(lines) if not line.startswith("  ")), len(lines))
    return [line.split() for line in lines[:end]]
