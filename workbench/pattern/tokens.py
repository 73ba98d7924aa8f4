"""Characters of a pattern as tokens with their place; the first half of reading a pattern."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import groupby

from workbench.pattern.symbols import SYMBOLS


class Kind(Enum):
    """What a character of a pattern is."""

    SYMBOL = "a layer symbol"
    STAGE = "|"
    MTP = "/"
    OPEN = "["
    CLOSE = "]"
    UNKNOWN = "none of these"


_SEPARATORS = {kind.value: kind for kind in (Kind.STAGE, Kind.MTP, Kind.OPEN, Kind.CLOSE)}


@dataclass(frozen=True)
class Token:
    """One character, or a run of one and the same unknown character, at `text[start:end]`."""

    kind: Kind
    text: str
    start: int

    @property
    def end(self) -> int:
        """The place after the token."""
        return self.start + len(self.text)


def tokenize(text: str) -> tuple[Token, ...]:
    """The tokens of a pattern, in order, none left out: joined they give the text back.

    >>> [token.kind.name for token in tokenize("M[*-]")]
    ['SYMBOL', 'OPEN', 'SYMBOL', 'SYMBOL', 'CLOSE']
    """
    tokens: list[Token] = []
    place = 0
    for character, run in groupby(text):
        kind = Kind.SYMBOL if character in SYMBOLS else _SEPARATORS.get(character, Kind.UNKNOWN)
        count = sum(1 for _ in run)
        if kind is Kind.UNKNOWN:
            tokens.append(Token(kind, character * count, place))
        else:
            tokens.extend(Token(kind, character, start) for start in range(place, place + count))
        place += count
    return tuple(tokens)
