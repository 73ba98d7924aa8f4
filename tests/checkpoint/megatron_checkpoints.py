"""Folders that megatron-core wrote here, each made once a session, when it is first asked for.

`megatron_saves("fused")` is the folder of one of `KINDS`; `ranked_saves("tensor")` of one that two gloo ranks wrote. What
megatron itself reads of a folder is `plain_tensors(folder)`. torch and megatron are imported when the first is made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

TWINS = ("M[*-][ME]G/[*-]", "M*-MEG/*-")
# Kind → pattern and the optimizer (of `tests.fusion.checkpoints.KINDS`) that trained it a step; None: not trained.
KINDS: dict[str, tuple[str, str | None]] = {
    "fused": (TWINS[0], "fp32"),
    "unfused": (TWINS[1], "fp32"),
    "bf16": ("[M-][*E]", "bf16"),
    "distributed fp32": ("[M-][*E]", "distributed fp32"),
    "distributed bf16": ("[M-][*E]", "distributed bf16"),
    "Adam": ("M[*-]", "Adam"),
    "weights": ("[+-][DE]", None),
}
GPT_KINDS = ("gpt", "gpt experts", "gpt in layers")
# Case → pattern and what splits it over two ranks.
SPLITS: dict[str, dict[str, Any]] = {
    "pipeline": {"pattern": "[M-][*-]|[ME]-", "parallel": {"pipeline_parallel": 2}},
    "tensor": {"pattern": "M[*-]G", "parallel": {"tensor_parallel": 2}},
    "expert": {"pattern": "M[*E]", "parallel": {"expert_parallel": 2}},
    "data": {"pattern": "[M-][*-]", "parallel": {}, "distributed_optimizer": True},
}


@pytest.fixture(scope="session")
def megatron_saves(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Kind → folder. Treat it as read-only; copy one to change it."""
    folder = tmp_path_factory.mktemp("megatron")

    @cache
    def saved(kind: str) -> Path:
        return _save(kind, folder / kind.replace(" ", "_"))

    return saved


@pytest.fixture(scope="session")
def ranked_saves(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Case of `SPLITS` → the folder that two ranks wrote after a step, with their optimizer's state."""
    from tests.ranks.launch import run_ranks

    folder = tmp_path_factory.mktemp("ranked")
    run_ranks([{**split, "name": name, "save": str(folder / name)} for name, split in SPLITS.items()], folder)
    return lambda name: folder / name


def plain_tensors(folder: Path) -> dict[str, Any]:
    """Stored key → whole tensor, as megatron's own loader gives it."""
    from workbench.fusion import runtime  # makes megatron importable

    from megatron.core import dist_checkpointing  # isort: skip

    from workbench.fusion.checkpoint_files import reading

    runtime.start()
    with reading(folder):
        names = dist_checkpointing.load_tensors_metadata(str(folder))
        found = dist_checkpointing.load_plain_tensors(str(folder))
    return {name: found[name] for name in names}


# ------------------------------------------------------------------------------------------------------


def _save(kind: str, folder: Path) -> Path:
    from workbench.fusion import runtime  # makes megatron importable

    from tests.fusion.checkpoints import Training  # isort: skip
    from tests.gpt_models import gpt, save_gpt  # isort: skip
    from workbench.arch.sizes import ModelSizes
    from workbench.fusion.checkpointing import save_checkpoint
    from workbench.fusion.model import build_model

    runtime.start()
    if kind in GPT_KINDS:
        # A model of equal layers is stored with the layers along an axis, unless megatron is told not to; experts likewise.
        apart = {"singleton_local_shards": True} if kind == "gpt" else {}
        return save_gpt(gpt(ModelSizes(), experts=kind == "gpt experts"), folder, **apart)
    pattern, optimizer = KINDS[kind]
    if optimizer is None:
        return save_checkpoint(folder, build_model(pattern, seed=3, backend="local"), iteration=7)
    training = Training(pattern, optimizer).train(0, 1)
    return save_checkpoint(folder, training.model, training.optimizer, iteration=1, extra={"note": kind})
