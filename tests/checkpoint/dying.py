"""A conversion in a process of its own that dies, or is slow, at a chosen call. The processes are forked from one that has
imported torch: importing it takes longer than all the rest."""

from __future__ import annotations

import multiprocessing
import multiprocessing.context
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.checkpoint.dying", "torch.distributed.checkpoint"])


def start(before: list[tuple[Any, ...]], source: Path, target: Path, format: str, errors: Path) -> Any:
    """A process that converts to the grouped layout, replacing the target, after the functions of `before` were called:
    (name of one here, its arguments…). Bad input ends it with status 1 and its message in `errors`."""
    process = _CONTEXT.Process(target=_convert, args=(before, source, target, format, errors))
    process.start()
    return process


def die(module: str, name: str, number: int, before: bool) -> None:
    """Kill the process at the `number`-th call of a function, before it is made or after."""
    calls = 0

    def around(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number and before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **options)
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    replace(module, name, around)


def slow() -> None:
    """Make each write take a while."""

    def around(function: Callable[..., Any], *arguments: Any) -> Any:
        time.sleep(0.02)
        return function(*arguments)

    replace("os", "write", around)


def no_kernel_copy() -> None:
    """As on a file system for which the kernel does not copy."""
    replace("os", "copy_file_range", lambda _function, *_arguments: 0)


def no_exchange() -> None:
    """As on a file system that cannot exchange two names."""
    replace("workbench.checkpoint.converting.placing", "_exchange", lambda _function, *_arguments: False)


def limit(size: int) -> None:
    """No file may grow above so many bytes."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def replace(module: str, name: str, around: Callable[..., Any]) -> None:
    """Put `around(function, …)` in the place of `module.name`, which may be a method ("Path.rename")."""
    holder: Any = import_module(module)
    *classes, last = name.split(".")
    for each in classes:
        holder = getattr(holder, each)
    function = getattr(holder, last)
    setattr(holder, last, lambda *arguments, **options: around(function, *arguments, **options))


def _convert(before: list[tuple[Any, ...]], source: Path, target: Path, format: str, errors: Path) -> None:
    from workbench.checkpoint.convert import convert
    from workbench.errors import WorkbenchError

    for name, *arguments in before:
        globals()[name](*arguments)
    try:
        convert(source, target, "grouped", format=format, force=True)
    except WorkbenchError as error:
        errors.write_text(str(error))
        sys.exit(1)
