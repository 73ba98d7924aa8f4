"""A command's function by name: its module is imported when the command runs, so that `--help` is quick."""

from __future__ import annotations

import argparse
from importlib import import_module


class lazy:
    """`lazy("workbench.cli.cost", "run_cost")` is that function, not imported yet."""

    def __init__(self, module: str, function: str) -> None:
        self.module, self.function = module, function

    def __call__(self, args: argparse.Namespace) -> int:
        return int(getattr(import_module(self.module), self.function)(args))
