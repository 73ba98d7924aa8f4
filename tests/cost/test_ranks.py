"""What ranks hold: parts that sum to the whole, sizes that must divide, and the memory that Megatron's guide gives."""

from __future__ import annotations

import math

import pytest

from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.cost.ranks import Parallel, held, rank_memory, stages_of
from workbench.errors import WorkbenchError


def test_one_rank_holds_everything():
    (found,) = rank_memory(Architecture("M[*-]E"))
    total = Architecture("M[*-]E").parameters
    assert found.parameters == total
    assert (found.weight_bytes, found.gradient_bytes, found.optimizer_bytes) == (2 * total, 4 * total, 12 * total)
    assert found.bytes == 18 * total


def test_fp32_has_no_master_weights():
    (found,) = rank_memory(Architecture("M", dtype="fp32"))
    assert found.bytes == 16 * found.parameters


def test_a_balancing_bias_is_weight_memory_only():
    plain, biased = (rank_memory(Architecture("E", ModelSizes(moe_router_bias=bias)))[0] for bias in (False, True))
    assert biased.weight_bytes - plain.weight_bytes == 4 * 4
    assert (biased.parameters, biased.optimizer_bytes) == (plain.parameters, plain.optimizer_bytes)


def test_the_distributed_optimizer_is_divided_over_the_replicas():
    architecture = Architecture("M[*-]")
    whole, shared = (
        rank_memory(architecture, Parallel(data=4), distributed_optimizer=value)[0] for value in (False, True)
    )
    # 6 + 12/d bytes a parameter, as Megatron's guide has it; every row is rounded up to whole bytes.
    assert 0 <= shared.optimizer_bytes - whole.optimizer_bytes / 4 < len(held(architecture, Parallel(data=4), 0))
    assert shared.gradient_bytes == whole.gradient_bytes


def test_pipeline_ranks_hold_their_stages():
    architecture = Architecture("M|[*-]|M|-", ModelSizes(tied_embeddings=True))
    by_rank = rank_memory(architecture, Parallel(pipeline=2))
    assert [rank.stages for rank in by_rank] == [(0, 2), (1, 3)]
    embedding = 128 * 64
    # The last rank has a copy of the tied embedding.
    assert sum(rank.parameters for rank in by_rank) == architecture.parameters + embedding
    (one,) = rank_memory(architecture)
    assert one.parameters == architecture.parameters


@pytest.mark.parametrize(("pattern", "copies"), [("M|-", 0), ("M|-/*-", 1)])
def test_mtp_looks_tokens_up_on_the_last_rank(pattern, copies):
    architecture = Architecture(pattern)
    held_in_all = sum(rank.parameters for rank in rank_memory(architecture, Parallel(pipeline=2)))
    assert held_in_all - architecture.parameters == copies * 128 * 64


def test_a_pattern_without_stages_is_split_evenly():
    found = rank_memory(Architecture("M-M-"), Parallel(pipeline=2))
    assert [rank.stages for rank in found] == [(0,), (0,)]
    assert stages_of(Architecture("M-M-"), Parallel(pipeline=2), 1) == (0,)
    assert found[0].parameters - found[1].parameters == -64  # the final norm


def test_tensor_ranks_divide_what_megatron_divides():
    architecture = Architecture("[*-]", ModelSizes(qk_layernorm=True, linear_bias=True, normalization="LayerNorm"))
    shapes = {entry.weight.name: entry.weight.shape for entry in held(architecture, Parallel(tensor=2), 0)}
    assert shapes["self_attention.linear_qkv.weight"] == (64, 64)
    assert shapes["self_attention.linear_qkv.bias"] == (64,)
    assert shapes["self_attention.linear_proj.weight"] == (64, 32)
    assert shapes["self_attention.linear_proj.bias"] == (64,)
    assert shapes["self_attention.q_layernorm.weight"] == (16,)
    assert shapes["embedding.word_embeddings.weight"] == (64, 64)


@pytest.mark.parametrize(
    ("parallel", "copies", "shape", "replicas"),
    [
        (Parallel(expert=2, data=2), 2, (128, 64), 1),
        (Parallel(expert=2, data=4), 2, (128, 64), 2),
        (Parallel(tensor=2, expert=2, data=2), 2, (64, 64), 1),
        (Parallel(tensor=2, expert=4, data=2, expert_tensor=1), 1, (128, 64), 1),
    ],
)
def test_experts_are_divided_by_themselves(parallel, copies, shape, replicas):
    rows = [entry for entry in held(Architecture("E"), parallel, 0) if entry.weight.expert]
    assert [(row.weight.copies, row.replicas) for row in rows] == [(copies, replicas)] * 2
    assert rows[0].weight.shape == shape


def test_replicas_times_parts_is_the_whole():
    architecture, parallel = Architecture("M[*E]"), Parallel(tensor=2, expert=2, data=4)
    for entry in held(architecture, parallel, 0):
        whole = next(row for row in entry.part.rows if row.name == entry.weight.name)
        parts = math.prod(whole.shape) * whole.copies / entry.weight.elements
        ranks = parallel.ranks if entry.weight.expert else parallel.data * (parts if whole.tp_axis is not None else 1)
        assert entry.replicas * parts == ranks


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Parallel(tensor=0), "tensor parallel size must be a whole number of at least 1, not 0"),
        (lambda: Parallel(data=True), "data parallel size must be a whole number of at least 1, not True"),
        (
            lambda: Parallel(expert=4, data=2),
            "tensor 1 × data 2 ranks are not a multiple of expert 4 × expert tensor 1: a stage's ranks must hold whole copies "
            "of its experts",
        ),
        (
            lambda: rank_memory(Architecture("E"), Parallel(expert=3, data=3)),
            "4 experts cannot be divided over 3 expert-parallel ranks",
        ),
        (
            lambda: rank_memory(Architecture("-"), Parallel(tensor=3)),
            "embedding.word_embeddings.weight has 128 on axis 0, which cannot be divided over 3 tensor-parallel ranks; "
            "vocab_multiple pads the vocabulary",
        ),
        (
            lambda: rank_memory(Architecture("-", ModelSizes(vocab_multiple=3)), Parallel(tensor=3)),
            "decoder.layers.0.mlp.linear_fc1.weight has 256 on axis 0, which cannot be divided over 3 tensor-parallel ranks",
        ),
        (
            lambda: rank_memory(Architecture("M"), Parallel(tensor=4)),
            "mamba_num_groups 2 cannot be divided over 4 tensor-parallel ranks",
        ),
        (
            lambda: rank_memory(Architecture("M|M|M"), Parallel(pipeline=2)),
            "3 stages cannot be divided over 2 pipeline ranks",
        ),
        (
            lambda: rank_memory(Architecture("[*-]M"), Parallel(pipeline=2)),
            "3 sub-layers cannot be split evenly over 2 ranks; place '|'",
        ),
    ],
)
def test_what_does_not_come_out_even(call, said):
    with pytest.raises(WorkbenchError) as caught:
        call()
    assert str(caught.value) == said
