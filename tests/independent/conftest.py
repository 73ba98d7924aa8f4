"""Every test here needs megatron, which workbench.fusion makes importable; it must come first."""

import pytest
import torch

import workbench.fusion  # noqa: F401
from workbench.fusion import runtime


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Sums are compared: none may depend on how threads share it."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _running() -> None:
    runtime.start()
