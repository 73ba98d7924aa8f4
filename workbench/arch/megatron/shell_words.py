"""Words of a shell fragment, read and never run: enough of the shell to find the flags of a training script. Pure.

Understood: quotes, backslashes and continued lines, comments, several commands, redirections, and variables that the text
itself sets once (`SIZE=64`, `ARGS="--x 1"`, `ARGS=(--x 1)`). Everything else that starts with `$` is unknown, and stays
in its word as text. Variables that are set and never used are together a last command: a fragment may be nothing but
`MODEL_ARGS=(...)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from workbench.errors import WorkbenchError

_BARE, _QUOTED, _LITERAL = "bare", "quoted", "literal"
Piece = tuple[str, str]  # how it is quoted, its text
Raw = tuple[Piece, ...]  # a word before its variables are looked up

_NAME = r"[A-Za-z_]\w*"
_ASSIGNMENT = re.compile(rf"({_NAME})(\+?)=")
_REFERENCE = re.compile(
    rf"\$\{{(?P<braced>{_NAME})(?:\[[@*]\])?\}}|\$(?P<plain>{_NAME})"
    r"|\$\(\([^()]*\)\)|\$\([^()]*\)|\$\{[^}]*\}|\$[0-9@*#?!$]|`[^`]*`"
)
_REDIRECTION = re.compile(r"\d*(?:>>|>|<)&?")
_IN_QUOTES = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r"\\(\n|[\"\\$`])")
_MOST = 1_000_000  # characters of a variable
_ENDS = " \t\r\n;&|()<>"
_BEFORE_COMMANDS = {"then", "else", "do", "{", "export", "local", "declare", "readonly"}


@dataclass(frozen=True)
class Word:
    """A word after expansion; `unknown` is the first reference in it that could not be looked up, as it was written."""

    text: str
    unknown: str | None = None


@dataclass(frozen=True)
class _Value:
    """What a variable was set to: the words of an array, or one word that is split where it is used without quotes."""

    words: tuple[Raw, ...]
    array: bool


@dataclass
class _Script:
    commands: list[list[Raw]] = field(default_factory=list)
    variables: dict[str, _Value] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)  # set more than once: which of the values holds is not known
    used: set[str] = field(default_factory=set)
    found: dict[str, list[Word]] = field(default_factory=dict)  # variables that were looked up


def commands_of(text: str) -> tuple[tuple[Word, ...], ...]:
    r"""The words of every command of a shell fragment, in the order of the text.

    >>> [[word.text for word in words] for words in commands_of('N=4\nrun --a $N \\\n  --b "x y" # why\nstop')]
    [['run', '--a', '4', '--b', 'x y'], ['stop']]
    >>> commands_of("run $WHO")[0][1].unknown
    '$WHO'

    Raises `WorkbenchError` for a quote that is not closed, and for variables that grow without end.
    """
    script = _script(text)
    found = [_expanded(command, script) for command in script.commands]
    unused = [((_BARE, f"${{{name}}}"),) for name in script.variables if name not in script.used]
    found.append(_expanded(list(unused), script))
    return tuple(tuple(words) for words in found if words)


# ---------------------------------------------------------------------------------- text → words → commands


def _tokens(text: str, place: int = 0) -> Iterator[tuple[Raw | str, int]]:
    """Each word, or "\n", "(", ")", ">" for what ends a command, holds an array, redirects; with the place behind it."""
    while place < len(text):
        here = text[place]
        if here in " \t\r" or text.startswith("\\\n", place):
            place += 1 if here != "\\" else 2
        elif here == "#":
            place = (text + "\n").index("\n", place)
        elif match := _REDIRECTION.match(text, place):
            place = match.end()
            yield ">", place
        elif here in "\n;&|()":
            place += 1
            yield here if here in "()" else "\n", place
        else:
            word, place = _word(text, place)
            yield word, place


def _word(text: str, place: int) -> tuple[Raw, int]:
    pieces: list[Piece] = []
    while place < len(text) and text[place] not in _ENDS:
        here = text[place]
        if here == "'" and (end := text.find("'", place + 1)) >= 0:
            pieces.append((_LITERAL, text[place + 1 : end]))
            place = end + 1
        elif here == '"' and (match := _IN_QUOTES.match(text, place)):
            # Every other part of the split is an escaped character.
            for number, part in enumerate(_ESCAPED.split(match[1])):
                pieces.append((_LITERAL, part.strip("\n")) if number % 2 else (_QUOTED, part))
            place = match.end()
        elif here in "'\"":
            line = text.count("\n", 0, place) + 1
            raise WorkbenchError(f"line {line} of the script opens a quote {here} that is not closed")
        elif here == "\\":
            pieces.append((_LITERAL, text[place + 1 : place + 2].strip("\n")))
            place += 2
        elif match := _REFERENCE.match(text, place):
            pieces.append((_BARE, match[0]))
            place = match.end()
        else:
            pieces.append((_BARE, here))
            place += 1
    return tuple(pieces), place


def _script(text: str) -> _Script:
    script, words, place = _Script(), list[Raw](), 0
    while place <= len(text):
        token, place = next(_tokens(text, place), ("\n", len(text) + 1))
        name = None if words or isinstance(token, str) else _ASSIGNMENT.match(_start(token))
        if token == ">":
            _, place = next(_tokens(text, place), ("\n", place))  # the file
        elif isinstance(token, str):
            script.commands.append(words)
            words = []
        elif name and text.startswith("(", place) and name.end() == len(token):
            array, place = _array(text, place + 1)
            _assign(name, _Value(array, array=True), script)
        elif name:
            _assign(name, _Value((token[name.end() :],), array=False), script)
        elif words or _start(token) not in _BEFORE_COMMANDS:
            words.append(token)
    return script


def _array(text: str, place: int) -> tuple[tuple[Raw, ...], int]:
    words = []
    for token, end in _tokens(text, place):
        place = end
        if token == ")":
            break
        if not isinstance(token, str):
            words.append(token)
    return tuple(words), place


def _assign(name: re.Match[str], value: _Value, script: _Script) -> None:
    if name[2] or script.variables.get(name[1], value) != value:
        script.changed.add(name[1])
    script.variables[name[1]] = value


def _start(word: Raw) -> str:
    """The unquoted text that a word starts with: pieces of one character each, or a reference."""
    found = ""
    for how, text in word:
        if how != _BARE:
            break
        found += text
    return found


# ------------------------------------------------------------------------------------------- variables


def _expanded(command: list[Raw], script: _Script, within: frozenset[str] = frozenset()) -> list[Word]:
    """The words of a command; `within` are the variables that are being looked up, which cannot hold themselves."""
    found: list[Word] = []
    for raw in command:
        # The words that this one becomes, each its text and what is unknown in it; None while there is nothing.
        words: list[Word | None] = [None]
        for how, text in raw:
            parts = [Word(text)] if how == _LITERAL else _looked_up(how, text, script, within)
            for number, part in enumerate(parts):
                words += [None] if number else []
                last = words[-1] or Word("")
                words[-1] = Word(last.text + part.text, _unknown([last, part]))
        found += [word for word in words if word is not None]
    return found


def _looked_up(how: str, text: str, script: _Script, within: frozenset[str]) -> list[Word]:
    """The words that a piece becomes: one, unless a variable in it has several."""
    match = _REFERENCE.fullmatch(text) if how == _BARE else None
    if match is None and how == _BARE:
        return [Word(text)]
    if match is not None:
        return _variable(match, script, within)
    words = [Word("")]
    for start, end, reference in _references(text):
        known = _variable(reference, script, within) if reference else [Word(text[start:end])]
        # A quoted array keeps its words; anything else quoted is one.
        spread = reference is not None and "[@]" in reference[0]
        joined = known if spread else [Word(" ".join(word.text for word in known), _unknown(known))]
        for number, part in enumerate(joined):
            words += [Word("")] if number else []
            words[-1] = Word(words[-1].text + part.text, _unknown([words[-1], part]))
    return words


def _unknown(words: list[Word]) -> str | None:
    return next((word.unknown for word in words if word.unknown), None)


def _references(text: str) -> Iterator[tuple[int, int, re.Match[str] | None]]:
    place = 0
    for match in _REFERENCE.finditer(text):
        yield place, match.start(), None
        yield match.start(), match.end(), match
        place = match.end()
    yield place, len(text), None


def _variable(match: re.Match[str], script: _Script, within: frozenset[str]) -> list[Word]:
    name = match["braced"] or match["plain"]
    script.used.add(name or "")
    if name not in script.variables or name in script.changed or name in within:
        return [Word(match[0], match[0])]
    if name not in script.found:
        value = script.variables[name]
        words = _expanded(list(value.words), script, within | {name})
        if not value.array:
            words = [Word(text, word.unknown) for word in words for text in word.text.split()]
        # Each variable that holds another one twice doubles what there is.
        if sum(len(word.text) for word in words) > _MOST:
            raise WorkbenchError(f"the variable {name} of the script holds more than {_MOST} characters")
        script.found[name] = words
    return script.found[name]
