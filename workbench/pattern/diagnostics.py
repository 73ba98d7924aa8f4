"""What is wrong with a pattern, where, and how to mend it: `Diagnostic`, its text with carets, `PatternError`."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from workbench.errors import WorkbenchError

Severity = Literal["error", "warning"]

# Every code there is, and what it is about. Stable: scripts and the editor switch on them.
CODES: dict[str, Severity] = {
    "unknown-symbol": "error",
    "unclosed-group": "error",
    "unopened-group": "error",
    "nested-group": "error",
    "empty-group": "error",
    "group-size": "error",
    "group-order": "error",
    "group-crosses-stage": "error",
    "group-crosses-mtp": "error",
    "stage-in-mtp": "error",
    "mtp-mismatch": "error",
    "mixed-attention": "error",
    "empty-pattern": "warning",
    "empty-stage": "warning",
    "empty-mtp": "warning",
    "unfused-pair": "warning",
    "auto-split": "warning",
}

_WINDOW = 72  # characters of a long pattern that are shown around the span
_SHOWN = 20  # problems that are drawn; `diagnostics` holds the rest


@dataclass(frozen=True)
class Fix:
    """One edit that mends the problem: replace `text[start:end]` by `replacement`. `label` is what a button says."""

    label: str
    start: int
    end: int
    replacement: str

    def apply(self, text: str) -> str:
        """The text after the edit."""
        return text[: self.start] + self.replacement + text[self.end :]


@dataclass(frozen=True)
class Diagnostic:
    """One problem of a pattern.

    `code` is one of `CODES`; `start` and `end` delimit the wrong characters in the user's own text (`end` exclusive;
    both equal where something is missing). `message` says what is wrong, `hint` what to do about it, `fix` does it.
    """

    code: str
    start: int
    end: int
    message: str
    hint: str
    fix: Fix | None = None

    @property
    def severity(self) -> Severity:
        """ "error" for what cannot be built, "warning" for what can and is rarely meant."""
        return CODES[self.code]

    @property
    def span(self) -> str:
        """The span in words: "7" for one character, "7–9" for several (positions from 0, last one included)."""
        return str(self.start) if self.end <= self.start + 1 else f"{self.start}–{self.end - 1}"

    def to_json(self) -> dict[str, Any]:
        """The diagnostic as JSON data."""
        return {
            "code": self.code,
            "severity": self.severity,
            "start": self.start,
            "end": self.end,
            "message": self.message,
            "hint": self.hint,
        }

    def render(self, text: str) -> str:
        """The pattern with carets under the span, then the message and the hint; four lines.

        >>> print(Diagnostic("unknown-symbol", 1, 2, "'Q' is no layer symbol", "remove it").render("MQ"))
          MQ
           ^
        error unknown-symbol at 1: 'Q' is no layer symbol
          hint: remove it
        """
        line, column, width = _excerpt(text, self.start, self.end)
        return f"  {line}\n  {' ' * column}{'^' * width}\n{self.severity} {self.code} at {self.span}: {self.message}\n  hint: {self.hint}"


class PatternError(WorkbenchError):
    """A pattern that cannot be built. `diagnostics` holds every problem; its text draws each with carets."""

    def __init__(self, text: str, diagnostics: Sequence[Diagnostic]) -> None:
        self.text = text
        self.diagnostics = tuple(diagnostics)
        super().__init__(render(text, [entry for entry in diagnostics if entry.severity == "error"]))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.text, self.diagnostics)

    def _render_traceback_(self) -> list[str]:
        # IPython shows this in place of a traceback: the caret text is what the author of a pattern needs.
        return [f"PatternError: {self}"]


def render(text: str, diagnostics: Sequence[Diagnostic]) -> str:
    """The diagnostics of a pattern as text, in the order given; of very many, the first ones and a count."""
    count = len(diagnostics)
    lines = [entry.render(text) for entry in diagnostics[:_SHOWN]]
    if count != 1:
        lines.insert(0, f"{count or 'no'} problems")
    if count > _SHOWN:
        lines.append(f"and {count - _SHOWN} more")
    return "\n".join(lines)


def visible(text: str) -> str:
    """The text with control and other invisible characters replaced, one for one, so that carets stay in place.

    >>> visible("M\\n*")
    'M␊*'
    """
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if character == "\x7f":
        return "␡"
    # Control, format, surrogate, unassigned, separator and combining characters have no column of their own.
    category = unicodedata.category(character)
    if (character != " " and category[0] in "CZ") or category in ("Mn", "Me") or unicodedata.combining(character):
        return "�"
    return character


def shortened(text: str, limit: int = 40) -> str:
    """The text, its middle left out where it is long; for messages, which quote what the carets show already.

    >>> shortened("M-" * 50, limit=9)
    'M-M-…M-M-'
    """
    half = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"


def _excerpt(text: str, start: int, end: int) -> tuple[str, int, int]:
    """The part of the text to show, the column of the first caret in it, and the number of columns under carets."""
    low, high = 0, len(text)
    if len(text) > _WINDOW:
        low = max(0, min(start - _WINDOW // 3, len(text) - _WINDOW))
        high = min(len(text), low + _WINDOW)
    shown_end = max(min(end, high), start)
    before = ("…" if low else "") + visible(text[low:start])
    under = visible(text[start:shown_end])
    after = visible(text[shown_end:high]) + ("…" if high < len(text) else "")
    return before + under + after, columns(before), max(1, columns(under))


def columns(text: str) -> int:
    """Terminal columns of a visible text; East Asian wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
