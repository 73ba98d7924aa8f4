"""constraints.txt pins everything that `make setup` installs, to releases that pyproject.toml accepts."""

import re

import pytest
from packaging.requirements import Requirement

from . import project

PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.!]*")


def problems(requirements, text):
    """What is wrong with a constraints file, a sentence each."""
    found, pins = [], {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if not PIN.fullmatch(line):
            found.append(f"not an exact pin: {line!r}")
            continue
        name, version = line.split("==")
        if pins.setdefault(project.normalized(name), version) != version:
            found.append(f"{name} is pinned twice")
    for requirement in requirements:
        version = pins.get(project.normalized(requirement.name))
        if version is None:
            found.append(f"{requirement.name} has no pin")
        elif not requirement.specifier.contains(version, prereleases=True):
            found.append(f"{requirement.name} is pinned to {version}, which {requirement} refuses")
    return found


def test_every_requirement_has_a_pin_that_it_accepts(repo_root):
    wanted = list(project.requirements(project.load(repo_root), "test", "dev"))
    assert {"torch", "megatron-core", "pytest", "ruff"} <= {requirement.name for requirement in wanted}
    assert problems(wanted, (repo_root / "constraints.txt").read_text(encoding="utf-8")) == []


def test_comment_says_how_to_refresh(repo_root):
    lines = (repo_root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line.startswith("#") for line in lines] == [True, True] + [False] * (len(lines) - 2)
    assert "Refresh:" in lines[1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("numpy==2.0\n", "Py_YAML has no pin"),
        ("numpy==2.0\npy-yaml==5.4\n", "Py_YAML is pinned to 5.4, which Py_YAML>=6 refuses"),
        ("numpy==2.0\npy.yaml==6.0\nNumPy==2.1\n", "NumPy is pinned twice"),
        ("numpy==2.0\npy-yaml>=6\n", "not an exact pin: 'py-yaml>=6'"),
        (
            "numpy==2.0\npy-yaml @ https://example.org/y.whl\n",
            "not an exact pin: 'py-yaml @ https://example.org/y.whl'",
        ),
        ("--index-url https://example.org\n", "not an exact pin: '--index-url https://example.org'"),
        ("-e .\n", "not an exact pin: '-e .'"),
    ],
)
def test_the_check_can_fail(text, problem):
    assert problem in problems([Requirement("numpy"), Requirement("Py_YAML>=6")], text)
