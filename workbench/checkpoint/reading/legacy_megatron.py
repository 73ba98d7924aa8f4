"""Megatron-LM's older folders: one `model_optim_rng.pt` a rank, in `mp_rank_<tensor>_<pipeline>_<expert>`. numpy only.

A rank's file holds the part of each weight that the rank had, and does not say which part of what it is. So a folder is read
where there is one rank, which had everything, and refused where there are several.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.checkpoint.reading.torch_file import open_torch
from workbench.checkpoint.source import Checkpoint
from workbench.errors import WorkbenchError

FILE = "model_optim_rng.pt"
_OPTIMIZER = "distrib_optim.pt"
_RANK = re.compile(r"mp_rank_\d{2,6}(?:_\d{3,6}){0,2}")
# What a split is called in the arguments that the file holds.
_SIZES = {
    "tensor": "tensor_model_parallel_size",
    "pipeline": "pipeline_model_parallel_size",
    "expert": "expert_model_parallel_size",
}


def open_rank_folder(folder: Path) -> Checkpoint:
    """The checkpoint of the only rank in a folder; names are those in its file ("model.decoder.layers.0.…").

    Raises `WorkbenchError`, which says how the model was split, where there are several.
    """
    ranks = sorted(entry for entry in folder.glob("mp_rank_*") if _RANK.fullmatch(entry.name) and entry.is_dir())
    if not ranks:
        raise WorkbenchError(f"{folder} holds no folder of a rank, such as mp_rank_00, with a {FILE}")
    if len(ranks) > 1:
        raise WorkbenchError(
            f"{folder} holds {len(ranks)} ranks ({ranks[0].name} to {ranks[-1].name}){_split(ranks[0] / FILE)}, each with its part "
            "of the weights: let Megatron-LM save it as torch_dist (--ckpt-format torch_dist, or its tools/checkpoint)"
        )
    opened = open_torch(ranks[0] / FILE)
    notes = [f"one rank's {FILE}, the format before torch_dist"]
    if (ranks[0] / _OPTIMIZER).exists():
        notes.append(f"{_OPTIMIZER} beside it, the distributed optimizer's state, is not read")
    return replace(opened, where=str(folder), notes=(*notes, *opened.notes))


def _split(file: Path) -> str:
    """How the model was split, where the first rank's arguments say it."""
    if not file.exists():
        return ""
    arguments = open_torch(file).values.get("args")
    if not isinstance(arguments, Mapping):
        return ""
    told = [f"{what} parallel {arguments[name]}" for what, name in _SIZES.items() if _is_split(arguments.get(name))]
    return f", written with {', '.join(told)}" if told else ""


def _is_split(size: Any) -> bool:
    return isinstance(size, int) and size > 1
