"""Command lines: there and back, a published script, and what no flag can say."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings

from tests.contracts.architectures import MEDIUM, ODD, OPTIONS, TINY, plain_sizes, random_cases
from workbench.arch.architecture import Architecture
from workbench.arch.megatron.arguments import as_script, from_arguments, to_arguments
from workbench.arch.presets import preset
from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

SIZES = {"tiny": TINY, "odd": ODD, "medium": MEDIUM}
# A launch of Nemotron-3-Nano-30B-A3B as its publishers size it, written for this test.
NANO = r"""
#!/bin/bash
# The published sizes.
HIDDEN=2688
PATTERN='MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME'
MODEL_ARGS=(
    --is-hybrid-model --hybrid-override-pattern "$PATTERN"
    --spec megatron.core.models.mamba.mamba_layer_specs mamba_stack_spec
    --num-layers 52 --hidden-size $HIDDEN --ffn-hidden-size 1856 --squared-relu
    --num-attention-heads 32 --group-query-attention --num-query-groups 2 --kv-channels 128
    --mamba-num-heads 64 --mamba-head-dim 64   # a state of 128 in 8 groups is the default
    --normalization RMSNorm --disable-bias-linear --untie-embeddings-and-output-weights
    --position-embedding-type none --init-method-std 0.0173
    --attention-dropout 0.0 --hidden-dropout 0.0
)
MOE_ARGS="--num-experts 128 --moe-router-topk 6 --moe-ffn-hidden-size 1856 \
    --moe-shared-expert-intermediate-size 3712 --moe-router-score-function sigmoid \
    --moe-router-enable-expert-bias --moe-router-topk-scaling-factor 2.5 --moe-router-dtype fp32 \
    --moe-router-load-balancing-type seq_aux_loss --moe-aux-loss-coeff 0.0001 --moe-grouped-gemm"

torchrun --nproc_per_node $GPUS pretrain_mamba.py ${MODEL_ARGS[@]} $MOE_ARGS \
    --seq-length 8192 --max-position-embeddings 262144 \
    --tensor-model-parallel-size 2 --expert-model-parallel-size 8 --sequence-parallel \
    --micro-batch-size 1 --global-batch-size 3072 --lr 1e-3 --train-samples 1000000 --bf16 \
    --tokenizer-type TikTokenizer --tokenizer-model $TOKENIZER --data-path $BLEND \
    --save "$RUN/checkpoints" --vocab-size 131072 >> "log.txt" 2>&1
