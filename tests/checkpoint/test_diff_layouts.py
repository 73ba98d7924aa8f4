"""Two checkpoints in any formats and layouts: what is the same is said to be, and causes are told by sub-layer."""

from __future__ import annotations

import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

from tests.checkpoint.diffing import checkpoint, copied, found, predicted
from workbench.checkpoint.diff import diff
from workbench.checkpoint.layouts import arranged, layout_of
from workbench.checkpoint.opening import open_checkpoint
from workbench.checkpoint.source import Checkpoint
from workbench.errors import WorkbenchError

PATTERN = "M-*EM-"


# ------------------------------------------------------------------------------------- real writers


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, megatron_saves) -> dict[str, object]:
    """One model in every format and layout: what it is called → what `diff` takes."""
    from workbench.fusion import runtime
    from workbench.fusion.checkpointing import save_checkpoint
    from workbench.fusion.model import build_model
    from workbench.fusion.names import canonical_parameters

    runtime.start()
    folder = tmp_path_factory.mktemp("formats")
    fused = build_model("[M-][*E]", seed=3, backend="local")
    weights = {name: value.detach().clone() for name, value in fused.state_dict().items() if torch.is_tensor(value)}
    canonical = {name: value.detach().clone() for name, value in canonical_parameters(fused).items()}
    save_file(weights, folder / "fused.safetensors")
    torch.save(weights, folder / "fused.pt")
    torch.save(canonical, folder / "canonical.pt")
    dcp.save(dict(weights), checkpoint_id=str(folder / "dcp"), no_dist=True)
    save_checkpoint(folder / "stored", fused, iteration=1)
    return {
        "live": fused,
        "mapping": weights,
        "safetensors": folder / "fused.safetensors",
        "torch": folder / "fused.pt",
        "canonical": folder / "canonical.pt",
        "dcp": folder / "dcp",
        "torch_dist": folder / "stored",
    }


SAVED = ("live", "mapping", "safetensors", "torch", "canonical", "dcp", "torch_dist")


@pytest.mark.parametrize(("left", "right"), [*combinations(SAVED, 2)])
def test_one_model_is_identical_in_every_format(saved, left: str, right: str):
    diffed = diff(saved[left], saved[right])
    assert diffed.identical, diffed.sentences
    if "canonical" in (left, right) or "torch_dist" in (left, right):
        assert diffed.sentences[0].endswith("nothing differs but the names")
        assert all(each.by == "layout" for each in diffed.differences)
        written = open_checkpoint(saved[left]).names
        assert all(set(each.written.split(" + ")) <= set(written) for each in diffed.differences)
    else:
        assert diffed.differences == ()
    assert diff(saved[right], saved[left]).identical


def test_as_written_the_names_are_not_the_same(saved):
    diffed = diff(saved["safetensors"], saved["torch_dist"], as_written=True)
    assert not diffed.identical
    assert diffed.counts["missing"]
    assert diffed.counts["extra"]


@pytest.mark.parametrize("kinds", [("fused", "unfused")])
def test_trained_twins_with_their_optimizers_are_identical(megatron_saves, kinds: tuple[str, str]):
    """Upstream stores what a fused and an unfused model have under the same keys."""
    left, right = (megatron_saves(kind) for kind in kinds)
    diffed = diff(left, right)
    assert found(diffed) == {}, diffed.sentences
    assert any(name.startswith("optimizer.") for group in diffed.groups for name in [group.name])


def test_gpt_against_hybrid_differs_in_names_only(megatron_saves):
    gpt = open_checkpoint(megatron_saves("gpt in layers"))
    layout = layout_of(gpt)
    names = arranged(layout, "canonical", form="state_dict", backend="te", pattern=layout.pattern)
    diffed = diff(gpt, Checkpoint("hybrid", "mapping", names))
    assert diffed.identical
    assert diffed.sentences == (
        "the left is written as GPT layers, the right as hybrid sub-layers; the left has the keys of a distributed "
        "checkpoint, the right a model's names: nothing differs but the names",
    )


def test_a_shard_that_is_gone_is_named(megatron_saves, tmp_path: Path):
    folder = tmp_path / "broken"
    shutil.copytree(megatron_saves("fused"), folder)
    next(folder.rglob("*.distcp")).unlink()
    with pytest.raises(WorkbenchError, match=r"\.distcp"):
        diff(megatron_saves("fused"), folder)


