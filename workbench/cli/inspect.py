"""`workbench inspect`: what a checkpoint is, from names and shapes, and whether it would load into a model."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.cli.output import check_output, deliver, deliver_page, json_text
from workbench.errors import WorkbenchError

FINE, WOULD_NOT_LOAD = 0, 1


def run_inspect(args: argparse.Namespace) -> int:
    """Print or write the report; 1 where it would not load into what it was held against."""
    where = _only(args.checkpoints)
    check_output(args)
    _check_not_input(where, args.output)
    against = None if args.against is None else _against(args.against, args.sizes)
    if args.against is None and args.sizes is not None:
        raise WorkbenchError("--sizes are those of the pattern after --against: give both")

    from workbench.checkpoint.inspect import inspect

    found = inspect(where, against)
    if args.json:
        deliver(json_text(found.to_json()), args.output, args.force)
    else:
        from workbench.views.inspection import document

        deliver_page(args, document(found), unfold=args.details)
    return WOULD_NOT_LOAD if found.preflight is not None and not found.preflight.loads else FINE


def _only(paths: Sequence[str]) -> str:
    if not paths:
        raise WorkbenchError("workbench inspect needs a checkpoint, such as: workbench inspect model.safetensors")
    if len(paths) > 1:
        raise WorkbenchError(
            f"workbench inspect takes one checkpoint, {len(paths)} were given; to compare two: workbench diff A B"
        )
    return paths[0]


def _check_not_input(where: str, output: str | None) -> None:
    """Refuse to write into what is read."""
    if output in (None, "-"):
        return
    try:
        inside = Path(str(output)).is_file() and Path(str(output)).resolve().is_relative_to(Path(where).resolve())
    except (OSError, ValueError):  # a name that no file can have: whoever opens or writes it says so
        return
    if inside:
        raise WorkbenchError(f"cannot write {output}: it belongs to {where}, which is only read")


def _against(text: str, sizes_path: str | None) -> Any:
    """What `--against` names: a checkpoint, a preset, a config.json, a script, or a pattern (of the sizes in a file)."""
    from workbench.checkpoint.inference.preflight import Wanted, wanted_by
    from workbench.cli.targets import pattern_of, target_of

    if _is_checkpoint(text):
        if sizes_path is not None:
            raise WorkbenchError(f"{text} has its own sizes; --sizes goes with a pattern")
        return Path(text)
    found = target_of(text, "inspect", sizes_path)
    if found is None:
        pattern = pattern_of([text], "inspect")
        return Wanted(str(pattern), pattern)
    return wanted_by(found.architecture, found.title, found.notes)


def _is_checkpoint(text: str) -> bool:
    """A path of something that has weights: no config.json by itself, no script of Megatron-LM's."""
    if "\0" in text or not os.path.lexists(text):
        return False
    return not text.endswith((".sh", "config.json"))