"""


def test_a_published_launch_script() -> None:
    found, published = from_arguments(NANO), preset("Nemotron-3-Nano-30B-A3B")
    assert found.pattern == published.pattern
    assert published.sizes is not None
    expected = replace(published.sizes, moe_aux_loss_coeff=0.0, moe_shared_experts=None, vocab_multiple=256)
    assert plain_sizes(found.pattern, found.sizes) == plain_sizes(found.pattern, expected)
    assert Architecture(found.pattern, found.sizes).parameters == published.exact_parameters
    assert found.caveats == (
        "--moe-router-topk-scaling-factor=2.5: the chosen experts' scores are multiplied by it",
        "--moe-router-load-balancing-type='seq_aux_loss': balances the load another way",
    )


# ------------------------------------------------------------------------------------- there and back


def assert_there_and_back(text: str, sizes: ModelSizes) -> None:
    pattern = Pattern(text)
    arguments = to_arguments(pattern, sizes)
    found = from_arguments(arguments)
    assert found.caveats == ()
    assert found.pattern == pattern.unfused()
    assert plain_sizes(pattern, found.sizes) == plain_sizes(pattern, sizes)
    assert Architecture(pattern, found.sizes).built("local") == Architecture(pattern, sizes).built("local")
    assert to_arguments(found.pattern, found.sizes) == arguments
    assert from_arguments(as_script(pattern, sizes)) == found
    assert from_arguments(shlex.join(["python", "pretrain_mamba.py", *arguments])) == found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("option", [option for option in OPTIONS if option != "geglu"])
def test_every_option_comes_back(option: str, size: str) -> None:
    pattern, changes = OPTIONS[option]
    assert_there_and_back(pattern, ModelSizes(**{**SIZES[size], **changes}))


@given(random_cases())
@settings(max_examples=100, deadline=None)
def test_random_sizes_come_back(case: tuple[str, dict[str, Any]]) -> None:
    pattern, values = case
    assume(values["activation"] != "geglu" and not ("/" in pattern and values["position_embedding"].startswith("l")))
    assert_there_and_back(pattern, ModelSizes(**values))


SHAPELESS: dict[str, tuple[str, dict[str, Any]]] = {
    "epsilon": ("M", {"norm_epsilon": 1e-6}),
    "base": ("*", {"rotary_base": 500000}),
    "base, latent": ("+", {"rotary_base": 500000}),
    "percent": ("*", {"position_embedding": "rope 25%"}),
    "std": ("M", {"initializer_std": 0.01}),
    "dropout": ("*", {"hidden_dropout": 0.25, "attention_dropout": 0.5}),
    "one expert": ("E", {"moe_topk": 1}),
    "one expert, bias": ("E", {"moe_topk": 1, "moe_router_bias": True}),
    "balance": ("E", {"moe_aux_loss_coeff": 0.5}),
    "no balance": ("E", {"moe_aux_loss_coeff": 0.0}),
    "both balances": ("E", {"moe_router_bias": True, "moe_aux_loss_coeff": 0.5}),
    "indexer": ("D", {"dsa_index_topk": 3, "dsa_index_loss_coeff": 0.0}),
    "latent experts": ("E", {"moe_latent_size": 32}),
    "down projections": ("+", {"mla_down_proj_fusion": True}),
    "no vocabulary multiple": ("M", {"vocab_size": 1001, "vocab_multiple": 1}),
    "stages": ("M|*-", {}),
    "a dash first": ("-M*/-M", {}),
    "no heads": ("M", {"num_attention_heads": None, "num_query_groups": None}),
    "heads that do not divide": ("+", {"hidden_size": 50, "num_attention_heads": 4, "head_dim": 12, "mamba_num_heads": 2}),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPELESS)
def test_what_has_no_shape_comes_back(name: str) -> None:
    pattern, changes = SHAPELESS[name]
    assert_there_and_back(pattern, ModelSizes(**changes))


# --------------------------------------------------------------------------------------------- writing


def test_the_words() -> None:
    sizes = ModelSizes(position_embedding="none", tied_embeddings=True, linear_bias=True)
    assert to_arguments("M[*-]", sizes) == (
        "--hybrid-layer-pattern", "M*-", "--hidden-size", "64", "--normalization", "RMSNorm", "--norm-epsilon", "1e-05",
        "--hidden-dropout", "0.0", "--init-method-std", "0.02", "--max-position-embeddings", "64", "--seq-length", "64",
        "--vocab-size", "128", "--make-vocab-size-divisible-by", "1", "--position-embedding-type", "none",
        "--num-attention-heads", "4", "--group-query-attention", "--num-query-groups", "2", "--kv-channels", "16",
        "--attention-dropout", "0.0", "--swiglu", "--ffn-hidden-size", "128", "--mamba-state-dim", "16",
        "--mamba-head-dim", "16", "--mamba-num-groups", "2",
    )  # fmt: skip


def test_the_script() -> None:
    text = as_script("-*", ModelSizes())
    assert text.startswith("'--hybrid-layer-pattern=-*' \\\n--hidden-size 64 \\\n--normalization RMSNorm \\\n")
    assert text.endswith("--ffn-hidden-size 128\n")


@pytest.mark.parametrize(
    ("pattern", "changes", "said"),
    [
        ("-", {"activation": "geglu"}, "activation 'geglu' cannot be written: Megatron-LM has flags for 'swiglu', "),
        ("E", {"activation": "relu"}, "activation 'relu' cannot be written: Megatron-LM has flags for 'swiglu', "),
        ("*", {"position_embedding": "rope (yarn)"}, "position_embedding 'rope (yarn)' cannot be written: the sizes"),
        ("*", {"position_embedding": "mrope"}, "position_embedding 'mrope' cannot be written: the sizes do not hold"),
        (
            "*/*",
            {"position_embedding": "learned_absolute"},
            "position_embedding 'learned_absolute' cannot be written: Megatron-LM refuses it with MTP",
        ),
        ("M", {"mamba_state_dim": None}, "'M' (Mamba-2) needs mamba_state_dim, which the sizes leave out"),
    ],
)
def test_what_cannot_be_written(pattern: str, changes: dict[str, Any], said: str) -> None:
    for write in (to_arguments, as_script):
        with pytest.raises(WorkbenchError) as error:
            write(pattern, ModelSizes(**changes))
        assert str(error.value).startswith(said)


def test_an_unpublished_vocabulary_is_not_written() -> None:
    found = from_arguments(to_arguments("M", ModelSizes(vocab_size=None)))
    assert found.sizes.vocab_size is None
    assert found.caveats == ("--vocab-size is not there: the tokenizer decides, which the flags do not hold",)
