"""The format before torch_dist: one rank's file is read, several are refused with how the model was split."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoint.strangers import Call
from workbench.checkpoint.reading.pickles import UnsafeCheckpoint
from workbench.checkpoint.reading.torch_dist import open_torch_dist
from workbench.errors import WorkbenchError

WEIGHT = torch.arange(6.0).reshape(2, 3)


def write_rank(folder: Path, name: str, **arguments: Any) -> Path:
    """A rank's file as Megatron-LM writes it."""
    path = folder / name / "model_optim_rng.pt"
    path.parent.mkdir(parents=True)
    content = {
        "args": Namespace(num_layers=1, **arguments),
        "iteration": 5,
        "model": {"decoder.final_norm.weight": WEIGHT, "output_layer._extra_state": None},
        "rng_state": [{"python_rng_state": (3, (1, 2), None), "np_rng_state": ("MT19937",)}],
    }
    torch.save(content, path)
    return path


def test_one_rank_is_read(tmp_path):
    write_rank(tmp_path / "iter_0000005", "mp_rank_00")
    opened = open_torch_dist(tmp_path)
    assert (opened.format, opened.where) == ("torch", str(tmp_path / "iter_0000005"))
    assert opened.names == ("model.decoder.final_norm.weight",)
    assert torch.equal(opened.read("model.decoder.final_norm.weight"), WEIGHT)
    assert opened.values["args"] == {"num_layers": 1}
    assert opened.values["iteration"] == 5
    assert opened.notes == (
        "iter_0000005 was read: there is no latest_checkpointed_iteration.txt",
        "one rank's model_optim_rng.pt, the format before torch_dist",
    )


def test_the_distributed_optimizers_file_is_noted(tmp_path):
    path = write_rank(tmp_path, "mp_rank_00")
    (path.parent / "distrib_optim.pt").touch()
    assert open_torch_dist(tmp_path).notes[-1] == (
        "distrib_optim.pt beside it, the distributed optimizer's state, is not read"
    )


@pytest.mark.parametrize(
    ("ranks", "arguments", "said"),
    [
        (
            ["mp_rank_00", "mp_rank_01"],
            {"tensor_model_parallel_size": 2},
            "holds 2 ranks (mp_rank_00 to mp_rank_01), written with tensor parallel 2, each with its part",
        ),
        (
            ["mp_rank_00_000", "mp_rank_00_001", "mp_rank_01_000", "mp_rank_01_001"],
            {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2, "expert_model_parallel_size": 1},
            "holds 4 ranks (mp_rank_00_000 to mp_rank_01_001), written with tensor parallel 2, pipeline parallel 2, each",
        ),
        (["mp_rank_00_000", "mp_rank_00_001"], {"expert_model_parallel_size": 2}, "written with expert parallel 2, each"),
        (["mp_rank_00", "mp_rank_01"], {}, "holds 2 ranks (mp_rank_00 to mp_rank_01), each with its part"),
    ],
)  # fmt: skip
def test_several_ranks_are_refused(tmp_path, ranks, arguments, said):
    for name in ranks:
        write_rank(tmp_path, name, **arguments)
    with pytest.raises(WorkbenchError) as caught:
        open_torch_dist(tmp_path)
    assert said in str(caught.value)
    assert str(caught.value).endswith("(--ckpt-format torch_dist, or its tools/checkpoint)")


def test_several_ranks_without_files(tmp_path):
    for name in ("mp_rank_00", "mp_rank_01"):
        (tmp_path / name).mkdir()
    with pytest.raises(WorkbenchError, match="holds 2 ranks"):
        open_torch_dist(tmp_path)


def test_a_folder_of_another_name(tmp_path):
    (tmp_path / "mp_rank_x").mkdir()
    with pytest.raises(WorkbenchError, match="holds no folder of a rank, such as mp_rank_00"):
        open_torch_dist(tmp_path)


def test_a_rank_without_its_file(tmp_path):
    (tmp_path / "mp_rank_00").mkdir()
    with pytest.raises(WorkbenchError, match=r"mp_rank_00/model_optim_rng\.pt cannot be read: No such file"):
        open_torch_dist(tmp_path)


@pytest.mark.parametrize("ranks", [["mp_rank_00"], ["mp_rank_00", "mp_rank_01"]])
def test_nothing_is_run(tmp_path, ranks):
    for name in ranks:
        write_rank(tmp_path, name, hidden=Call(os.mkdir, str(tmp_path / "trap")))
    with pytest.raises(UnsafeCheckpoint, match=r"asks for posix\.mkdir"):
        open_torch_dist(tmp_path)
    assert not (tmp_path / "trap").exists()
