"""One of two ranks that save with `torch.distributed.checkpoint`: sharded along one axis, two, unevenly, and replicated.

Started by `tests.ranks.launch.run_ranks`, with a plan that says nothing and the folder to write to. Rank 0 leaves the
whole tensors in `whole.pt`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from workbench.checkpoint.reading.live import open_live
from workbench.errors import WorkbenchError


def main(folder: Path) -> None:
    """Save `folder/dcp` from both ranks."""
    dist.init_process_group("gloo")
    line = init_device_mesh("cpu", (2,))
    square = init_device_mesh("cpu", (2, 1), mesh_dim_names=("replicate", "shard"))
    stream = torch.Generator().manual_seed(1)
    whole = {
        "rows": torch.randn(6, 5, generator=stream),
        "columns": torch.randn(4, 7, generator=stream).bfloat16(),
        "uneven": torch.randn(5, 3, generator=stream).double(),
        "one_row": torch.randn(1, 3, generator=stream),
        "replicated": torch.randint(0, 9, (3, 2), generator=stream),
        "both": torch.randn(4, 6, generator=stream),
        "plain": torch.randn(2, 2, generator=stream),
    }
    state: dict[str, object] = {
        "rows": distribute_tensor(whole["rows"], line, [Shard(0)]),
        "columns": distribute_tensor(whole["columns"], line, [Shard(1)]),
        "uneven": distribute_tensor(whole["uneven"], line, [Shard(0)]),
        "one_row": distribute_tensor(whole["one_row"], line, [Shard(0)]),
        "replicated": distribute_tensor(whole["replicated"], line, [Replicate()]),
        "both": distribute_tensor(whole["both"], square, [Shard(0), Shard(1)]),
        "plain": whole["plain"],
        "step": 17,
    }
    assert isinstance(state["both"], DTensor)
    dcp.save({"model": state}, checkpoint_id=folder / "dcp")
    if dist.get_rank() == 0:
        live = open_live({"replicated": state["replicated"]}).read("replicated")
        assert torch.equal(live, whole["replicated"])
        try:
            open_live({"rows": state["rows"]})
        except WorkbenchError as error:
            (folder / "live.txt").write_text(str(error))
        torch.save(whole, folder / "whole.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[2]))