def test_a_truncated_file_is_named(saved, tmp_path: Path):
    for name in ("fused.safetensors", "fused.pt"):
        whole = Path(str(saved["safetensors"])).with_name(name)
        broken = tmp_path / name
        broken.write_bytes(whole.read_bytes()[:-1000])
        with pytest.raises(WorkbenchError, match=name):
            diff(whole, broken)


def test_a_wrong_offset_is_refused(saved, tmp_path: Path):
    whole = Path(str(saved["safetensors"]))
    content, broken = whole.read_bytes(), tmp_path / "broken.safetensors"
    at = content.index(b'"data_offsets":[') + len(b'"data_offsets":[')
    broken.write_bytes(content[:at] + b"9" + content[at + 1 :])
    with pytest.raises(WorkbenchError, match=r"broken\.safetensors"):
        diff(whole, broken)


# ---------------------------------------------------------------------------------- causes, by name


def test_another_kind_is_one_sentence():
    left, right = predicted("M-M-M-M-"), predicted("M-M-M-*-")
    for name, value in right.items():
        if name in left:
            right[name] = left[name] if left[name].shape == value.shape else value
    diffed = diff(checkpoint(left), checkpoint(right))
    assert diffed.sentences[0] == "sub-layer 6 is Mamba-2 on the left and self-attention on the right"
    assert {each.sublayer for each in diffed.differences} == {6}
    assert {each.place for each in diffed.differences} == {"sub-layer 6, Mamba-2", "sub-layer 6, self-attention"}


def test_hundreds_of_kinds_are_one_sentence():
    diffed = diff(checkpoint(predicted("M-" * 40)), checkpoint(predicted("ME" * 40)), values=False)
    assert diffed.sentences[0].startswith("sub-layers 1, 3, 5, 7")
    assert diffed.sentences[0].endswith("are MLP on the left and mixture of experts on the right")


@pytest.mark.parametrize("values", [True, False])
def test_an_inserted_sublayer_moves_the_rest_and_is_all_that_is_told(values: bool):
    left = predicted("M-*-ME")
    right = {}
    for name, value in left.items():
        index = int(name.split(".")[2]) if name.startswith("decoder.layers.") else -1
        right[name.replace(f".{index}.", f".{index + 1}.", 1) if index >= 2 else name] = value
    more = predicted("M-M*-ME", seed=9)
    right |= {name: value for name, value in more.items() if name.startswith("decoder.layers.2.")}
    diffed = diff(checkpoint(left), checkpoint(right), values=values)
    assert diffed.sentences[0] == "only the right has sub-layer 2, Mamba-2, before the left's sub-layer 2"
    assert {each.kind for each in diffed.differences if each.content} == {"extra"}
    assert {each.sublayer for each in diffed.differences if each.content} == {2}
    moved = [each for each in diffed.differences if not each.content]
    assert all(each.other_name != each.name for each in moved)
    other_way = diff(checkpoint(right), checkpoint(left), values=values)
    assert other_way.sentences[0] == "only the left has sub-layer 2, Mamba-2, before the right's sub-layer 2"
    assert {each.kind for each in other_way.differences if each.content} == {"missing"}


def test_swapped_sublayers():
    left = predicted(PATTERN)
    right = copied(left)
    for name in left:
        if name.startswith("decoder.layers.0."):
            other = name.replace(".0.", ".4.", 1)
            right[name], right[other] = left[other], left[name]
    diffed = diff(checkpoint(left), checkpoint(right))
    assert diffed.sentences == ("sub-layers 0 and 4 are swapped",)
    assert {each.sublayer for each in diffed.differences} == {0, 4}


