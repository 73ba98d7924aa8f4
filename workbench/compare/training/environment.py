"""What a training run was obtained with: versions, device, threads. JSON values."""

from __future__ import annotations

from typing import Any

import torch

from workbench.compare.environment import machine


def environment(backend: str) -> dict[str, Any]:
    """What `machine` says, torch's thread count and the backend of the layers."""
    return {**machine(), "threads": torch.get_num_threads(), "backend": backend}
