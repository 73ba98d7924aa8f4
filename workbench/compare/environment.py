"""What a result was obtained with: versions, machine, device; and how many threads torch uses meanwhile."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from workbench.fusion import runtime

_PACKAGES = ("hybrid-workbench", "megatron-core", "torch", "numpy", "transformer-engine", "mamba-ssm")


def machine() -> dict[str, Any]:
    """Versions by package, the platform, and the device of the running runtime."""
    device = runtime.require().device
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "cpu",
    }


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Inside, torch uses so many threads (None: as many as it did); afterwards as many as before."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
