"""Words of a Megatron-LM command line → the value of every model flag, and what there is beside them. Pure.

Arguments are told from shell text: a list of words is one command, a text is a fragment of a script (`shell_words`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.arch.megatron.flags import CAVEAT_FLAGS, MODEL_FLAGS, OTHER_CAVEATS, Flag
from workbench.arch.megatron.run_flags import ONE_VALUE, SEVERAL_VALUES, SWITCHES
from workbench.arch.megatron.shell_words import Word, commands_of
from workbench.errors import WorkbenchError

PATTERN_FLAGS = ("--hybrid-layer-pattern", "--hybrid-override-pattern")
_READ = {flag.name: flag for flag in (*MODEL_FLAGS, *CAVEAT_FLAGS, *(flag for flag, _ in OTHER_CAVEATS))}
_NO_VALUE = SWITCHES | {flag.name for flag in _READ.values() if flag.kind in ("on", "off")}
_MANY = SEVERAL_VALUES | {flag.name for flag in _READ.values() if flag.kind in ("texts", "numbers")}
_KNOWN = _READ.keys() | SWITCHES | ONE_VALUE | SEVERAL_VALUES
# Stack specs of megatron-core that build what the pattern says.
_USUAL_SPECS = ("mamba_stack_spec", "hybrid_stack_spec")


@dataclass(frozen=True)
class Options:
    """`values` by megatron's name of the field, megatron's default where a flag is missing.

    `caveats` are flags that nobody knows, and flags with an effect that are no field of the config.
    """

    values: dict[str, Any]
    caveats: tuple[str, ...]


def read_options(arguments: Sequence[str] | str) -> Options:
    """The options of a command line, the last one where a flag is repeated.

    Raises `WorkbenchError` when there is no pattern flag or more than one command has one, for a value of the wrong kind
    or number, and for a variable that the text does not set where it would matter. Values of flags about running are
    not looked at.
    """
    found: dict[str, tuple[Word, ...]] = {}
    for name, words in _flags(_command(arguments)):
        found[name] = words
    values = {flag.field: flag.default for flag in _READ.values()}
    given = {}
    for name, words in found.items():
        if name in _READ:
            given[name] = values[_READ[name].field] = _value(_READ[name], words)
    unknown = [f"{name}: not a flag of Megatron-LM that is known here, so it is not read" for name in found]
    caveats = [text for name, text in zip(found, unknown, strict=True) if name not in _KNOWN]
    caveats += [f"{_written(flag, given)}: {what}" for flag, what in OTHER_CAVEATS if _counts(flag, given)]
    return Options(values, tuple(caveats))


def _command(arguments: Sequence[str] | str) -> list[Word]:
    """The words behind the launched script of the one command that has a pattern."""
    if isinstance(arguments, str):
        commands = list(_commands(arguments, depth=0))
    else:
        commands = [[Word(text, text if "$" in text else None) for text in arguments]]
    fitting = [words for words in commands if any(word.text.split("=")[0] in PATTERN_FLAGS for word in words)]
    if len(fitting) > 1:
        raise WorkbenchError(f"{len(fitting)} commands have a layer pattern: give one of them")
    if not fitting:
        raise WorkbenchError(f"there is no {PATTERN_FLAGS[0]}: a hybrid model needs one")
    return fitting[0]


def _commands(text: str, depth: int) -> Iterator[list[Word]]:
    loose: list[Word] = []
    for words in commands_of(text):
        # A command in one word, as in `sh -c "${run_cmd}"`.
        whole = [word.text for word in words if any(f"{flag} " in word.text for flag in PATTERN_FLAGS)]
        for inner in whole if depth < 3 else []:
            yield from _commands(inner, depth + 1)
        script = max((place for place, word in enumerate(words) if word.text.endswith(".py")), default=-1)
        if words[0].text.startswith("--"):
            # Bare lines of flags belong together, whatever their ends of line.
            loose += words
        else:
            yield list(words[script + 1 :])
    yield loose


def _flags(words: Sequence[Word]) -> Iterator[tuple[str, tuple[Word, ...]]]:
    """Each flag and the values behind it."""
    place = next((at for at, word in enumerate(words) if word.text.startswith("--")), len(words))
    _refuse_unknown(words[:place])
    while place < len(words):
        name, equals, value = words[place].text.partition("=")
        _refuse_unknown([Word(name, words[place].unknown if "$" in name else None)])
        end = place + 1
        while end < len(words) and not words[end].text.startswith("--"):
            end += 1
        values = [Word(value, words[place].unknown)] if equals else []
        values += words[place + 1 : end]
        if name in _KNOWN and name not in _MANY:
            most = 0 if name in _NO_VALUE else 1
            _refuse_unknown(values[most:])
            if len(values) > most:
                raise WorkbenchError(f"{name} takes {'one' if most else 'no'} value, not {values[most].text!r} too")
            if len(values) < most:
                raise WorkbenchError(f"{name} has no value")
        elif name in _READ or name not in _KNOWN:
            _refuse_unknown(values)
        yield name, tuple(values)
        place = end


def _refuse_unknown(words: Sequence[Word]) -> None:
    """A variable outside of a value may hold flags; one in a value that is read leaves a size open."""
    for word in words:
        if word.unknown:
            raise WorkbenchError(
                f"{word.unknown} is not set (once) in the text, and flags may be in it: write out what it holds"
            )


def _value(flag: Flag, words: tuple[Word, ...]) -> Any:
    if flag.kind in ("on", "off"):
        return flag.kind == "on"
    if not words:
        raise WorkbenchError(f"{flag.name} has no value")
    for word in words:
        if word.unknown:
            raise WorkbenchError(f"{flag.name} is {word.text!r}, and {word.unknown} is not set (once) in the text")
    texts = [word.text for word in words]
    if flag.kind == "texts":
        return texts if len(texts) > 1 else texts[0]
    if flag.kind == "numbers":
        numbers = [_number(flag.name, text) for text in texts]
        return numbers if len(numbers) > 1 else numbers[0]
    if flag.kind == "whole":
        return _whole(flag.name, texts[0])
    # A caveat's value is a number where it looks like one, so that it can be compared with what is neutral.
    if flag.kind == "number" or flag in CAVEAT_FLAGS:
        return _number(flag.name, texts[0], or_text=flag.kind == "text")
    return texts[0]


def _whole(name: str, text: str) -> int:
    if not text.lstrip("+-").isdecimal() or len(text) > 18:
        raise WorkbenchError(f"{name} must be a whole number, not {text!r}")
    return int(text)


def _number(name: str, text: str, *, or_text: bool = False) -> float | str:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return int(number) if or_text and number.is_integer() else number
    if or_text:
        return text
    raise WorkbenchError(f"{name} must be a number, not {text!r}")


def _written(flag: Flag, given: dict[str, Any]) -> str:
    return flag.name if flag.kind in ("on", "off") else f"{flag.name}={given[flag.name]!r}"


def _counts(flag: Flag, given: dict[str, Any]) -> bool:
    if flag.name not in given:
        return False
    value = given[flag.name]
    return flag.name != "--spec" or not (isinstance(value, list) and value[-1] in _USUAL_SPECS)
