"""Checkpoints are canonical: fused and unfused models write the same and read each other's, weights and all around them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.models.hybrid.hybrid_block import HybridStack
from megatron.core.models.hybrid.hybrid_model import HybridModel

from tests.fusion.checkpoints import Training, differing, memory
from workbench.arch.sizes import ModelSizes
from workbench.checkpoint.mismatch import CheckpointMismatch
from workbench.errors import WorkbenchError
from workbench.fusion import runtime
from workbench.fusion.adapters import LocalNorm
from workbench.fusion.checkpointing import (
    load_checkpoint,
    save_checkpoint,
    stored_shapes,
    stored_tensors,
    stored_values,
)
from workbench.fusion.config import transformer_config
from workbench.fusion.local_spec import local_stack_spec
from workbench.fusion.model import build_model
from workbench.fusion.state import canonical_state_dict
from workbench.pattern.model import Pattern

TWINS = ["M[*-][ME]G/[*-]/[*-]", "M*-MEG/*-/*-"]
LATENT = ["[+-][DE]", "+-DE"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A trained fused model's checkpoint and its unfused twin's."""
    folder = tmp_path_factory.mktemp("saved")
    for name, pattern in zip(("fused", "unfused"), TWINS, strict=True):
        training = Training(pattern).train(0, 2)
        save_checkpoint(folder / name, training.model, training.optimizer, iteration=2, extra={"note": "twin"})
    return folder


def test_twins_write_the_same_tensors(saved):
    fused, unfused = stored_tensors(saved / "fused"), stored_tensors(saved / "unfused")
    assert differing(fused, unfused) == []
    assert len(fused) > 100
    assert stored_shapes(saved / "fused") == stored_shapes(saved / "unfused")


def test_twins_write_the_same_values_beside_them(saved):
    fused, unfused = stored_values(saved / "fused"), stored_values(saved / "unfused")
    assert str(fused) == str(unfused)
    assert fused["workbench"] == {"pattern": TWINS[1], "extra": {"note": "twin"}}


def test_nothing_in_the_files_says_fused(saved):
    for path in (saved / "fused").iterdir():
        content = path.read_bytes()
        assert b"[*-]" not in content, path.name
        assert b"[ME]" not in content, path.name
    assert not [name for name in stored_shapes(saved / "fused") if "decoder.layers.1.mlp." in name]


@pytest.mark.parametrize(
    ("source", "target"), [("fused", TWINS[1]), ("unfused", TWINS[0]), ("fused", "M*-[ME]G/*-/*-")]
)
def test_any_fusion_reads_it(saved, source, target):
    model = build_model(target, seed=9, backend="local")
    assert differing(canonical_state_dict(model), Training(TWINS[1]).train(0, 2).weights())
    places = memory(model)
    loaded = load_checkpoint(saved / source, model)
    assert (loaded.iteration, loaded.extra) == (2, {"note": "twin"})
    assert differing(canonical_state_dict(model), Training(TWINS[1]).train(0, 2).weights()) == []
    assert memory(model) == places


def test_latent_attention(tmp_path):
    fused, unfused = (build_model(pattern, seed=seed, backend="local") for seed, pattern in enumerate(LATENT))
    save_checkpoint(tmp_path / "a", fused)
    load_checkpoint(tmp_path / "a", unfused)
    save_checkpoint(tmp_path / "b", unfused)
    assert differing(stored_tensors(tmp_path / "a"), stored_tensors(tmp_path / "b")) == []


@pytest.mark.parametrize(
    "extra",
    [
        None,
        {},
        {"a": 1, "b": 2.5, "c": "text", "d": None, "e": True, "f": b"\0"},
        {"nested": {"list": [1, [2, {"x": 3}]], "tuple": (1, (2,)), "empty": {}, "none": []}, 5: "number"},
    ],
)
def test_extra_comes_back(tmp_path, extra):
    model = build_model("M", seed=1, backend="local")
    save_checkpoint(tmp_path / "c", model, iteration=7, extra=extra)
    loaded = load_checkpoint(tmp_path / "c", model)
    assert (loaded.iteration, loaded.extra) == (7, extra or {})


