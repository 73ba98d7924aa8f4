"""PyTorch DCP folders are read as torch reads them, however they were sharded."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp

from tests.checkpoint.dcp_folders import save
from tests.ranks.launch import run_ranks
from workbench.checkpoint.reading.dcp import open_dcp
from workbench.checkpoint.source import Checkpoint

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int64,
    torch.int32, torch.int8, torch.uint8, torch.uint16, torch.bool, torch.complex64,
)  # fmt: skip


def of_every_kind() -> dict[str, torch.Tensor]:
    """Tensors whose memory is whole, cut out, transposed, spread, empty or a single number."""
    stream = torch.Generator().manual_seed(3)
    numbers = torch.randn(4, 6, generator=stream)
    found = {str(dtype)[6:]: (8 * numbers).abs().to(dtype) for dtype in DTYPES}
    return found | {
        "view": torch.randn(10, 10, generator=stream)[2:5, 3:9],
        "transposed": torch.randn(5, 3, generator=stream).t(),
        "permuted": torch.randn(2, 3, 4, generator=stream).permute(2, 0, 1),
        "channels": torch.randn(2, 3, 4, 5, generator=stream).to(memory_format=torch.channels_last),
        "expanded": torch.randn(1, 3, generator=stream).expand(4, 3),
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 4),
    }


def loaded(path: Path, like: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What torch's own loader gives."""
    into: dict[str, Any] = {name: torch.zeros(tensor.shape, dtype=tensor.dtype) for name, tensor in like.items()}
    dcp.load(into, checkpoint_id=path, no_dist=True)
    return into


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def assert_same(opened: Checkpoint, expected: dict[str, torch.Tensor], prefix: str = "") -> None:
    for name, tensor in expected.items():
        read = opened.read(prefix + name)
        assert (opened.shape(prefix + name), read.dtype) == (tuple(tensor.shape), tensor.dtype), name
        assert bits(read) == bits(tensor), name


# -- reading


@pytest.mark.parametrize(
    "options",
    [{}, {"single_file_per_rank": False}, {"thread_count": 3}, {"thread_count": 2, "single_file_per_rank": False}],
    ids=str,
)
def test_every_kind_of_tensor_by_every_kind_of_writer(tmp_path, options):
    state = of_every_kind()
    path = save(state, tmp_path / "c", **options)
    opened = open_dcp(path)
    assert set(opened.names) == set(state)
    assert_same(opened, loaded(path, state))
    assert_same(opened, state)


@pytest.mark.ranks
def test_what_two_ranks_sharded(tmp_path):
    run_ranks({}, tmp_path, worker=Path(__file__).parents[1] / "dcp_worker.py")
    whole = torch.load(tmp_path / "whole.pt", weights_only=True)
    opened = open_dcp(tmp_path / "dcp")
    assert_same(opened, whole, "model.")
    pieces = {name.removeprefix("model."): len(tensor.pieces) for name, tensor in opened.tensors.items()}
    assert pieces == {
        "rows": 2, "columns": 2, "uneven": 2, "one_row": 1, "replicated": 1, "both": 2, "plain": 1
    }  # fmt: skip
    assert [*opened.objects] == ["model.step"]
    assert (tmp_path / "live.txt").read_text() == (
        "rows is [6, 5] over several ranks, and this one holds [3, 5] of it: save a checkpoint, and open that"
    )
    assert torch.equal(opened.read("model.columns", (slice(1, 3), slice(2, 6))), whole["columns"][1:3, 2:6])


def test_names_are_those_of_the_flattened_state_dict(tmp_path):
    state = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(5, dtype=torch.bfloat16), "step": 3}
    folder = save({"model": state}, tmp_path / "c")
    opened = open_dcp(folder)
    assert (opened.format, opened.where, opened.notes) == ("dcp", str(folder), ())
    assert opened.names == ("model.a", "model.b")
    assert torch.load(io.BytesIO(opened.objects["model.step"].read()), weights_only=True) == 3


def test_a_real_training_state_is_read(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    from torch.distributed.checkpoint.state_dict import get_state_dict

    weights, states = get_state_dict(model, optimizer)
    opened = open_dcp(save({"model": weights, "optimizer": states}, tmp_path / "c"))
    assert_same(opened, {f"model.{name}": tensor for name, tensor in weights.items()})
    assert_same(opened, {"optimizer.state.0.weight.exp_avg": states["state"]["0.weight"]["exp_avg"]})
