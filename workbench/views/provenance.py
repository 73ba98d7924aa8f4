"""Where a report comes from: versions, digests, the command, and the conventions that its numbers follow.

No time stands in it: the same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from workbench.arch.architecture import Architecture
from workbench.render import scene

# Looked up in the metadata of what is installed; nothing of it is imported.
_PACKAGES = ("hybrid-workbench", "megatron-core", "torch")

_CONVENTIONS = (
    "Blocks and sub-layers are always both counted: a block is a module of the built stack, a sub-layer a symbol of the pattern.",
    "Sub-layers and blocks are numbered from 0; a block's layer_number is that of its first sub-layer, from 1. MTP numbers its own.",
    "Stored names and shapes are those that the unfused pattern has in megatron-core with Transformer Engine's modules.",
    "Parameters are exact. K, M and B are powers of 1000, KiB, MiB and GiB of 1024; a multiply-add is 2 FLOPs.",
    "All numbers follow from the pattern, the sizes and the command: no model was built for this page.",
    "Whether two patterns are the same function is said by a verdict only.",
)


@dataclass(frozen=True)
class Provenance:
    """What a report was made with, besides its numbers. `inputs` are further (what, value) rows, `date` is free text."""

    command: str = ""
    date: str = ""
    inputs: tuple[tuple[str, str], ...] = ()


def provenance_parts(found: Provenance, architecture: Architecture) -> tuple[scene.Part, ...]:
    """Versions, digests and the command in one table, then the conventions."""
    rows = [(name, installed(name)) for name in _PACKAGES]
    rows.append(("sha256 of pattern, sizes and dtype", digest(architecture)))
    rows += found.inputs
    rows += [(what, value) for what, value in (("command", found.command), ("date", found.date)) if value]
    columns = (scene.Column("what"), scene.Column("value", code=True))
    return (
        scene.Table(columns, tuple(rows), "What this report was made with: the same again gives the same bytes."),
        scene.Details("Conventions", (scene.Notes(tuple(map(scene.Note, _CONVENTIONS))),)),
    )


def digest(architecture: Architecture) -> str:
    """SHA-256 of the pattern's text, every size and the dtype, as JSON with sorted names: equal for equal models only."""
    data = {
        "pattern": str(architecture.pattern),
        "sizes": architecture.sizes.to_json(),
        "dtype": architecture.dtype,
    }
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def installed(package: str) -> str:
    """A package's version, or "not installed"; the package is not imported."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
