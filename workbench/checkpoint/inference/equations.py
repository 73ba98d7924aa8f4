"""What shapes prove about sizes that they do not give one by one: "num_attention_heads × head_dim = 4096". Pure.

Each equation can be asked for what follows from sizes that are known from elsewhere, and whether they contradict it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

type Values = Mapping[str, Any]


class Equation(Protocol):
    """Something that holds for the sizes in `names`."""

    @property
    def names(self) -> tuple[str, ...]:
        """The sizes that it is about."""
        ...

    @property
    def text(self) -> str:
        """It in words."""
        ...

    def solved(self, known: Values) -> Values:
        """Sizes that follow from it and `known`, none of which is in `known`."""
        ...

    def broken(self, known: Values) -> bool:
        """True where no values of the sizes that are not known could make it hold."""
        ...


@dataclass(frozen=True)
class Product:
    """The product of sizes is a number."""

    names: tuple[str, ...]
    value: int

    @property
    def text(self) -> str:
        """For example "mamba_num_groups × mamba_state_dim = 1024"."""
        return f"{' × '.join(self.names)} = {self.value}"

    def solved(self, known: Values) -> Values:
        """The last size, where all others are known and divide the number."""
        open_names = [name for name in self.names if known.get(name) is None]
        if len(open_names) != 1:
            return {}
        rest = math.prod(known[name] for name in self.names if name not in open_names)
        return {open_names[0]: self.value // rest} if rest and self.value % rest == 0 else {}

    def broken(self, known: Values) -> bool:
        """Where the known ones do not divide the number, or all are known and give another."""
        given = [known[name] for name in self.names if known.get(name) is not None]
        product = math.prod(given)
        if len(given) == len(self.names):
            return product != self.value
        return product == 0 or self.value % product != 0


@dataclass(frozen=True)
class Either:
    """Another equation holds for each value that a size may have; `text` says all of it."""

    name: str
    cases: tuple[tuple[Any, Equation], ...]
    text: str

    @property
    def names(self) -> tuple[str, ...]:
        """The size that decides, and those of every case."""
        inner = (name for _, equation in self.cases for name in equation.names)
        return tuple(dict.fromkeys((self.name, *inner)))

    def solved(self, known: Values) -> Values:
        """What the case that holds says, and which one it is, where only one is left."""
        left = self._left(known)
        if len(left) != 1:
            return {}
        value, equation = left[0]
        decided = {} if self.name in known else {self.name: value}
        return {**decided, **equation.solved(known)}

    def broken(self, known: Values) -> bool:
        """Where no case is left."""
        return not self._left(known)

    def _left(self, known: Values) -> list[tuple[Any, Equation]]:
        return [
            (value, equation)
            for value, equation in self.cases
            if known.get(self.name, value) == value and not equation.broken(known)
        ]


@dataclass(frozen=True)
class _Among:
    """A size and a few values, among which it is or is not: nothing to solve, only to contradict."""

    name: str
    values: tuple[Any, ...]
    text: str

    @property
    def names(self) -> tuple[str, ...]:
        """The one size."""
        return (self.name,)

    def solved(self, known: Values) -> Values:
        """Nothing: there are several values."""
        return {}


class OneOf(_Among):
    """A size is one of a few values."""

    def broken(self, known: Values) -> bool:
        """Where the size is known and none of them."""
        return self.name in known and known[self.name] not in self.values


class NotOneOf(_Among):
    """A size is none of a few values."""

    def broken(self, known: Values) -> bool:
        """Where the size is known and one of them."""
        return known.get(self.name) in self.values


@dataclass(frozen=True)
class AtMost:
    """A size is a whole number of at most `limit`."""

    name: str
    limit: int

    @property
    def names(self) -> tuple[str, ...]:
        """The one size."""
        return (self.name,)

    @property
    def text(self) -> str:
        """For example "moe_topk ≤ 128"."""
        return f"{self.name} ≤ {self.limit}"

    def solved(self, known: Values) -> Values:
        """Nothing."""
        return {}

    def broken(self, known: Values) -> bool:
        """Where the size is known and larger."""
        return known.get(self.name) is not None and known[self.name] > self.limit


@dataclass(frozen=True)
class Padded:
    """The vocabulary, rounded up to a multiple, is the embedding's rows."""

    rows: int
    names: tuple[str, ...] = ("vocab_size", "vocab_multiple")

    @property
    def text(self) -> str:
        """Both sizes and the rows."""
        return f"vocab_size, rounded up to a multiple of vocab_multiple, is {self.rows}"

    def solved(self, known: Values) -> Values:
        """A vocabulary of as many entries as there are rows needs no padding."""
        return {"vocab_multiple": 1} if known.get("vocab_size") == self.rows and "vocab_multiple" not in known else {}

    def broken(self, known: Values) -> bool:
        """Where the known ones give another number of rows, or the vocabulary is larger."""
        size, multiple = known.get("vocab_size"), known.get("vocab_multiple")
        if multiple is not None and self.rows % multiple:
            return True
        if size is None:
            return False
        return size > self.rows or (multiple is not None and -(-size // multiple) * multiple != self.rows)
