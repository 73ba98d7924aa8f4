"""One text that names any data: `stdlib`, a task with its options (`mqar:pairs=16,vocabulary=64`), a file, a folder, a Megatron pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from workbench.compare.data.batch import Data
from workbench.compare.data.indexed import IndexedData
from workbench.compare.data.indexed_files import bin_path, idx_path, prefix_of
from workbench.compare.data.stdlib_source import stdlib_text
from workbench.compare.data.tasks.induction import Induction
from workbench.compare.data.tasks.mqar import MultiQueryAssociativeRecall
from workbench.compare.data.tasks.selective_copying import SelectiveCopying
from workbench.compare.data.tasks.state_tracking import StateTracking
from workbench.compare.data.tasks.task import TaskData
from workbench.compare.data.text import file_text
from workbench.errors import WorkbenchError

STDLIB = "stdlib"
DEFAULT_SEQUENCE = 128  # tokens, of text and of Megatron pairs

_TASKS: dict[str, type[Any]] = {
    "mqar": MultiQueryAssociativeRecall,
    "selective-copying": SelectiveCopying,
    "induction": Induction,
    "state-tracking": StateTracking,
}
# A task's field that is no option: it is `sequence`.
_LENGTH = "length"


def names() -> tuple[str, ...]:
    """What can be opened by name; everything else is a path."""
    return (STDLIB, *_TASKS)


def options(name: str) -> Mapping[str, Any]:
    """The options of a name and their defaults, for help texts."""
    return {
        field.name: field.default
        for field in (fields(_TASKS[name]) if name in _TASKS else ())
        if field.name != _LENGTH and field.default is not MISSING
    }


def open_data(text: str, *, sequence: int | None = None, seed: int) -> Data:
    """The data that `text` names, in sequences of `sequence` tokens.

    `sequence` None is 128 tokens of text or of a Megatron pair, and a task's own length: as few tokens as `mqar` needs, 64 of the
    others. A task that is given a longer one fills it (with filler, noise, more tokens or longer words), and refuses one that is too
    short for its options.

    A path is a text file, a folder of them, or the prefix or either file of a Megatron pair, which may be followed by
    `:vocabulary=50257`. A file that is called like a task is reached by "./mqar". Raises `WorkbenchError` for a name, an option
    or a value that is none, with those that are, and for what the data itself refuses.

    >>> open_data("mqar:pairs=4", seed=1).sequence
    16
    """
    try:
        return _opened(text, sequence, seed)
    except (
        OSError
    ) as error:  # a path that the system does not even look for: too long, or in a folder that is closed to us
        raise WorkbenchError(f"data {text!r:.200}: {error.strerror or error}") from error


# ------------------------------------------------------------------------------------------------------


def _opened(text: str, sequence: int | None, seed: int) -> Data:
    name, given = _split(text)
    if name in _TASKS:
        values = _values(name, given, options(name))
        if sequence is not None:
            values[_LENGTH] = sequence
        return TaskData(_TASKS[name](**values), seed)
    length = DEFAULT_SEQUENCE if sequence is None else sequence
    if name == STDLIB:
        _values(name, given, {})
        return stdlib_text(sequence=length, seed=seed)
    path = Path(name)
    prefix = prefix_of(path)
    if path != prefix or (not path.exists() and (bin_path(path).exists() or idx_path(path).exists())):
        return IndexedData(prefix, length, seed, **_values(name, given, {"vocabulary": 0}))
    if not name or not path.exists():  # Path("") is the current folder, which nobody means
        raise WorkbenchError(f"data {name!r} is no file, folder or Megatron pair, nor one of {_known(name)}")
    _values(name, given, {})
    return file_text(path, sequence=length, seed=seed)


def _split(text: str) -> tuple[str, dict[str, str]]:
    """The name or path, and its options as they are written. A colon without a `=` after it is part of a path."""
    head, colon, tail = text.rpartition(":")
    if colon and head in names() and "=" not in tail:
        raise WorkbenchError(f"data {text!r}: after the colon come options, as in {head}:name=value,name=value")
    if not colon or "=" not in tail or Path(text).exists():
        return text, {}
    pairs = [part.partition("=") for part in tail.split(",")]
    for key, equals, value in pairs:
        if not (key and equals and value):
            raise WorkbenchError(
                f"data {text!r}: options are name=value, parted by commas; {key + equals + value!r} is not"
            )
    if len({key for key, *_ in pairs}) < len(pairs):
        raise WorkbenchError(f"data {text!r}: an option is given twice")
    return head, {key: value for key, _, value in pairs}


def _values(name: str, given: Mapping[str, str], known: Mapping[str, Any]) -> dict[str, Any]:
    """Options by the type of their defaults."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            there = ", ".join(f"{option} ({default})" if default else option for option, default in known.items())
            length = "; how long it is, is the sequence length" if key in ("length", "sequence") else ""
            raise WorkbenchError(
                f"{name} has no option {key!r}; {f'it has {there}' if there else 'it has none'}{length}"
            )
        if isinstance(known[key], int):
            try:
                found[key] = int(value)
            except ValueError:
                raise WorkbenchError(f"{name}: {key} must be a whole number, not {value!r}") from None
        else:
            found[key] = value
    return found


def _known(name: str) -> str:
    close = get_close_matches(name, names(), n=1)
    return ", ".join(names()) + (f"; did you mean {close[0]}?" if close else "")
