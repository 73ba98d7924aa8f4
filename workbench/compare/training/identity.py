"""What makes a stored run the run that is asked for: the same symbols, sizes, settings and data. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from workbench.arch.sizes import ModelSizes
from workbench.compare.training.settings import TrainingSettings
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

SCHEMA = "workbench.run/1"

# Settings that change no number of a run: when it is saved is nobody's business but the disk's.
_FREE = {"save_every"}

_HINT = (
    "a run is resumed with the symbols, sizes, settings and data that it began with (other brackets around the same symbols are "
    "allowed: checkpoints do not hold them); choose another directory for another run"
)


def describe(
    pattern: Pattern,
    sizes: ModelSizes,
    settings: TrainingSettings,
    data: Mapping[str, Any],
    environment: Mapping[str, Any],
    plan: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of `run.json`: `symbols` is the pattern without brackets, `plan` how a time budget became steps."""
    described = {
        "schema": SCHEMA,
        "pattern": str(pattern),
        "symbols": str(pattern.unfused()),
        "sizes": sizes.to_json(),
        "settings": asdict(settings),
        "data": dict(data),
        "environment": dict(environment),
        "plan": None if plan is None else dict(plan),
    }
    # As it will be read back: tuples are lists there.
    plain: dict[str, Any] = json.loads(json.dumps(described))
    return plain


def check_same(stored: Mapping[str, Any], asked: Mapping[str, Any], where: str) -> None:
    """Raise `WorkbenchError`, which lists every difference, unless `asked` goes on with the run that is `stored`."""
    lines: list[str] = []
    if stored["symbols"] != asked["symbols"]:
        lines.append(f"pattern: {stored['symbols']} there, {asked['symbols']} here (both without brackets)")
    for part in ("sizes", "settings", "data"):
        free = _FREE if part == "settings" else set()
        lines += _differences(part, stored[part], asked[part], free)
    if lines:
        shown = "\n".join(f"  {line}" for line in lines)
        raise WorkbenchError(f"{where} holds another run:\n{shown}\n  hint: {_HINT}")


def changed_environment(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What the bits of a sum may depend on and has changed, in words: versions, device, thread count."""
    return list(_differences("environment", stored["environment"], asked["environment"], set()))


def _differences(name: str, there: Any, here: Any, free: set[str]) -> Iterator[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted((there.keys() | here.keys()) - free):
            yield from _differences(f"{name}.{key}", there.get(key), here.get(key), set())
    elif there != here:
        yield f"{name}: {there!r:.80} there, {here!r:.80} here"
