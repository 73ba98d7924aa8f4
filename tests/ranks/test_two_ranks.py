"""Models split over two ranks: their checkpoints are the canonical ones, and their losses those of one process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from tests.gpt_models import LAYERS, gpt, save_gpt
from tests.ranks.launch import RankFailure, group_is_alive, run_ranks
from tests.ranks.parts import unequal, whole
from tests.ranks.worker import SEED, batches, config_of, shards
from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.cost.ranks import Parallel, held, rank_memory
from workbench.errors import WorkbenchError
from workbench.fusion import runtime
from workbench.fusion.checkpointing import load_checkpoint, save_checkpoint, stored_tensors, stored_values
from workbench.fusion.gpt import load_gpt_checkpoint
from workbench.fusion.model import build_model
from workbench.fusion.names import canonical_parameters
from workbench.fusion.state import canonical_state_dict
from workbench.fusion.trainer import Trainer, accumulate_gradients, make_trainer, optimizer_state, train_step
from workbench.pattern.model import Pattern

pytestmark = pytest.mark.ranks

PIPELINE, TENSOR, EXPERT = {"pipeline_parallel": 2}, {"tensor_parallel": 2}, {"expert_parallel": 2}
# Case → pattern and what splits it. Megatron's experts need sequence parallelism under tensor parallelism.
SPLITS: dict[str, dict[str, Any]] = {
    "pipeline": {"pattern": "[M-][*-]|[ME]-", "parallel": PIPELINE},
    "tensor": {"pattern": "M[*-]", "parallel": TENSOR},
    "mtp": {"pattern": "[M-][*-]|[M-]/[*-]", "parallel": PIPELINE},
    "sequence": {"pattern": "[M-][*E]", "parallel": TENSOR, "config": {"sequence_parallel": True}},
    "expert": {"pattern": "M[*E]", "parallel": EXPERT},
    "data": {"pattern": "[M-][*-]", "parallel": {}, "distributed_optimizer": True},
}
ALL = sorted(SPLITS)
# Cut along the pipeline or over the data, every number is computed by the operations of one process in their order.
EXACT = ["data", "expert", "mtp", "pipeline"]
# Tensor parallelism adds up partial products of rows in another order: fp32 rounding of a loss near 4.9 (measured 5e-8).
TENSOR_RTOL = 1e-6
# The first moment after one step is a tenth of the clipped gradient. Along the pipeline only the norm that clips and the tied
# embedding's gradient are sums in another order; under tensor parallelism every gradient is. Relative to a tensor's largest
# entry; measured 0, 1.8e-7 (the tied embedding), 1.1e-6 and 1.8e-6.
GRADIENT_RTOL = {"pipeline": 1e-6, "mtp": 1e-6, "tensor": 1e-5, "sequence": 1e-5}


@dataclass
class Ranks:
    """What came of the run: the folder of checkpoints, and for every case the records of both ranks."""

    folder: Path
    records: list[dict[str, Any]]
    pids: list[int]

    def of(self, case: str) -> list[dict[str, Any]]:
        return [rank[case] for rank in self.records]

    def losses(self, case: str) -> list[float]:
        """The losses that were reported: by the last stage, or by every data-parallel rank."""
        return [record["loss"] for record in self.of(case) if record["loss"] is not None]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    """Every case on two ranks, in one start of the ranks: fused, unfused, and from a checkpoint of this process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    runtime.start()
    folder = tmp_path_factory.mktemp("ranks")
    plan: list[dict[str, Any]] = [{"name": "across", "pattern": "M[*-]M", "parallel": PIPELINE}]
    for name, split in SPLITS.items():
        unfused = str(Pattern(split["pattern"]).unfused())
        single = save_checkpoint(folder / f"{name}.single", build(unfused, seed=SEED + 1))
        plan += [{**split, "name": name, "save": str(folder / name)}]
        plan += [{**split, "name": f"{name}.unfused", "pattern": unfused, "save": str(folder / f"{name}.unfused")}]
        plan += [{**split, "name": f"{name}.loaded", "save": str(folder / f"{name}.loaded"), "load": str(single)}]
        resumed = {"pattern": unfused, "save": str(folder / f"{name}.resumed"), "resume": str(folder / name)}
        plan += [{**split, **resumed, "name": f"{name}.resumed"}]
    source = str(save_gpt(gpt(ModelSizes()), folder / "gpt"))
    for name, pattern, parallel in (
        ("gpt pipeline", "[*-]|[*-][*-]", PIPELINE),
        ("gpt tensor", "[*-]" * LAYERS, TENSOR),
    ):
        plan += [{"name": name, "pattern": pattern, "parallel": parallel, "gpt": source, "save": str(folder / name)}]
    pids = run_ranks(plan, folder)
    records = [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    yield Ranks(folder, records, pids)
    torch.set_num_threads(threads)


def build(pattern: str, seed: int = 99) -> Any:
    return build_model(pattern, config_of({"pattern": pattern}), seed=seed)


def trainer_of(case: str, pattern: str | None = None) -> Trainer:
    """The case's model in this process, with weights of its own."""
    distributed = SPLITS[case].get("distributed_optimizer", False)
    return make_trainer(
        build(pattern or SPLITS[case]["pattern"]), learning_rate=1e-2, distributed_optimizer=distributed
    )


PARALLEL = {"pipeline_parallel": "pipeline", "tensor_parallel": "tensor", "expert_parallel": "expert"}


@pytest.mark.parametrize("case", ALL)
def test_the_ranks_hold_what_was_predicted(ranks: Ranks, case: str) -> None:
    """`workbench.cost.ranks` says the shape of every weight of every rank."""
    sizes = {PARALLEL[name]: size for name, size in SPLITS[case]["parallel"].items()}
    replicas = {} if "tensor" in sizes or "pipeline" in sizes else {"data": 2}
    parallel = Parallel(**{**replicas, **sizes})
    architecture = Architecture(SPLITS[case]["pattern"], dtype="fp32")
    for number, record in enumerate(ranks.of(case)):
        rank = number if "pipeline" in sizes else 0
        expected = sorted(
            weight.shape
            for entry in held(architecture, parallel, rank)
            for weight in entry.weight.each()
            if weight.trained
        )
        assert sorted(tuple(weight.shape) for weight in record["named"].values()) == expected
        (memory,) = [entry for entry in rank_memory(architecture, parallel) if entry.pipeline_rank == rank]
        assert memory.weight_bytes == sum(weight.numel() * 4 for weight in record["named"].values())


def weights(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in stored.items() if not name.startswith("optimizer.")}


@pytest.mark.parametrize("case", ALL)
def test_checkpoint_holds_what_the_ranks_held(ranks: Ranks, case: str) -> None:
    """Weights and moments of both ranks, put together, are the file's, bit for bit."""
    held = whole([part for record in ranks.of(case) for part in record["shards"]])
    for kind in ranks.of(case)[0]["optimizer_shards"]:
        moments = whole([part for record in ranks.of(case) for part in record["optimizer_shards"][kind]])
        held |= {f"optimizer.state.{kind}.{name}": tensor for name, tensor in moments.items()}
    stored = stored_tensors(ranks.folder / case)
    if case == "data":
        stored = weights(stored)
    assert unequal(stored, held) == []


@pytest.mark.parametrize("case", ["mtp", "pipeline"])
def test_pipeline_stages_hold_their_sublayers_under_global_numbers(ranks: Ranks, case: str) -> None:
    """Stage 0 names sub-layers 0 to 3, stage 1 goes on from 4; only MTP's embedding is on both."""
    first, last = (record["named"] for record in ranks.of(case))
    numbers = [{int(n.split(".")[2]) for n in names if n.startswith("decoder.layers.")} for names in (first, last)]
    assert numbers == [{0, 1, 2, 3}, {4, 5, 6} if case == "pipeline" else {4, 5}]
    assert sorted(first.keys() & last.keys()) == (["embedding.word_embeddings.weight"] if case == "mtp" else [])


def test_expert_ranks_hold_their_experts_under_global_numbers(ranks: Ranks) -> None:
    """Of four experts rank 0 names 0 and 1, rank 1 names 2 and 3, with the weights that one process then finds there."""
    trainer = trainer_of("expert")
    load_checkpoint(ranks.folder / "expert", trainer.model)
    whole_model = canonical_state_dict(trainer.model)
    start = "decoder.layers.2.mlp.experts.linear_fc1.weight"
    for record, experts in zip(ranks.of("expert"), [(0, 1), (2, 3)], strict=True):
        named = record["named"]
        assert {name for name in named if name.startswith(start)} == {f"{start}{expert}" for expert in experts}
        assert unequal({name: whole_model[name] for name in named}, named) == []


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("case", [case for case in ALL if case != "expert"])
def test_one_process_loads_it(ranks: Ranks, case: str, fused: bool, tmp_path: Path) -> None:
    """One process reads weights and optimizer, fused or not; what it holds, and writes again, is what the ranks held."""
    pattern = SPLITS[case]["pattern"]
    trainer = trainer_of(case, pattern if fused else str(Pattern(pattern).unfused()))
    loaded = load_checkpoint(ranks.folder / case, trainer.model, trainer.optimizer)
    assert loaded.iteration == 1
    held = whole([part for record in ranks.of(case) for part in record["shards"]])
    assert unequal(whole(shards(trainer.model)), held) == []
    if "pipeline_parallel" in SPLITS[case]["parallel"]:
        named = {name: tensor for record in ranks.of(case) for name, tensor in record["named"].items()}
        assert unequal({n: t for n, t in canonical_state_dict(trainer.model).items() if n in named}, named) == []
    if case != "data":
        steps = {float(t) for n, t in optimizer_state(trainer).items() if n.startswith("step.")}
        assert steps == {1.0}
    again = save_checkpoint(tmp_path / "again", trainer.model, trainer.optimizer, iteration=1)
    assert unequal(stored_tensors(again), stored_tensors(ranks.folder / case)) == []


@pytest.mark.parametrize("pattern", ["M[*E]", "M*E"])
def test_one_process_loads_the_weights_of_parallel_experts(ranks: Ranks, pattern: str) -> None:
    """Weights are the same whatever splits them; the optimizer is another chain there, which is said, and changes nothing."""
    trainer = trainer_of("expert", pattern)
    before = {name: tensor.clone() for name, tensor in canonical_state_dict(trainer.model).items()}
    with pytest.raises(
        WorkbenchError, match=r"expert holds the settings of 2 optimizer\(s\), and this is a chain of 1"
    ):
        load_checkpoint(ranks.folder / "expert", trainer.model, trainer.optimizer)
    assert unequal(canonical_state_dict(trainer.model), before) == []
    load_checkpoint(ranks.folder / "expert", trainer.model)
    held = whole([part for record in ranks.of("expert") for part in record["shards"]])
    assert unequal(whole(shards(trainer.model)), held) == []


@pytest.mark.parametrize("case", ALL)
def test_resuming_on_the_ranks_is_going_on(ranks: Ranks, case: str) -> None:
    """The fused run's checkpoint, resumed unfused on as many ranks, holds the same bits and has the same next loss."""
    assert unequal(stored_tensors(ranks.folder / f"{case}.resumed"), stored_tensors(ranks.folder / case)) == []
    resumed, gone_on = ranks.of(f"{case}.resumed"), ranks.of(case)
    assert [record["loss"] for record in resumed] == [record["next_loss"] for record in gone_on]


@pytest.mark.parametrize("stage", ["", ".start"], ids=["after a step", "before it"])
@pytest.mark.parametrize("case", ALL)
def test_twins_write_one_checkpoint(ranks: Ranks, case: str, stage: str) -> None:
    """Fused and unfused from one seed: the same names, shapes, bytes, and the same pattern on record."""
    fused, unfused = ranks.folder / f"{case}{stage}", ranks.folder / f"{case}.unfused{stage}"
    assert unequal(stored_tensors(fused), stored_tensors(unfused)) == []
    assert stored_values(fused)["workbench"] == stored_values(unfused)["workbench"]


@pytest.mark.parametrize("case", ALL)
def test_twins_take_the_same_step(ranks: Ranks, case: str) -> None:
    """Fused and unfused from one seed: the same loss and gradient norm to the last bit, on every rank."""
    told = [[(r["loss"], r["grad_norm"]) for r in ranks.of(name)] for name in (case, f"{case}.unfused")]
    assert told[0] == told[1]


@pytest.mark.parametrize("start", ["", ".loaded"], ids=["from the ranks' weights", "from one process's weights"])
@pytest.mark.parametrize("case", ALL)
def test_loss_is_that_of_one_process(ranks: Ranks, case: str, start: str) -> None:
    """One process that starts from the same weights has the ranks' losses."""
    trainer = trainer_of(case)
    load_checkpoint(ranks.folder / f"{case}{start}.start", trainer.model)
    losses = ranks.losses(f"{case}{start}")
    here = [accumulate_gradients(trainer, batches(replica)) for replica in range(len(set(losses)))]
    expected = here if len(here) == len(losses) else here * 2
    assert losses == (expected if case in EXACT else pytest.approx(expected, rel=TENSOR_RTOL, abs=0))


@pytest.mark.parametrize("case", sorted(GRADIENT_RTOL))
def test_gradients_are_those_of_one_process(ranks: Ranks, case: str) -> None:
    """One step in one process has the ranks' gradients, but for the rounding of sums over ranks."""
    trainer = trainer_of(case)
    load_checkpoint(ranks.folder / f"{case}.start", trainer.model)
    result = train_step(trainer, batches(0))
    assert result.grad_norm == pytest.approx(ranks.of(case)[0]["grad_norm"], rel=1e-6, abs=0)
    state = optimizer_state(trainer)
    moments = {weight: state[f"exp_avg.{name}"] for name, weight in canonical_parameters(trainer.model).items()}
    mine = whole(shards(trainer.model, moments))
    held = whole([part for record in ranks.of(case) for part in record["optimizer_shards"]["exp_avg"]])
    assert mine.keys() == held.keys()
    far = {name: float((mine[name] - held[name]).abs().max() / held[name].abs().max()) for name in mine}
    assert {name: distance for name, distance in far.items() if distance > GRADIENT_RTOL[case]} == {}


@pytest.mark.parametrize("case", ALL)
def test_loading_from_one_process_changes_no_bit(ranks: Ranks, case: str) -> None:
    """What two ranks write right after loading one process's checkpoint is that checkpoint."""
    assert (
        unequal(stored_tensors(ranks.folder / f"{case}.loaded.start"), stored_tensors(ranks.folder / f"{case}.single"))
        == []
    )


@pytest.mark.parametrize("case", ["gpt pipeline", "gpt tensor"])
def test_ranks_load_a_gpt_checkpoint(ranks: Ranks, case: str) -> None:
    """What two ranks write right after loading a GPT model's checkpoint is what one process does, and so is the loss."""
    model = build("[*-]" * LAYERS)
    load_gpt_checkpoint(ranks.folder / "gpt", model)
    here = save_checkpoint(ranks.folder / f"{case}.here", model)
    assert unequal(stored_tensors(ranks.folder / f"{case}.start"), stored_tensors(here)) == []
    loss = accumulate_gradients(make_trainer(model), batches(0))
    assert ranks.losses(case)[0] == (loss if case == "gpt pipeline" else pytest.approx(loss, rel=TENSOR_RTOL, abs=0))


@pytest.mark.parametrize("case", ALL)
def test_split_model_has_no_state_dict(ranks: Ranks, case: str) -> None:
    """`canonical_state_dict` refuses where a rank holds parts, and says what to use; replicas are whole."""
    sizes = {"tensor": 1, "pipeline": 1, "expert": 1} | {
        name.removesuffix("_parallel"): size for name, size in SPLITS[case]["parallel"].items()
    }
    text = ", ".join(f"{name} {size}" for name, size in sizes.items())
    refused = f"the model is split over ranks ({text}), so no rank has a whole state dict; use save_checkpoint and load_checkpoint"
    assert [record["refused"] for record in ranks.of(case)] == ["" if case == "data" else refused] * 2


def test_pair_across_the_pipeline_split_is_refused(ranks: Ranks) -> None:
    """Without `|` megatron halves `M[*-]M` inside the pair; both ranks say so before any of them waits for the other."""
    for record in ranks.of("across"):
        assert "pattern 'M[*-]M': a fused pair lies across the pipeline split at sub-layer" in record["error"]
        assert "put a '|' between blocks where the pipeline is to be split" in record["error"]


def test_no_process_is_left(ranks: Ranks) -> None:
    """The ranks and whatever they started have ended."""
    assert [pid for pid in ranks.pids if group_is_alive(pid)] == []
    assert [child for child in psutil.Process().children(recursive=True) if child.pid in ranks.pids] == []


def test_a_failing_rank_ends_the_other(tmp_path: Path) -> None:
    """One rank's error is shown, and the rank that would have waited for it is gone."""
    with pytest.raises(RankFailure, match="rank 1 ended with status 1") as caught:
        run_ranks("crash", tmp_path, timeout_s=30)
    assert "RuntimeError: rank 1 was asked to fail" in str(caught.value)
    assert [child for child in psutil.Process().children() if str(tmp_path) in " ".join(child.cmdline())] == []


def test_comparison_can_fail() -> None:
    """One flipped bit, a missing name, another shape and another type are each seen."""
    tensors = {
        "a": torch.zeros(2),
        "b": torch.zeros(2),
        "c": torch.zeros(2),
        "d": torch.zeros(2),
        "same": torch.ones(2),
    }
    changed = {**tensors, "a": torch.tensor([0.0, -0.0]), "b": torch.zeros(1, 2), "c": torch.zeros(2).double()}
    del changed["d"]
    assert unequal(tensors, changed) == ["a", "b", "c", "d"]
    with pytest.raises(AssertionError, match="on no rank"):
        whole([{"key": "a", "whole": (4,), "offset": (0,), "axes_before": 0, "tensor": torch.ones(2)}])
