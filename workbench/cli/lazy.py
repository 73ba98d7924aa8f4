"""A command's function by name: its module is imported when the command runs, so that `--help` is quick."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module


def lazy(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """`lazy("workbench.cli.cost", "run_cost")` is that function, not imported yet."""

    def run(args: argparse.Namespace) -> int:
        return int(getattr(import_module(module), function)(args))

    return run
