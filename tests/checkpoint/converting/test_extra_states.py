"""The `_extra_state` objects that a model asks for are those that megatron stores, and follow their module when it is renamed."""

from __future__ import annotations

import pytest

from tests.checkpoint import stored
from tests.checkpoint.megatron_checkpoints import GPT_KINDS, KINDS
from workbench.checkpoint.buffers import MemoryBuffer
from workbench.checkpoint.converting.extra_states import carried, is_extra_state, needed
from workbench.checkpoint.layouts import arranged, layout_of
from workbench.checkpoint.reading.dcp_metadata import read_metadata
from workbench.checkpoint.reading.torch_dist import open_torch_dist
from workbench.checkpoint.source import StoredObject

# The layers of this one are numbered; a GPT model's otherwise are an axis.
HYBRID = [kind for kind in KINDS if kind not in GPT_KINDS]


def objects_of(folder) -> set[str]:
    return {name for name in read_metadata(folder).objects if is_extra_state(name)}


@pytest.mark.parametrize("kind", [*HYBRID, *GPT_KINDS])
def test_local_models_store_what_is_predicted(megatron_saves, kind):
    folder = megatron_saves(kind)
    assert objects_of(folder)
    assert set(needed(open_torch_dist(folder).tensors, gpt=kind in GPT_KINDS, te=False)) == objects_of(folder)


def test_transformer_engine_has_more():
    names = [
        "decoder.layers.0.pre_mlp_layernorm.weight",
        "decoder.layers.0.self_attention.q_layernorm.weight",
        "decoder.layers.1.mixer.norm.weight",
        "decoder.final_norm.weight",
        "mtp.layers.0.enorm.weight",
        "embedding.word_embeddings.weight",
        "optimizer.state.exp_avg.decoder.final_norm.weight",
    ]
    tensors = {name: stored.in_memory((4,)) for name in names}
    assert list(needed(tensors, gpt=False, te=True)) == [
        "decoder.layers.0.pre_mlp_layernorm._extra_state/shard_0_1",
        "decoder.layers.0.self_attention.q_layernorm._extra_state/shard_0_1",
        "decoder.final_norm._extra_state/shard_0_1",
        "mtp.layers.0.enorm._extra_state/shard_0_1",
    ]


@pytest.mark.parametrize("kind", ["gpt", "gpt experts", "gpt in layers"])
def test_each_follows_its_module_there_and_back(megatron_saves, kind):
    source = open_torch_dist(megatron_saves(kind))
    data = MemoryBuffer(stored.random_bytes(1000))
    marked = {key: StoredObject(data, place, 1) for place, key in enumerate(sorted(objects_of(megatron_saves(kind))))}
    layout = layout_of(source)
    canonical = arranged(layout, "canonical", form="distributed")
    there = carried(source.tensors, marked, canonical)
    assert len(there) == len(marked)
    assert {entry.start for entry in there.values() if entry} == set(range(len(marked)))
    assert set(there) == set(needed(canonical, gpt=True, te=False))
    back = carried(canonical, {key: entry for key, entry in there.items() if entry}, source.tensors)
    assert back == marked


def test_the_right_one(megatron_saves):
    source = open_torch_dist(megatron_saves("gpt experts"))
    data = MemoryBuffer(stored.random_bytes(10))
    key = "decoder.layers.mlp.experts.experts.linear_fc2._extra_state/shard_1.3_3.4"
    canonical = arranged(layout_of(source), "canonical", form="distributed")
    found = carried(source.tensors, {key: StoredObject(data, 0, 1)}, canonical)
    assert list(found) == ["decoder.layers.3.mlp.experts.experts.linear_fc2._extra_state/shard_3_4"]
