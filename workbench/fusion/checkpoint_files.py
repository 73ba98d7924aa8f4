"""Where a checkpoint lies on disk: read with nothing of a stranger's unpickled, written to a place that may be written to."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from megatron.core.safe_globals import SAFE_GLOBALS
from torch.distributed.checkpoint import CheckpointException

from workbench.checkpoint.reading.pickles import UnsafeCheckpoint
from workbench.errors import WorkbenchError
from workbench.fusion.cpu_platform import cuda_literals_on_cpu
from workbench.fusion.noise import hushed

# Reading or writing a checkpoint raises anything; torch's own is a BaseException.
ERRORS = (Exception, CheckpointException)

# Environment of torch.load: the first wins over every weights_only=False in the code, the second contradicts it.
_FORCE, _FORCE_NO = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_REFUSED = re.compile(r"GLOBAL (\S+) (?:was not an allowed global|whose module)")

_PLAIN = (str, int, float, bool, bytes, type(None))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around everything that megatron reads of a folder which `check_folder` let pass: no object but plain ones and those on
    megatron's own list is made, and whatever goes wrong is a `WorkbenchError` that names the folder.
    """
    before = {name: os.environ.pop(name, None) for name in (_FORCE, _FORCE_NO)}
    os.environ[_FORCE] = "1"
    try:
        with torch.serialization.safe_globals(SAFE_GLOBALS), cuda_literals_on_cpu(), hushed():
            yield
    except WorkbenchError:
        raise
    except ERRORS as error:
        if refused := _REFUSED.search(str(error)):
            raise UnsafeCheckpoint(path, refused[1]) from error
        raise WorkbenchError(f"{path} cannot be read: {first_line(error)}") from error
    finally:
        del os.environ[_FORCE]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def check_target(path: Path, force: bool) -> None:
    """Raise `WorkbenchError` unless a checkpoint may be written to `path`; `force` allows one that is there, or nothing else."""
    if not path.name:
        raise WorkbenchError(f"{path} is no place for a checkpoint: give a folder that is not there yet")
    if not path.exists():
        return
    if not force:
        raise WorkbenchError(f"{path} exists; give another path, or force=True to replace it")
    if not path.is_dir() or (any(path.iterdir()) and not (path / "metadata.json").exists()):
        raise WorkbenchError(f"{path} is no checkpoint: force=True replaces checkpoints only; give another path")


def check_plain(where: str, value: Any) -> None:
    """Raise `WorkbenchError` for anything but plain values: reading makes no others, so the checkpoint would be lost."""
    if isinstance(value, dict):
        for key, held in value.items():
            check_plain(where, key)
            check_plain(f"{where}[{key!r}]", held)
    elif isinstance(value, list | tuple):
        for position, held in enumerate(value):
            check_plain(f"{where}[{position}]", held)
    elif type(value) not in _PLAIN:
        raise WorkbenchError(f"{where} is a {type(value).__name__}: only plain values are stored beside a model")


def first_line(error: BaseException) -> str:
    """Type and first line of an error; of the error inside when torch wraps it with the traceback of its rank."""
    if isinstance(error, CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    if isinstance(error, pickle.UnpicklingError):
        # torch's own text advises to load without weights_only.
        return "UnpicklingError: a part of it holds something else than plain data"
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:300]}" if text else type(error).__name__
