"""Text from strangers made safe to show: no control character reaches a terminal, no markup reaches a page."""

from __future__ import annotations

import html
import unicodedata

_KEPT = "\n\t"


def visible(text: str) -> str:
    r"""The text with control, direction-changing and unpaired surrogate characters replaced by visible ones.

    Line ends and tabs stay; an escape sequence can neither colour a terminal nor turn a line around.

    >>> visible("a\x1b[31mb\u202ec")
    'a␛[31mb�c'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character in _KEPT:
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    # U+FFFE, U+FFFF and their like in every plane are no characters: XML that holds one is not well-formed.
    if code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:
        return "�"
    return "�" if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") else character


def one_line(text: str) -> str:
    r"""`visible`, line ends and tabs included: for a place that holds one line.

    >>> one_line("a\nb")
    'a␊b'
    """
    return visible(text).replace("\n", "␊").replace("\t", "␉")


def markup(text: str) -> str:
    """The text as HTML or SVG: in an element or in a quoted attribute.

    >>> markup('<script>"&')
    '&lt;script&gt;&quot;&amp;'
    """
    return html.escape(visible(text), quote=True)


def columns(text: str) -> int:
    """Terminal columns of a text; wide East Asian characters take two, combining ones none.

    >>> columns("M-"), columns("層"), columns("e\u0301")
    (2, 2, 1)
    """
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
