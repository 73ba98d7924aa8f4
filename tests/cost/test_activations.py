"""What a forward keeps, from the formulas alone: arguments, sums, recompute, parallelism, and what papers say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.cost.activations import (
    IMPLEMENTATIONS,
    MODULES,
    Activations,
    Recompute,
    activation_bytes,
    activation_terms,
)
from workbench.errors import WorkbenchError
from workbench.pattern.symbols import SYMBOLS


def keep(pattern: str, sizes: ModelSizes | None = None, **arguments: Any) -> Activations:
    arguments = {"sequence_length": 64, "implementation": "local"} | arguments
    return activation_bytes(Architecture(pattern, sizes or ModelSizes()), **arguments)


# ---------------------------------------------------------------------------------------- the result


def test_sums_agree() -> None:
    kept = keep("M[*-]M[ME]|M-*-/[*-]/[*-]", micro_batch=2)
    assert [(block.index, block.symbols, block.stage) for block in kept.blocks] == [
        (0, "M", 0), (1, "*-", 0), (2, "M", 0), (3, "ME", 0), (4, "M", 1), (5, "-", 1), (6, "*", 1), (7, "-", 1),
    ]  # fmt: skip
    assert sum(kept.by_stage) == kept.total == sum(piece.bytes for piece in kept.pieces)
    assert [piece.depth for piece in kept.pieces if piece.what == "MTP projection"] == [0, 1]
    assert [piece.depth for piece in kept.pieces if piece.what == "block" and piece.depth is not None] == [0, 1]
    assert all(block.input_bytes == 64 * 2 * 64 * 2 for block in kept.blocks)
    assert json.loads(json.dumps(kept.to_json()))["total_bytes"] == kept.total


def test_an_empty_stage_keeps_nothing() -> None:
    assert keep("M||M").by_stage[1] == 0
    assert keep("M||M").total == keep("M|M").total
    assert keep("M|").total == keep("|M").total == keep("M").total


def test_only_the_local_implementation_is_verified() -> None:
    assert keep("[*-]").verified
    assert not keep("[*-]", implementation="te").verified
    assert not keep("[*-]", tensor_parallel=2).verified


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_row_has_a_source_and_known_modules(symbol: str, implementation: str) -> None:
    for row in activation_terms(symbol, implementation):
        assert row.formula.source
        assert row.dropped_by | row.kept_by <= set(MODULES)


def test_terms_are_shown_as_people_write_them() -> None:
    (block,) = keep("-", micro_batch=2).blocks
    assert [(term.name, term.formula, term.bytes) for term in block.terms] == [
        ("input of the norm", "nw·s·b·h", 4 * 64 * 2 * 64),
        ("norm: normed, before its weight", "rms·4·s·b·h", 4 * 64 * 2 * 64),
        ("norm: statistics", "(2 - rms)·nw·s·b", 4 * 64 * 2),
        ("input of the first linear", "w·s·b·h", 2 * 64 * 2 * 64),
        ("what the activation reads", "act·w·s·b·f", 4 * 2 * 64 * 2 * 128),
        ("input of the last linear", "w·s·b·f", 2 * 64 * 2 * 128),
    ]


# ----------------------------------------------------------------------------------- what papers say


def test_a_dense_layer_is_that_of_korthikanti() -> None:
    """arXiv 2205.05198: 34·s·b·h bytes a layer (section 4.1), less what flash attention and GELU's mask-free kernels change.

    Their 34 are: attention 11 (input 2, q and k 4, v 2, last linear's input 2, mask 1), MLP 19 (2, 8, 8, 1), norms 4. Here a
    fused norm's output is counted as the linear's input, as there; beside it are the norms' statistics and the softmax's normaliser.
    """
    h, s, b, a = 64, 32, 3, 4
    sizes = ModelSizes(
        hidden_size=h, num_attention_heads=a, num_query_groups=None, ffn_hidden_size=4 * h, activation="gelu",
        normalization="LayerNorm", hidden_dropout=0.1, attention_dropout=0.1,
    )  # fmt: skip
    (block,) = keep("[*-]", sizes, implementation="te", sequence_length=s, micro_batch=b).blocks
    statistics = 2 * 2 * 4 * s * b
    assert block.bytes == 34 * s * b * h + statistics + 4 * b * a * s


def test_tensor_and_sequence_parallelism_are_those_of_korthikanti() -> None:
    """Section 4.2: s·b·h·(10 + 24/t) with tensor parallelism, everything by t with sequence parallelism."""
    h, s = 64, 32
    sizes = ModelSizes(
        hidden_size=h, num_query_groups=None, ffn_hidden_size=4 * h, activation="gelu", hidden_dropout=0.1
    )

    def bytes_of(**arguments: Any) -> int:
        (block,) = keep("[*-]", sizes, implementation="te", sequence_length=s, **arguments).blocks
        return sum(term.bytes for term in block.terms if "statistics" not in term.name and "softmax" not in term.name)

    assert bytes_of() == 34 * s * h
    assert bytes_of(tensor_parallel=4) == s * h * (10 + 24 // 4)
    assert bytes_of(tensor_parallel=4, sequence_parallel=True) == 34 * s * h // 4


def test_flash_attention_keeps_no_scores() -> None:
    def share(length: int, implementation: str) -> float:
        (block,) = keep("*", sequence_length=length, implementation=implementation).blocks
        return block.bytes / length

    assert share(1024, "te") == share(64, "te")
    assert share(1024, "local") > 4 * share(64, "local")


# ---------------------------------------------------------------------------------------- recompute


def test_full_recompute_keeps_one_input_a_block() -> None:
    fused, unfused = (keep(pattern, recompute="full") for pattern in ("[M-][*-]", "M-*-"))
    assert [block.bytes for block in fused.blocks] == [64 * 64 * 2] * 2
    assert [block.bytes for block in unfused.blocks] == [64 * 64 * 2] * 4
    assert unfused.total - fused.total == 2 * 64 * 64 * 2


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("module", "pattern"),
    [("core_attn", "[*-]"), ("mla_up_proj", "[+-]"), ("mlp", "[M-]"), ("moe", "[ME]"), ("layernorm", "[+E]")],
)
def test_selective_recompute_keeps_less(module: str, pattern: str, implementation: str) -> None:
    whole = keep(pattern, implementation=implementation)
    assert keep(pattern, implementation=implementation, recompute=module).total < whole.total
    if module == "core_attn":
        without, recomputed = (keep("[M-]", implementation=implementation, recompute=r) for r in ("none", module))
        assert recomputed.total == without.total


def test_a_lone_mamba_layer_computes_no_norm_again() -> None:
    lone, fused = (keep(pattern, recompute="layernorm").blocks[0] for pattern in ("M", "[M-]"))
    assert lone.bytes == keep("M").blocks[0].bytes
    assert fused.bytes < keep("[M-]").blocks[0].bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", Recompute()),
        ("full", Recompute(full=True)),
        ("mlp, core_attn", Recompute(modules=frozenset({"mlp", "core_attn"}))),
    ],
)
def test_recompute_is_read_and_written(text: str, expected: Recompute) -> None:
    assert Recompute.of(text) == Recompute.of(expected) == expected
    assert Recompute.of(str(expected)) == expected


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequence_length": 0}, "sequence_length must be a whole number of at least 1, not 0"),
        ({"sequence_length": True}, "sequence_length must be a whole number of at least 1, not True"),
        ({"micro_batch": -1}, "micro_batch must be a whole number of at least 1, not -1"),
        ({"micro_batch": 1.5}, "micro_batch must be a whole number of at least 1, not 1.5"),
        ({"tensor_parallel": 0}, "tensor_parallel must be a whole number of at least 1, not 0"),
        ({"implementation": "gpu"}, "implementation must be one of te, local, not 'gpu'"),
        (
            {"recompute": "moe_act"},
            "recompute must be none, full, or modules of core_attn, layernorm, mla_up_proj, mlp, moe, shared_experts, not 'moe_act'",
        ),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkbenchError) as error:
        keep("[*-]", **arguments)
    assert str(error.value) == message


def test_bad_recomputes_and_symbols() -> None:
    with pytest.raises(WorkbenchError, match="unknown module attn"):
        Recompute(modules=frozenset({"attn"}))
    with pytest.raises(WorkbenchError, match="leaves no modules"):
        Recompute(full=True, modules=frozenset({"mlp"}))
    with pytest.raises(WorkbenchError, match="no layer kind 'K'"):
        activation_terms("K")
