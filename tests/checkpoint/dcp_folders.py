"""Small PyTorch DCP folders, as torch writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch.distributed.checkpoint as dcp


def save(state: dict[str, Any], path: Path, **options: Any) -> Path:
    """Save a state in this process alone; `options` are those of torch's writer."""
    dcp.save(state, storage_writer=dcp.FileSystemWriter(path, **options), no_dist=True)
    return path
