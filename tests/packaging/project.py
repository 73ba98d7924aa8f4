"""What pyproject.toml says, as the packaging tests ask for it."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement


def load(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def normalized(name: str) -> str:
    """A distribution's name as registries compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(project: dict, *extras: str) -> Iterator[Requirement]:
    """The project's own requirements and those of the extras; an extra that names the project is followed."""
    for text in [*project["dependencies"], *(text for extra in extras for text in project_extra(project, extra))]:
        requirement = Requirement(text)
        if normalized(requirement.name) != normalized(project["name"]):
            yield requirement


def project_extra(project: dict, extra: str) -> Iterator[str]:
    for text in project["optional-dependencies"][extra]:
        requirement = Requirement(text)
        if normalized(requirement.name) == normalized(project["name"]):
            for inner in requirement.extras:
                yield from project_extra(project, inner)
        else:
            yield text
