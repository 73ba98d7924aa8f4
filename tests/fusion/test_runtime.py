"""The runtime starts once, joins what is there, and undoes what it did and only that; in a process of its own."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "runtime_checks.py"
NAMES = [
    node.name
    for node in ast.parse(SCRIPT.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.decorator_list
]


@pytest.fixture(scope="module")
def results() -> dict[str, str]:
    """Check → "" or its traceback; all run in one process, which other tests do not share."""
    command = [sys.executable, "-m", "tests.fusion.runtime_checks"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", NAMES)
def test_runtime(name: str, results: dict[str, str]) -> None:
    assert not results[name], results[name]


def test_every_check_ran(results: dict[str, str]) -> None:
    assert list(results) == NAMES
