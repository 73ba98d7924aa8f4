"""Is the code that runs the code that was released? The wheel's own record of its bytes answers."""

from __future__ import annotations

import hashlib
import inspect
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, PackagePath, distribution
from pathlib import Path

_PACKAGE = "megatron-core"


@dataclass(frozen=True)
class Source:
    """Where a class comes from. `release` is None for a file that megatron-core did not install.

    `unchanged` is True when the file's bytes are those on record, False when they are not, and None when there is no
    record to compare with (an editable install, or a file of somebody else's).
    """

    name: str
    module: str
    release: str | None
    unchanged: bool | None


def source_of(cls: type) -> Source:
    """Compare the file that defines a class with the SHA-256 that the installed megatron-core wheel recorded for it."""
    try:
        path = Path(inspect.getfile(cls)).resolve()
        package = distribution(_PACKAGE)
    except (TypeError, OSError, PackageNotFoundError):
        return Source(cls.__name__, cls.__module__, None, None)
    for entry in package.files or ():
        if entry.name == path.name and Path(str(entry.locate())).resolve() == path:
            return Source(cls.__name__, cls.__module__, f"{_PACKAGE} {package.version}", _unchanged(entry, path))
    return Source(cls.__name__, cls.__module__, None, None)


def _unchanged(entry: PackagePath, path: Path) -> bool | None:
    if entry.hash is None or entry.hash.mode != "sha256":
        return None
    found = urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
    return found == entry.hash.value
