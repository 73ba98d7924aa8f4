"""Every test here needs megatron, which workbench.fusion makes importable; it must come first."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import workbench.fusion  # noqa: F401
from workbench.compare.session import Session, Settings
from workbench.pattern.model import Pattern


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Bits are compared: no reduction may depend on how threads share it."""
    torch.set_num_threads(1)


@pytest.fixture
def twins(tmp_path: Path) -> Callable[..., Session]:
    """Build the twins of a pattern, fused on the left, ready for the checks."""

    def build(pattern: str = "M[*-]M[ME]", against: str | None = None, **settings: object) -> Session:
        left = Pattern(pattern)
        right = left.unfused() if against is None else Pattern(against)
        return Session.build(left, right, Settings(steps=2, **settings), tmp_path)  # type: ignore[arg-type]

    return build
