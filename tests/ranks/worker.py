"""The program of one rank: runs the cases of a plan in order and leaves what this rank saw and held in a folder.

Started by `launch.run_ranks` with torchrun's environment variables and two arguments: the plan (JSON) and the folder for
results. Torch and megatron are imported late, so that the plan "crash" costs nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

SEED = 5


def main(plan: Path, results: Path) -> None:
    """Run every case of the plan; `rank{N}.pt` in `results` then holds case name → record."""
    cases = json.loads(plan.read_text())
    rank = int(os.environ["RANK"])
    if cases == "crash":
        # Before any import: rank 1 fails while rank 0 is busy, as one that waits in a collective.
        if rank == 1:
            raise RuntimeError("rank 1 was asked to fail")
        time.sleep(600)

    import torch

    import workbench.fusion  # noqa: F401  (makes megatron importable)
    from workbench.fusion import runtime

    torch.set_num_threads(1)
    records = {case["name"]: run_case(case) for case in cases}
    torch.save(records, results / f"rank{rank}.pt")
    runtime.stop()


def run_case(case: dict[str, Any]) -> dict[str, Any]:
    """One model of this rank's part of a pattern: built or loaded, saved, trained one step, saved again; or resumed."""
    from megatron.core import parallel_state

    from workbench.errors import WorkbenchError
    from workbench.fusion import runtime
    from workbench.fusion.checkpointing import load_checkpoint, save_checkpoint
    from workbench.fusion.gpt import load_gpt_checkpoint
    from workbench.fusion.model import build_model
    from workbench.fusion.names import canonical_parameters
    from workbench.fusion.state import canonical_state_dict
    from workbench.fusion.trainer import make_trainer, optimizer_state, train_step

    runtime.start(**case["parallel"])
    try:
        model = build_model(case["pattern"], config_of(case), seed=SEED)
    except WorkbenchError as error:
        return {"error": str(error)}
    tokens = batches(parallel_state.get_data_parallel_rank())
    distributed = case.get("distributed_optimizer", False)
    trainer = make_trainer(model, learning_rate=1e-2, distributed_optimizer=distributed)
    if "resume" in case:
        load_checkpoint(case["resume"], trainer.model, trainer.optimizer)
        save_checkpoint(case["save"], trainer.model, trainer.optimizer, iteration=1)
        return {"loss": train_step(trainer, tokens).loss}
    if "load" in case:
        load_checkpoint(case["load"], trainer.model)
    if "gpt" in case:
        load_gpt_checkpoint(case["gpt"], trainer.model)
    save_checkpoint(f"{case['save']}.start", trainer.model)
    step = train_step(trainer, tokens)
    save_checkpoint(case["save"], trainer.model, trainer.optimizer, iteration=1)
    try:
        canonical_state_dict(trainer.model)
        refused = ""
    except WorkbenchError as error:
        refused = str(error)
    weights = canonical_parameters(trainer.model)
    # The distributed optimizer's state is cut across parameters: no rank holds it by name.
    states = {} if distributed else optimizer_state(trainer)
    record = {
        "loss": step.loss,
        "grad_norm": step.grad_norm,
        "refused": refused,
        "named": {name: weight.detach().clone() for name, weight in weights.items()},
        "shards": shards(trainer.model),
        "optimizer_shards": {
            kind: shards(trainer.model, {weights[name]: states[f"{kind}.{name}"] for name in weights})
            for kind in ("exp_avg", "exp_avg_sq")
            if states
        },
    }
    # Last, for it moves the weights that are held.
    return {**record, "next_loss": train_step(trainer, tokens).loss}


def config_of(case: dict[str, Any]) -> Any:
    """The default sizes with the case's overrides of megatron's config."""
    from workbench.arch.sizes import ModelSizes
    from workbench.fusion.config import transformer_config
    from workbench.pattern.model import Pattern

    return transformer_config(Pattern(case["pattern"]), ModelSizes(), **case.get("config", {}))


def batches(replica: int) -> list[Any]:
    """The two micro-batches [2, 17] of a data-parallel rank."""
    import torch

    stream = torch.Generator().manual_seed(SEED + replica)
    return [torch.randint(0, 128, (2, 17), generator=stream) for _ in range(2)]


def shards(model: Any, instead: dict[Any, Any] | None = None) -> list[dict[str, Any]]:
    """Every part of a stored tensor that this rank holds, and where in the whole the sharded state dict puts it.

    `instead` maps a parameter to the tensor of its shape that takes its place (its optimizer state); what is no
    parameter is then left out.
    """
    from dataclasses import replace

    from megatron.core.dist_checkpointing.dict_utils import nested_values
    from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory

    from workbench.fusion.names import unwrapped

    held = {parameter.data_ptr(): tensor for parameter, tensor in (instead or {}).items()}
    found = []
    for entry in nested_values(unwrapped(model).sharded_state_dict()):
        if not isinstance(entry, ShardedTensor | ShardedTensorFactory) or entry.data is None:
            continue
        if instead is not None:
            if entry.data.data_ptr() not in held:
                continue
            entry = replace(entry, data=held[entry.data.data_ptr()].view(entry.data.shape))
        built = entry.build() if isinstance(entry, ShardedTensorFactory) else entry
        for part in nested_values(built) if isinstance(built, dict | list) else [built]:
            found.append(
                {
                    "key": part.key,
                    "whole": part.global_shape,
                    "offset": part.global_offset,
                    "axes_before": part.prepend_axis_num,
                    "tensor": part.data.detach().clone(),
                }
            )
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
