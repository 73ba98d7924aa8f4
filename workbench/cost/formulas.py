"""Formulas that are read and evaluated from one text, so that what a report shows is what was computed. Pure.

A `Formula` is a name, an arithmetic text in the letters of `workbench.cost.letters`, and a source. The text is compiled
once; nothing but numbers, letters, + - * / // ( ), `min` and `max` is allowed in it.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import CodeType
from typing import Any

_ALLOWED = (
    ast.Expression, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Name, ast.Load, ast.Constant,
    ast.Call, ast.UnaryOp, ast.USub,
)  # fmt: skip
_FUNCTIONS = {"min": min, "max": max}


@dataclass(frozen=True)
class Formula:
    """`name` says what is counted, `text` how, `source` where it comes from (paper, or upstream file and line)."""

    name: str
    text: str
    source: str

    @cached_property
    def _code(self) -> CodeType:
        tree = ast.parse(self.text, mode="eval")
        for node in ast.walk(tree):
            assert isinstance(node, _ALLOWED), f"{self.name}: {type(node).__name__} has no place in a formula"
        return compile(tree, f"<formula {self.name}>", "eval")

    @cached_property
    def letters(self) -> frozenset[str]:
        """The letters that the text uses."""
        names = {node.id for node in ast.walk(ast.parse(self.text, mode="eval")) if isinstance(node, ast.Name)}
        return frozenset(names - _FUNCTIONS.keys())

    def value(self, letters: Mapping[str, float]) -> float:
        """The text's value; `KeyError` when a letter is missing.

        >>> Formula("area", "2 * a * (b + 1)", "school").value({"a": 3, "b": 4})
        30
        """
        known: dict[str, Any] = self.given(letters)
        return float_or_int(eval(self._code, {"__builtins__": {}, **_FUNCTIONS}, known))

    def given(self, letters: Mapping[str, float]) -> dict[str, float]:
        """The letters of the text with their values; `KeyError` when one is missing."""
        return {letter: letters[letter] for letter in self.letters}

    @property
    def shown(self) -> str:
        """The text as people write it.

        >>> Formula("area", "2 * a * (b + 1)", "school").shown
        '2·a·(b + 1)'
        """
        return self.text.replace(" * ", "·")


def float_or_int(value: float) -> float:
    """A whole number as `int`, so that counts stay exact and print without ".0"."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
