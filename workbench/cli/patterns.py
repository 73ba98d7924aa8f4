"""Patterns on a command line: they look like options (`-M*`) and like file names (`M*-`), and are neither."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence

from workbench.errors import WorkbenchError
from workbench.pattern.model import Pattern

# Set before an argument that is a pattern, so that argparse does not take it for an option. No argument of a process
# can hold this character.
_MARK = "\0"
_PATTERN_LIKE = re.compile(r"-[-A-Z*+\[\]|/]*")
_SHOWN = 6

QUOTE_HINT = "this looks like file names: the shell expanded an unquoted pattern; quote it: 'M*-'"


def protect(argv: Sequence[str], options: Collection[str]) -> list[str]:
    """The arguments with every pattern that starts with "-" marked; what follows a lone "--" is marked as it is.

    An argument is taken for a pattern when it is no option of the command and holds only what patterns are made of,
    so that a misspelt option (`--jsn`) is still reported as one.

    >>> protect(["-M*", "--json"], {"--json"})
    ['\\x00-M*', '--json']
    >>> protect(["--", "--"], {"--json"})
    ['\\x00--']
    """
    kept: list[str] = []
    for place, argument in enumerate(argv):
        if argument == "--":
            return kept + [_MARK + text for text in argv[place + 1 :]]
        is_pattern = argument not in options and _PATTERN_LIKE.fullmatch(argument) is not None
        kept.append(_MARK + argument if is_pattern else argument)
    return kept


def plain(argument: str) -> str:
    """The argument without its mark: the `type` of every argparse argument that may be a pattern."""
    return argument.removeprefix(_MARK)


def only(patterns: Sequence[str], command: str) -> str:
    """The one pattern of a command, or `WorkbenchError` that says what to type."""
    if not patterns:
        raise WorkbenchError(f"workbench {command} needs a pattern, such as: workbench {command} 'M[*-]M-'")
    if len(patterns) > 1:
        shown = " ".join(map(repr, patterns[:_SHOWN])) + (" …" if len(patterns) > _SHOWN else "")
        raise WorkbenchError(
            f"workbench {command} takes one pattern, {len(patterns)} were given: {shown}\n  hint: {QUOTE_HINT}"
        )
    if _is_file_name(patterns[0]):
        raise WorkbenchError(f"{patterns[0]!r} is not a pattern\n  hint: {QUOTE_HINT}")
    return patterns[0]


def several(patterns: Sequence[str], command: str) -> list[str]:
    """The patterns of a command that takes any number, or `WorkbenchError` that says what to type."""
    if not patterns:
        raise WorkbenchError(f"workbench {command} needs patterns, such as: workbench {command} 'MMMM' 'M*MM'")
    for pattern in patterns:
        only([pattern], command)
    return list(patterns)


def with_layers(text: str, purpose: str) -> Pattern:
    """A pattern that has something in it to train, verify, …; raises `PatternError`, or `WorkbenchError` for an empty one."""
    pattern = Pattern(text)
    if not pattern.sublayers:
        raise WorkbenchError(f"an empty pattern has no layers: there is nothing to {purpose}")
    return pattern


def _is_file_name(text: str) -> bool:
    """An entry of the working folder whose name no pattern could have: a glob that matched exactly one file."""
    foreign = re.search(r"[a-z._~]", text) is not None
    return foreign and "\0" not in text and os.path.lexists(text)
