"""The layers that `make check` holds are held: each forbidden import, put into a copy of the package, is reported."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

LINT = Path(sys.executable).with_name("lint-imports")
pytestmark = pytest.mark.skipif(not LINT.exists(), reason="import-linter is not installed: it is in the dev extra")


@pytest.fixture
def copy(tmp_path, repo_root):
    """A copy of the package and of its contracts, and `lint()` for it."""
    shutil.copy(repo_root / "pyproject.toml", tmp_path)
    shutil.copytree(repo_root / "workbench", tmp_path / "workbench", ignore=shutil.ignore_patterns("__pycache__"))

    def lint():
        done = subprocess.run(
            [LINT, "--no-cache"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"},
            capture_output=True,
            text=True,
        )
        return SimpleNamespace(status=done.returncode, out=done.stdout + done.stderr)

    return SimpleNamespace(package=tmp_path / "workbench", lint=lint)


def test_the_package_as_it_is_keeps_them(copy):
    done = copy.lint()
    assert done.status == 0, done.out


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("errors.py", "from workbench import pattern", "The layers of the design BROKEN"),
        ("render/scene.py", "import workbench.pattern.model", "The layers of the design BROKEN"),
        ("pattern/tokens.py", "import torch", "The pure packages never reach torch or megatron BROKEN"),
        ("checkpoint/kinds.py", "import megatron.core", "Only fusion and what is left of it imports megatron BROKEN"),
        ("utils.py", '"""A module that no layer holds."""', "- workbench.utils"),
    ],
)
def test_a_violation_is_reported(copy, module, line, broken):
    path = copy.package / module
    path.write_text((path.read_text(encoding="utf-8") if path.exists() else "") + f"\n{line}\n", encoding="utf-8")
    done = copy.lint()
    assert done.status != 0
    assert broken in done.out
