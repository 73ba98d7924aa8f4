"""What a training run was obtained with: versions, device, threads. JSON values."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from workbench.fusion import runtime

_PACKAGES = ("hybrid-workbench", "megatron-core", "torch", "numpy", "transformer-engine", "mamba-ssm")


def environment(backend: str) -> dict[str, Any]:
    """Python and package versions, platform, device, torch's thread count and the backend of the layers."""
    device = runtime.require().device
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
        "threads": torch.get_num_threads(),
        "backend": backend,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
