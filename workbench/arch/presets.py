"""Published architectures by name: pattern, sizes, where they come from, and what they leave out.

The data is `presets.json` beside this file. Counts that follow from pattern and sizes are not in it. An architecture
that Megatron Core's symbols cannot say stays in the list with the reason. Pure: standard library, `workbench.arch`,
`workbench.pattern` and `workbench.errors` only.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from workbench.arch.architecture import Architecture
from workbench.arch.sizes import ModelSizes
from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

DATA = Path(__file__).with_name("presets.json")


@dataclass(frozen=True)
class Preset:
    """One published architecture.

    `pattern` and `sizes` are None where nothing could be said of them. `published` is the parameter count as its
    authors put it ("120B total / 12B active (name)"); `exact_parameters` is a published count to the last parameter,
    and the last of `sources` says whose. `caveats` are sentences; `reason` says why it is not expressible, else "".
    """

    name: str
    pattern: Pattern | None
    sizes: ModelSizes | None
    published: str | None
    exact_parameters: int | None
    sources: tuple[str, ...]
    caveats: tuple[str, ...]
    reason: str
    aliases: tuple[str, ...] = ()

    @property
    def expressible(self) -> bool:
        """True when the pattern and the sizes say all of it, so that `architecture` can be asked for."""
        return not self.reason

    def architecture(self, dtype: str = "bf16") -> Architecture:
        """Its `Architecture`.

        `WorkbenchError` where it is not expressible; `SizesError` where its vocabulary is not published.
        """
        if self.reason or self.pattern is None or self.sizes is None:
            raise WorkbenchError(f"{self.name} cannot be written as a pattern: {self.reason}")
        return Architecture(self.pattern, self.sizes, dtype=dtype)


@lru_cache(maxsize=1)
def presets() -> tuple[Preset, ...]:
    """Every preset, in the order of the data: families together, what is not expressible among them."""
    return tuple(_preset(entry) for entry in json.loads(DATA.read_text(encoding="utf-8")))


def preset(name: str) -> Preset:
    """The preset of this name or alias; case, spaces and punctuation do not matter.

    >>> preset("llama-3-8b").name
    'Llama-3 8B'

    `WorkbenchError` for an unknown name, with the nearest ones.
    """
    names = _names()
    found = names.get(_plain(name))
    if found is None:
        near = difflib.get_close_matches(_plain(name), names, n=6, cutoff=0.5)
        # Several aliases of one preset are one suggestion.
        meant = list(dict.fromkeys(names[key].name for key in near))[:3]
        hint = f"did you mean {' or '.join(map(repr, meant))}? " if meant else ""
        raise WorkbenchError(f"no preset is named {name!r}: {hint}'workbench presets' lists all of them")
    return found


@lru_cache(maxsize=1)
def _names() -> dict[str, Preset]:
    """Every way to write a name, plain."""
    found: dict[str, Preset] = {}
    for entry in presets():
        for name in (entry.name, *entry.aliases):
            assert _plain(name) not in found, f"two presets are named {name!r}"
            found[_plain(name)] = entry
    return found


def _plain(name: str) -> str:
    """Lower case, letters and digits only.

    >>> _plain("DeepSeek-V3 / R1")
    'deepseekv3r1'
    """
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _preset(entry: Mapping[str, Any]) -> Preset:
    pattern, fields = entry["pattern"], entry["fields"]
    return Preset(
        name=entry["name"],
        pattern=None if pattern is None else Pattern(pattern),
        sizes=None if fields is None else ModelSizes.from_mapping(fields),
        published=entry["published"],
        exact_parameters=entry.get("exact_parameters"),
        sources=tuple(entry["sources"]),
        caveats=tuple(entry["caveats"]),
        reason=entry.get("reason", ""),
        aliases=tuple(entry.get("aliases", ())),
    )