@pytest.mark.parametrize(
    ("extra", "where"),
    [
        ({"run": object()}, "extra['run'] is a object"),
        ({"list": [1, {"deep": {3}}]}, "extra['list'][1]['deep'] is a set"),
        ({"array": torch.zeros(1)}, "extra['array'] is a Tensor"),
        ({("a", 1j): 2}, "extra[1] is a complex"),
    ],
)
def test_extra_that_could_not_be_read_again_is_not_written(tmp_path, extra, where):
    with pytest.raises(WorkbenchError) as caught:
        save_checkpoint(tmp_path / "c", build_model("M", seed=1, backend="local"), extra=extra)
    assert str(caught.value) == f"{where}: only plain values are stored beside a model"
    assert list(tmp_path.iterdir()) == []


def test_another_pattern_is_refused_and_nothing_changes(saved):
    model = build_model("M[*-][M-]G/[*-]/[*-]", seed=9, backend="local")
    before = {name: value.clone() for name, value in canonical_state_dict(model).items()}
    with pytest.raises(
        CheckpointMismatch, match="sub-layer 4 is MLP, and the checkpoint holds mixture of experts there"
    ):
        load_checkpoint(saved / "fused", model)
    assert differing(before, canonical_state_dict(model)) == []


def test_another_size_is_refused_and_nothing_changes(saved):
    model = build_model(TWINS[0], ModelSizes(vocab_size=256), seed=9, backend="local")
    before = {name: value.clone() for name, value in canonical_state_dict(model).items()}
    with pytest.raises(CheckpointMismatch, match="the padded vocabulary is 256 in the model and 128 in"):
        load_checkpoint(saved / "fused", model)
    assert differing(before, canonical_state_dict(model)) == []


class PlainStack(HybridStack):
    """Upstream's stack as it is; only the norm at its end, which needs Transformer Engine, is another."""

    def __init__(self, config, submodules, **arguments):
        super().__init__(config, submodules, post_layer_norm=False, **arguments)
        self.post_layer_norm = True
        self.final_norm = LocalNorm(config=config, hidden_size=config.hidden_size, eps=config.layernorm_epsilon)


@pytest.mark.parametrize("pattern", ["M*-MEG", "+-DE"])
def test_a_checkpoint_of_upstreams_own_model_and_writer(tmp_path, pattern):
    running = runtime.start()
    config = transformer_config(Pattern(pattern), ModelSizes())
    spec = local_stack_spec(config)
    spec.module = PlainStack
    runtime.seed(4)
    plain = HybridModel(
        config=config,
        hybrid_stack_spec=spec,
        vocab_size=128,
        max_sequence_length=64,
        hybrid_layer_pattern=pattern,
        position_embedding_type="rope" if "*" in pattern else "none",
        pg_collection=running.groups,
    )
    (tmp_path / "plain").mkdir()
    metadata = {"dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True)}
    state = {"model": plain.sharded_state_dict(metadata=metadata), "iteration": 5}
    dist_checkpointing.save(state, str(tmp_path / "plain"))
    fused = build_model(str(Pattern(pattern).fused()), seed=9, backend="local")
    assert load_checkpoint(tmp_path / "plain", fused).iteration == 5
    save_checkpoint(tmp_path / "fused", fused)
    assert differing(stored_tensors(tmp_path / "plain"), stored_tensors(tmp_path / "fused")) == []
    # And the other way: upstream's reader and model, our file.
    state = {"model": plain.sharded_state_dict(metadata=metadata)}
    plain.load_state_dict(dist_checkpointing.load(state, str(tmp_path / "fused"))["model"])


SCRIPT = """
import json, sys
import psutil
from workbench.fusion.checkpointing import load_checkpoint, save_checkpoint
from workbench.fusion.model import build_model
me = psutil.Process()
model = build_model("[M-]", seed=1, backend="local")
# gloo itself listens on the loopback, once a process group.
before = len(me.net_connections())
save_checkpoint(sys.argv[1], model)
load_checkpoint(sys.argv[1], model)
print(json.dumps({"children": len(me.children(recursive=True)), "ports": len(me.net_connections()) - before}))
"""


def test_no_process_is_left_and_no_port_is_opened(tmp_path):
    # Without `if __name__ == "__main__"`: a spawned process would run it again.
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path / "c"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {"children": 0, "ports": 0}
