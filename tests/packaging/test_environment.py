"""environment.yml gives conda users what pyproject.toml gives everyone: the same Python, project and extras, no more."""

import copy

import pytest
import yaml
from packaging.requirements import Requirement

from . import project

# conda's own share: graphviz is the program that draws; the Python package of that name comes from pip.
CONDA_PACKAGES = {"python", "graphviz", "pip"}


def problems(environment, metadata):
    """Where an environment drifts from the project's metadata, a sentence each."""
    found = []
    if environment["name"] != metadata["name"]:
        found.append(f"name is {environment['name']}")
    if environment["channels"] != ["conda-forge"]:
        found.append(f"channels are {environment['channels']}")
    *conda, last = environment["dependencies"]
    names = {Requirement(text).name for text in conda}
    if names != CONDA_PACKAGES or len(conda) != len(names):
        found.append(f"conda packages are {', '.join(conda)}")
    python = [str(Requirement(text).specifier) for text in conda if Requirement(text).name == "python"]
    if python != [metadata["requires-python"]]:
        found.append(f"Python is {python}, the project's is {metadata['requires-python']}")
    pip = last["pip"]
    if pip[:1] != ["-c constraints.txt"]:
        found.append("pip is not constrained")
    for line in pip[1:]:
        option, _, target = line.partition(" ")
        path, _, extras = target.partition("[")
        if (option, path, len(pip)) != ("-e", ".", 2):
            found.append(f"pip installs {line}")
        elif extras.removesuffix("]").split(",") != ["test", "dev"]:
            found.append(f"extras are {extras.removesuffix(']')}")
    return found


@pytest.fixture
def environment(repo_root):
    return yaml.safe_load((repo_root / "environment.yml").read_text(encoding="utf-8"))


@pytest.fixture
def metadata(repo_root):
    return project.load(repo_root)


def test_environment_is_the_project(environment, metadata):
    assert problems(environment, metadata) == []
    assert {"test", "dev"} <= set(metadata["optional-dependencies"])


def test_extras_are_those_of_make_setup(repo_root):
    assert "-c constraints.txt -e '.[test,dev]'" in (repo_root / "Makefile").read_text(encoding="utf-8")


def drift(key, value):
    def apply(environment):
        environment[key] = value

    return apply


def drift_dependency(index, value):
    def apply(environment):
        environment["dependencies"][index] = value

    return apply


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (drift("name", "workbench"), "name is workbench"),
        (drift("channels", ["defaults"]), "channels are ['defaults']"),
        (drift_dependency(0, "python >=3.11"), "Python is ['>=3.11'], the project's is >=3.12"),
        (drift_dependency(0, "python"), "Python is [''], the project's is >=3.12"),
        (drift_dependency(1, "numpy"), "conda packages are python >=3.12, numpy, pip"),
        (drift_dependency(-1, {"pip": ["-e .[test,dev]"]}), "pip is not constrained"),
        (drift_dependency(-1, {"pip": ["-c constraints.txt", "-e .[test]"]}), "extras are test"),
        (drift_dependency(-1, {"pip": ["-c constraints.txt", "torch"]}), "pip installs torch"),
        (drift_dependency(-1, {"pip": ["-c constraints.txt", "-e .[test,dev]", "x"]}), "pip installs x"),
    ],
)
def test_the_check_can_fail(environment, metadata, change, problem):
    drifted = copy.deepcopy(environment)
    change(drifted)
    assert problem in problems(drifted, metadata)
