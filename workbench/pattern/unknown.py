"""What to say about a character that is no part of the pattern language: the likeliest thing that was meant."""

from __future__ import annotations

import unicodedata

from workbench.pattern.diagnostics import Diagnostic, Fix, visible
from workbench.pattern.symbols import SYMBOLS, UNRELEASED, meant_by
from workbench.pattern.tokens import Token

_BRACKETS = {"(": "[", "{": "[", "<": "[", ")": "]", "}": "]", ">": "]"}
_LONG_RUN = 8  # characters; a longer run is shown by its first one and a count


def unknown_symbol(token: Token) -> Diagnostic:
    """The diagnostic of one unknown token (a run of one character)."""
    hint, replacement = _advice(token.text[0])
    fix = None
    if replacement is not None:
        label = f"replace by {replacement!r}" if replacement else "remove it"
        fix = Fix(label, token.start, token.end, replacement * len(token.text))
    return Diagnostic("unknown-symbol", token.start, token.end, f"{_named(token)} is not a layer symbol", hint, fix)


def _advice(character: str) -> tuple[str, str | None]:
    """The hint, and what to put in place of the character ("" removes it, None is no suggestion)."""
    symbols = f"the symbols are {' '.join(SYMBOLS)}"
    meant = meant_by(character)
    if character.isspace():
        return "remove it: a pattern has no spaces and no line breaks", ""
    if visible(character) != character:
        return "remove it: it came along unseen, most likely from a copied text", ""
    if meant is not None:
        return f"did you mean {meant}?", meant.symbol
    if character.upper() in UNRELEASED:
        return f"{UNRELEASED[character.upper()]} is not in a released megatron-core; {symbols}", None
    if character in _BRACKETS:
        return f"groups are written with square brackets: {_BRACKETS[character]!r}", _BRACKETS[character]
    if character.isdigit() or character == "×":
        return "a pattern has no repeat counts: write every layer out, as in 'M-M-M-'", None
    return symbols, None


def _named(token: Token) -> str:
    """The token in quotes; an invisible character by its code point and name as well."""
    character, count = token.text[0], len(token.text)
    shown = f"'{visible(token.text)}'" if count <= _LONG_RUN else f"'{visible(character)}' ({count} times)"
    if visible(character) == character:
        return shown
    name = unicodedata.name(character, "").lower()
    return f"{shown} (U+{ord(character):04X}{' ' if name else ''}{name})"
