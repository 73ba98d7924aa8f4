"""`Config`: the fields of a stranger's `config.json`, each checked as it is read, with the family's defaults. Pure.

A field that is not in the file has the default of the family's transformers class; one that has no default there is
missing. `null` is a value of its own: only the `optional_…` readers take it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from reprlib import Repr
from typing import Any

from workbench.errors import WorkbenchError

MOST_LAYERS = 10_000
MOST_DEPTHS = 100  # of multi-token prediction
MOST_EXPERTS = 100_000
MOST = 2**40  # of any other number: no file makes arithmetic slow

_SHORT = Repr(maxstring=60, maxother=60, maxlist=4, maxdict=4)


class Config:
    """One configuration while it is converted; `caveats` fills up as families read it."""

    def __init__(self, data: Mapping[str, Any], defaults: Mapping[str, Any], source: str) -> None:
        self._data, self._defaults, self.source = data, defaults, source
        self.caveats: list[str] = []

    def error(self, text: str) -> WorkbenchError:
        """The error to raise: the file's name, then what is wrong with it."""
        return WorkbenchError(f"{self.source}: {text}")

    def say(self, sentence: str) -> None:
        """Add a caveat, once."""
        if sentence not in self.caveats:
            self.caveats.append(sentence)

    def has(self, name: str) -> bool:
        """True where the file has the field and it is not null."""
        return self._data.get(name) is not None

    def given(self, name: str) -> bool:
        """True where the file, or for it the family's default, has the field and it is not null."""
        return (self._data[name] if name in self._data else self._defaults.get(name)) is not None

    def first(self, *names: str) -> str:
        """The first of several spellings of one field that the file has; the first of all where it has none."""
        return next((name for name in names if self.has(name)), names[0])

    # ------------------------------------------------------------------------------------------ values

    def whole(self, name: str, *, least: int = 1, most: int = MOST) -> int:
        """A whole number."""
        value = self._value(name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            bound = f" and at most {most}" if isinstance(value, int) and value > most else ""
            raise self.error(f"{name} must be a whole number of at least {least}{bound}, not {shown(value)}")
        return value

    def optional_whole(self, name: str, *, least: int = 1, most: int = MOST) -> int | None:
        """A whole number, or null."""
        return None if self._value(name) is None else self.whole(name, least=least, most=most)

    def number(self, name: str) -> float:
        """A number of at least 0."""
        value = self._value(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST:
            bound = f" and at most {MOST}" if isinstance(value, int) and value > MOST else ""
            raise self.error(f"{name} must be a number of at least 0{bound}, not {shown(value)}")
        return float(value)

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._value(name)
        if not isinstance(value, bool):
            raise self.error(f"{name} must be true or false, not {shown(value)}")
        return value

    def text(self, name: str) -> str:
        """A text."""
        value = self._value(name)
        if not isinstance(value, str):
            raise self.error(f"{name} must be a text, not {shown(value)}")
        return value

    def choice(self, name: str, choices: Iterable[str | None]) -> str | None:
        """One of several texts; null where that is one of them."""
        value = self._value(name)
        known = list(choices)
        if not (value is None or isinstance(value, str)) or value not in known:
            texts = ", ".join("null" if text is None else text for text in known)
            raise self.error(f"{name} must be one of {texts}, not {shown(value)}")
        return value

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object; empty where the field is null or missing."""
        value = self._data.get(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self.error(f"{name} must be an object, not {shown(value)}")
        return value

    def words(self, name: str, known: Mapping[str, str], length: int | None = None) -> str | None:
        """A list of words, each put as its symbols: `known` maps a word to them. None where the field is null or missing."""
        value = self._data.get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self.error(f"{name} must be a list, not {shown(value)}")
        if len(value) > MOST_LAYERS:
            raise self.error(f"{name} must have at most {MOST_LAYERS} entries, not {len(value)}")
        if length is not None and len(value) != length:
            raise self.error(f"{name} has {len(value)} entries for num_hidden_layers {length}")
        for place, word in enumerate(value):
            if not isinstance(word, str) or word not in known:
                raise self.error(f"{name}[{place}] must be one of {', '.join(known)}, not {shown(word)}")
        return "".join(known[word] for word in value)

    def places(self, name: str, layers: int) -> frozenset[int]:
        """A list of layer numbers from 0; empty where the field is null or missing."""
        value = self._data.get(name)
        if value is None:
            return frozenset()
        if not isinstance(value, list) or any(
            isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < layers for place in value
        ):
            raise self.error(f"{name} must be a list of layer numbers from 0 to {layers - 1}, not {shown(value)}")
        return frozenset(value)

    def is_text(self, name: str, text: str) -> bool:
        """True where the field is this text; any other value is for another reader to check."""
        return bool(self._value(name) == text)

    def unlimited(self, name: str) -> bool:
        """True for the pair 0 and infinity, as JSON or as transformers writes it."""
        value = self._data.get(name)
        if not isinstance(value, list) or len(value) != 2:
            raise self.error(f"{name} must be a list of two numbers, not {shown(value)}")
        high = value[1].get("__float__") if isinstance(value[1], Mapping) else value[1]
        return bool(value[0] in (0, 0.0) and high in (math.inf, "Infinity", "inf"))

    def layers(self) -> int:
        """`num_hidden_layers`, bounded."""
        return self.whole("num_hidden_layers", most=MOST_LAYERS)

    def _value(self, name: str) -> Any:
        if name in self._data:
            return self._data[name]
        if name in self._defaults:
            return self._defaults[name]
        raise self.error(f"{name} is missing, and the family has no default for it")


def shown(value: Any) -> str:
    """A stranger's value for an error message: short whatever it is.

    >>> shown("x" * 1000)[:8], len(shown("x" * 1000)), shown(None), shown(True)
    ("'xxxxxxx", 60, 'null', 'true')
    """
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    try:
        return _SHORT.repr(value)
    except ValueError:
        return "a number of thousands of digits"
