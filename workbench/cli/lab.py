"""`workbench lab`: JupyterLab on the notebooks."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from workbench.errors import WorkbenchError


def run_lab(args: argparse.Namespace) -> int:
    """Run JupyterLab in the notebooks folder until it ends; its exit status."""
    command = [sys.executable, "-m", "jupyterlab", *args.jupyter]
    return subprocess.call(command, cwd=notebooks_folder(Path.cwd()))


def notebooks_folder(start: Path) -> Path:
    """`notebooks/` in `start`, or in the checkout that this package runs from."""
    places = [start / "notebooks", Path(__file__).parents[2] / "notebooks"]
    for place in places:
        if place.is_dir():
            return place
    raise WorkbenchError("no notebooks folder here; run it in the project's folder")
