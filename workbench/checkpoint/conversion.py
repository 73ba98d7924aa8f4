"""What a conversion did, or would do, as frozen data: the views show it, the command line prints it. Pure.

`workbench.checkpoint.convert` makes these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

SCHEMA = "workbench.conversion/1"


@dataclass(frozen=True)
class End:
    """The source, or the target: where it is, what it is, and what its names say."""

    where: str
    format: str
    layout: str
    form: str
    backend: str | None
    pattern: str | None
    tensors: int
    nbytes: int


@dataclass(frozen=True)
class Renamed:
    """A tensor of the target, and the source's that its bytes come from: one, or several that it is put together from."""

    name: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Converted:
    """A finished conversion, or with `dry_run` one that was thought through and not made.

    `linked_bytes` are shared with the source's files, `copied_bytes` were taken over as runs of a file, `gathered_bytes` were
    put together from pieces. `verified` says that the target was read again and every tensor compared with the
    source's, bit for bit (a dry run has nothing to compare). `files` are relative to the target.
    """

    source: End
    target: End
    mapping: tuple[Renamed, ...]
    files: tuple[str, ...]
    dry_run: bool
    verified: bool
    seconds: float
    linked_bytes: int = 0
    copied_bytes: int = 0
    gathered_bytes: int = 0
    notes: tuple[str, ...] = ()

    view: ClassVar[Callable[[Converted], dict[str, str]] | None] = None

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data, with a versioned `schema`."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self)} if Converted.view is None else Converted.view(self)
