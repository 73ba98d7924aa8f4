"""Reading command lines: megatron's defaults, every flag with a rule, shapes of scripts, and every refusal in words."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.arch.megatron.arguments import from_arguments
from workbench.arch.sizes import ModelSizes, SizesError
from workbench.errors import WorkbenchError
from workbench.pattern.diagnostics import PatternError
from workbench.pattern.model import Pattern

# The least that says a model.
LEAST = ["--hidden-size", "64", "--num-attention-heads", "4", "--max-position-embeddings", "32", "--vocab-size", "100"]


def test_what_megatron_means_where_nothing_is_said() -> None:
    found = from_arguments(["--hybrid-layer-pattern", "M*-EG", "--num-experts", "4", *LEAST, "--mamba-head-dim", "16"])
    assert found.caveats == ()
    assert found.sizes == ModelSizes(
        hidden_size=64, vocab_size=100, vocab_multiple=128, max_sequence_length=32, tied_embeddings=True,
        position_embedding="learned_absolute", normalization="LayerNorm", linear_bias=True, num_attention_heads=4,
        num_query_groups=None, ffn_hidden_size=256, activation="gelu", mamba_state_dim=128, mamba_head_dim=16,
        mamba_num_groups=8, gdn_num_key_heads=16, gdn_num_value_heads=32, gdn_key_head_dim=128, gdn_value_head_dim=128,
        moe_ffn=256, moe_aux_loss_coeff=0.0, hidden_dropout=0.1, attention_dropout=0.1, q_lora_rank=None,
        kv_lora_rank=None, qk_nope_head_dim=None, qk_rope_head_dim=None, v_head_dim=None, dsa_index_heads=None,
        dsa_index_head_dim=None, dsa_index_topk=None,
    )  # fmt: skip


def read(pattern: str, *more: str) -> Any:
    return from_arguments(["--hybrid-layer-pattern", pattern, *LEAST, *more])


def test_kinds_that_the_pattern_does_not_have_are_not_there() -> None:
    found = read("-", "--num-experts", "4", "--mamba-head-dim", "16").sizes
    assert (found.moe_experts, found.mamba_head_dim, found.num_attention_heads) == (None, None, None)


@pytest.mark.parametrize(
    ("pattern", "flags", "field", "value"),
    [
        ("-", ("--swiglu",), "ffn_hidden_size", 128),  # 4/3 of 128 is 170
        ("-", ("--squared-relu",), "activation", "squared_relu"),
        ("*", ("--num-query-groups", "2"), "num_query_groups", None),
        ("*", ("--group-query-attention",), "num_query_groups", 1),
        ("*", ("--use-rotary-position-embeddings",), "position_embedding", "rope"),
        ("+", ("--position-embedding-type", "rope"), "kv_lora_rank", 32),
        ("+", ("--position-embedding-type", "none"), "position_embedding", "rope"),
        ("M", ("--padded-vocab-size", "128", "--mamba-head-dim", "16"), "vocab_size", 128),
        ("-", ("--padded-vocab-size", "128"), "vocab_multiple", 1),
        ("-", ("--no-pad-vocab-size",), "vocab_multiple", 1),
        ("-", ("--tensor-model-parallel-size", "4"), "vocab_multiple", 512),
        ("-", ("--hidden-size", "32", "--hidden-size=128"), "hidden_size", 128),
        ("E", ("--num-experts", "4", "--swiglu"), "moe_ffn", 128),
        ("-", ("--max-position-embeddings", "128", "--seq-length", "32"), "max_sequence_length", 128),
        ("*", ("--softmax-type", "learnable"), "attention_sinks", True),
    ],
)
def test_a_flag(pattern: str, flags: tuple[str, ...], field: str, value: Any) -> None:
    found = read(pattern, *flags)
    assert (getattr(found.sizes, field), found.caveats) == (
        value,
        ()
        if "+" not in pattern or "none" in flags or "rope" in flags
        else ("--position-embedding-type='learned_absolute': latent attention rotates all the same",),
    )


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        (["--hybrid-layer-pattern", "M[*-]"], "M[*-]"),
        (["--hybrid-override-pattern", "M*-"], "M*-"),
        (["--hybrid-layer-pattern=-M"], "-M"),
        (["--hybrid-layer-pattern", "M-/M/M"], "M-/M/M"),
        (["--hybrid-layer-pattern", "M-", "--mtp-hybrid-override-pattern", "M", "--mtp-num-layers", "2"], "M-/M/M"),
        (["--hybrid-layer-pattern", "M-", "--mtp-hybrid-override-pattern", "M"], "M-"),
    ],
)
def test_the_pattern_new_and_old(words: list[str], pattern: str) -> None:
    found = from_arguments([*words, *LEAST, "--mamba-head-dim", "16"])
    assert (found.pattern, found.caveats) == (Pattern(pattern), ())


CAVEATS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "gamma": ("-", ("--apply-layernorm-1p",), "--apply-layernorm-1p=True: norms multiply by one plus their weight"),
    "window": ("*", ("--window-size", "(128,0)"), "--window-size='(128,0)': attention sees a window"),
    "softmax": ("*", ("--softmax-type", "off-by-one"), "--softmax-type='off-by-one': the softmax has one more, fixed"),
    "yarn": ("+", ("--rotary-scaling-factor", "40"), "--position-embedding-type='learned_absolute': latent"),
    "stretched": (
        "+",
        ("--position-embedding-type", "rope", "--rotary-scaling-factor", "40"),
        "--rope-type='yarn': frequencies are stretched by --rotary-scaling-factor=40.0",
    ),
    "groups": ("-", ("--moe-router-num-groups", "8"), "--moe-router-num-groups=8: experts are chosen within groups"),
    "fp8": ("-", ("--fp8-format", "hybrid"), "--fp8-format='hybrid': linears compute in 8 bits"),
    "init": ("-", ("--init-method-xavier-uniform",), "--init-method-xavier-uniform: initial weights are not drawn"),
    "spec": ("-", ("--spec", "my.specs", "stack"), "--spec=['my.specs', 'stack']: says which modules are built"),
    "layers": ("-", ("--num-layers", "2"), "--num-layers=2: the pattern has 1 sub-layers, and that counts"),
    "depths": ("-", ("--mtp-num-layers", "2"), "--mtp-num-layers=2: the pattern has 0 MTP depths, and that counts"),
    "unknown": ("-", ("--no-such-flag", "7", "8"), "--no-such-flag: not a flag of Megatron-LM that is known here"),
    "checkpoint": ("-", ("--use-checkpoint-args",), "--use-checkpoint-args: sizes are read from the checkpoint"),
    "interpolation": ("*", ("--rotary-seq-len-interpolation-factor", "4"), "--rotary-seq-len-interpolation-factor=4:"),
}  # fmt: skip


@pytest.mark.parametrize("case", CAVEATS)
def test_what_has_no_place_is_said(case: str) -> None:
    pattern, flags, said = CAVEATS[case]
    found = read(pattern, *flags)
    assert [caveat for caveat in found.caveats if caveat.startswith(said)], found.caveats


@pytest.mark.parametrize(
    "flags",
    [
        ("--spec", "megatron.core.models.hybrid.hybrid_layer_specs", "hybrid_stack_spec"),
        ("--moe-router-num-groups", "1"),
        ("--mtp-loss-scaling-factor", "0.1"),
        ("--num-layers", "1"),
        ("--micro-batch-size", "4", "--lr", "1e-4", "--train-iters", "10", "--pipeline-model-parallel-size", "8"),
        ("--data-path", "0.5", "a", "0.5", "b", "--save", "$DIR", "--recompute-modules", "moe", "mlp", "--bf16"),
        ("--null-tokenizer-pad-id", "-1"),
    ],
)
def test_what_changes_nothing_is_passed_over(flags: tuple[str, ...]) -> None:
    assert read("-", *flags) == read("-")


# ------------------------------------------------------------------------------------------- scripts

BARE = " ".join(LEAST)


@pytest.mark.parametrize(
    "text",
    [
        f"--hybrid-layer-pattern - {BARE}",
        f"--hybrid-layer-pattern -\n{BARE}\n",
        f"--hybrid-layer-pattern - \\\n{BARE} # all",
        f"python pretrain.py --hybrid-layer-pattern '-' {BARE}\necho done --now\n",
        f"torchrun --nnodes 2 $MORE pretrain.py --hybrid-layer-pattern - {BARE} | tee $LOG",
        f"A=(--hybrid-layer-pattern -)\nB='{BARE}'",
        f'OPTIONS="--hybrid-layer-pattern - {BARE}"\nRUN="python -u $DIR/pretrain.py ${{OPTIONS}}"\nsrun -l sh -c "$RUN"',
        f"python prepare.py --input x\npython pretrain.py --hybrid-layer-pattern - {BARE}",
    ],
)
def test_shapes_of_scripts(text: str) -> None:
    assert from_arguments(text) == read("-")


REFUSED: dict[str, tuple[list[str] | str, str]] = {
    "nothing": ("", "there is no --hybrid-layer-pattern: a hybrid model needs one"),
    "no pattern": (LEAST, "there is no --hybrid-layer-pattern: a hybrid model needs one"),
    "two commands": (
        f"a.py --hybrid-layer-pattern - {BARE}\nb.py --hybrid-layer-pattern - {BARE}",
        "2 commands have a layer pattern: give one of them",
    ),
    "both patterns": (
        ["--hybrid-layer-pattern", "-", "--hybrid-override-pattern", "-", *LEAST],
        "--hybrid-layer-pattern and --hybrid-override-pattern are one flag, new and old: give one",
    ),
    "a pattern without a value": (["--hybrid-layer-pattern", *LEAST], "--hybrid-layer-pattern has no value"),
    "a variable": (
        f"H=$BIG\npretrain.py --hybrid-layer-pattern - {BARE} --hidden-size $H",
        "--hidden-size is '$BIG', and $BIG is not set (once) in the text",
    ),
    "a variable in an argument list": (
        ["--hybrid-layer-pattern", "$PATTERN", *LEAST],
        "--hybrid-layer-pattern is '$PATTERN', and $PATTERN is not set (once) in the text",
    ),
    "a variable that may hold flags": (
        f"pretrain.py --hybrid-layer-pattern - {BARE} $MORE",
        "$MORE is not set (once) in the text, and flags may be in it: write out what it holds",
    ),
    "a variable before the flags": (
        f"pretrain.py $MORE --hybrid-layer-pattern - {BARE}",
        "$MORE is not set (once) in the text, and flags may be in it: write out what it holds",
    ),
    "a variable behind a switch": (
        f"pretrain.py --hybrid-layer-pattern - {BARE} --bf16 $MORE",
        "$MORE is not set (once) in the text, and flags may be in it: write out what it holds",
    ),
    "flags that a condition adds": (
        f"A='--swiglu'\nif [ $1 ]; then A+=' --bf16'; fi\npretrain.py --hybrid-layer-pattern - {BARE} $A",
        "$A is not set (once) in the text, and flags may be in it: write out what it holds",
    ),
    "a word too many": (
        ["--hybrid-layer-pattern", "M-", "data", *LEAST],
        "--hybrid-layer-pattern takes one value, not 'data' too",
    ),
    "a switch with a value": (["--hybrid-layer-pattern", "-", "--swiglu", "true"], "--swiglu takes no value, not 'true' too"),
    "no value": (["--hybrid-layer-pattern", "-", *LEAST, "--kv-channels"], "--kv-channels has no value"),
    "no number": (
        ["--hybrid-layer-pattern", "-", *LEAST, "--hidden-size", "4k"],
        "--hidden-size must be a whole number, not '4k'",
    ),
    "a number without end": (
        ["--hybrid-layer-pattern", "-", *LEAST, "--hidden-size", "9" * 5000],
        f"--hidden-size must be a whole number, not '{'9' * 5000}'",
    ),
    "no finite number": (
        ["--hybrid-layer-pattern", "*", *LEAST, "--rotary-percent", "nan"],
        "--rotary-percent must be a number, not 'nan'",
    ),
    "no width": (["--hybrid-layer-pattern", "-", *LEAST[2:]], "--hidden-size is missing"),
    "no length": (
        ["--hybrid-layer-pattern", "-", *LEAST[:4]],
        "--max-position-embeddings is missing, and so is --seq-length",
    ),
    "no heads": (
        ["--hybrid-layer-pattern", "*", *LEAST[:2], *LEAST[4:]],
        "the pattern has '*' (self-attention), and these flags are missing: --num-attention-heads",
    ),
    "zero heads": (
        ["--hybrid-layer-pattern", "*", *LEAST, "--num-attention-heads", "0"],
        "--num-attention-heads must be at least 1, not 0",
    ),
    "a width of zero": (
        ["--hybrid-layer-pattern", "*", *LEAST, "--hidden-size", "0"],
        "--hidden-size must be at least 1, not 0",
    ),
    "heads that do not divide": (
        ["--hybrid-layer-pattern", "*", *LEAST, "--num-attention-heads", "5"],
        "--hidden-size 64 is not a multiple of --num-attention-heads 5: --kv-channels is missing",
    ),
    "experts that are not there": (
        ["--hybrid-layer-pattern", "E", *LEAST],
        "the pattern has 'E' (mixture of experts), and these flags are missing: --num-experts",
    ),
    "an indexer that is not there": (
        ["--hybrid-layer-pattern", "D", *LEAST, "--q-lora-rank", "8", "--dsa-indexer-topk", "4"],
        "the pattern has 'D' (DeepSeek sparse attention), and these flags are missing: --dsa-indexer-n-heads, "
        "--dsa-indexer-head-dim",
    ),
    "no such Mamba layer": (
        ["--hybrid-layer-pattern", "M", *LEAST],
        "the pattern has 'M' (Mamba-2), and no such layer has --mamba-state-dim 128 --mamba-head-dim 64 "
        "--mamba-num-groups 8 with --hidden-size 64",
    ),
    "quick GELU": (
        ["--hybrid-layer-pattern", "-", *LEAST, "--quick-geglu"],
        "--quick-geglu is a gated sigmoid approximation of GELU, which the sizes do not know",
    ),
    "two activations": (
        ["--hybrid-layer-pattern", "-", *LEAST, "--swiglu", "--squared-relu"],
        "--swiglu and --squared-relu exclude each other",
    ),
    "many depths": (
        ["--hybrid-layer-pattern", "-", "--mtp-hybrid-override-pattern", "M", "--mtp-num-layers", "99999", *LEAST],
        "--mtp-num-layers 99999 is too many to write out",
    ),
    "relative positions": (
        ["--hybrid-layer-pattern", "*", *LEAST, "--position-embedding-type", "relative"],
        "position_embedding_type 'relative' has no place in the sizes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    arguments, said = REFUSED[case]
    with pytest.raises(WorkbenchError) as error:
        from_arguments(arguments)
    assert str(error.value) == said


def test_a_pattern_that_is_none_and_sizes_that_are_none() -> None:
    with pytest.raises(PatternError):
        from_arguments(["--hybrid-layer-pattern", "XY", *LEAST])
    with pytest.raises(SizesError, match="moe_topk 9 is more than moe_experts 4"):
        read("E", "--num-experts", "4", "--moe-router-topk", "9")