@pytest.mark.parametrize("router", [True, False])
def test_experts_in_another_order(router: bool):
    left = predicted(PATTERN)
    right = copied(left)
    experts = left["decoder.layers.3.mlp.router.weight"].shape[0]
    order = [(expert + 1) % experts for expert in range(experts)]
    for linear in ("linear_fc1", "linear_fc2"):
        for expert, other in enumerate(order):
            name = f"decoder.layers.3.mlp.experts.{linear}.weight"
            right[f"{name}{other}"] = left[f"{name}{expert}"]
    if router:
        weight = left["decoder.layers.3.mlp.router.weight"]
        right["decoder.layers.3.mlp.router.weight"] = weight[[order.index(row) for row in range(experts)]]
    (sentence,) = diff(checkpoint(left), checkpoint(right)).sentences
    assert sentence.startswith("the experts of sub-layer 3 are in another order (0, 1, ")
    assert sentence.endswith(
        "and the rows of the router with them: it computes the same" if router else "and the router's rows are not"
    )


def test_optimizer_states_of_one_side_are_one_sentence():
    left = predicted(PATTERN)
    states = {
        f"optimizer.state.{state}.{name}": value for name, value in left.items() for state in ("exp_avg", "exp_avg_sq")
    }
    diffed = diff(checkpoint(left | states), checkpoint(left))
    assert diffed.sentences == (f"only the left has optimizer states ({len(states)} tensors)",)
    folded = [(group.place, group.name, group.tensors) for group in diffed.groups if group.outcome == "missing"]
    assert folded == [
        ("optimizer states", "optimizer.state.exp_avg.*", len(left)),
        ("optimizer states", "optimizer.state.exp_avg_sq.*", len(left)),
    ]
    assert sum(len(group.members) for group in diffed.groups) == len(diffed.differences)
    kept = {name: value for name, value in states.items() if name != next(iter(states))}
    partly = diff(checkpoint(left | states), checkpoint(left | kept))
    assert [(group.name, group.tensors) for group in partly.groups if group.outcome == "missing"] == [
        (next(iter(states)), 1)
    ]


def test_rows_are_folded_by_kind_and_outcome():
    left = predicted("M-" * 6 + "E")
    right = copied(left)
    for layer in (4, 6):
        right[f"decoder.layers.{layer}.mixer.A_log"] += np.float32(1)
    right["decoder.layers.12.mlp.experts.linear_fc1.weight1"][0, 0] += 1
    diffed = diff(checkpoint(left), checkpoint(right))
    groups = [(group.outcome, group.place, group.symbol, group.name, group.tensors) for group in diffed.groups]
    assert set(groups[:2]) == {
        ("value", "layers 4–6", "M", "mixer.A_log", 2),
        ("value", "layer 12", "E", "mlp.experts.linear_fc1.weight*", 1),
    }
    assert ("equal", "layers 0–2", "M", "mixer.A_log", 2) in groups
    assert ("equal", "layers 8–10", "M", "mixer.A_log", 2) in groups
    assert ("equal", "layers 1–11", "-", "mlp.linear_fc1.weight", 6) in groups
    assert ("equal", "embedding", None, "embedding.word_embeddings.weight", 1) in groups
    assert sum(group.tensors for group in diffed.groups) == len(left)
    worst = diffed.groups[0]
    assert worst.worst in worst.members
    assert diffed.differences[worst.worst].kind == "value"


def test_mtp_is_told_apart():
    left, right = predicted("M-/*-"), predicted("M-/*E")
    diffed = diff(checkpoint(left), checkpoint(right), values=False)
    assert diffed.sentences[0] == "MTP sub-layer 1 is MLP on the left and mixture of experts on the right"
    gone = diff(checkpoint(left), checkpoint(predicted("M-")), values=False)
    assert gone.sentences[0] == "only the left has multi-token prediction"


def test_names_that_only_one_side_explains_are_said():
    from workbench.fusion.model import build_model

    fused, plain = (build_model(pattern, seed=1).state_dict() for pattern in ("M[*-]", "M*-"))
    lacking = {
        name: tensor for name, tensor in fused.items() if name != "decoder.layers.1.self_attention.linear_qkv.weight"
    }
    for diffed, side, other in ((diff(lacking, plain), "right", "left"), (diff(plain, lacking), "left", "right")):
        assert diffed.sentences[0] == (
            f"the {side} is M*-, and what the {other}'s names mean could not be found out (layer 1 holds no known kind of "
            "sub-layer): names are paired as they are written"
        )
    assert not any("could not be found out" in each for each in diff(lacking, plain, as_written=True).sentences)
