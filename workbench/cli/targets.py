"""What a cost is asked of: a pattern, a preset's name, a Hugging Face `config.json`, or a script that runs Megatron-LM."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.arch.architecture import Architecture
from workbench.arch.reading import naming, read_text
from workbench.arch.sizes import ModelSizes, SizesError
from workbench.cli.output import printable
from workbench.cli.patterns import only
from workbench.errors import WorkbenchError
from workbench.pattern.diagnostics import PatternError
from workbench.pattern.model import Pattern

if TYPE_CHECKING:
    from workbench.arch.presets import Preset

# Every pattern is made of these; a name has a letter that is none, or a digit.
_NAME = re.compile(r"[a-z0-9]")
# What a command cannot do without beside its model, for the example in a message.
_MORE = {"balance": " --stages 4", "report": " -o review.html", "draw": " -o pattern.svg"}
_BRACKETS = re.compile(r"[\[\]*|+]")


@dataclass(frozen=True)
class Target:
    """An architecture and where it came from: a title, and what to know about it."""

    title: str
    architecture: Architecture
    notes: tuple[str, ...] = ()


def target(args: argparse.Namespace, command: str) -> Target:
    """The architecture that a command line asks for. Raises `WorkbenchError`, a pattern's with its diagnostics."""
    found = _found(args.patterns, command, args.sizes)
    if args.vocab_size is not None:
        found = replace(found, sizes=replace(found.sizes, vocab_size=args.vocab_size))
    elif found.sizes.vocab_size is None:
        raise WorkbenchError(f"{found.title} comes without a vocab_size: --vocab-size says one")
    try:
        architecture = Architecture(found.pattern, found.sizes, dtype=args.dtype)
    except SizesError as error:
        # What a file could not say is often the reason: Jamba's layers are Mamba-1.
        raise WorkbenchError("\n  ".join([f"{found.title}: {error}", *found.notes])) from error
    return Target(found.title, architecture, found.notes)


def target_of(text: str, command: str, sizes_path: str | None) -> Target | None:
    """The architecture that one text names, bf16; None for a pattern without a file of sizes."""
    if sizes_path is None and not _from_file([text]) and _preset(text) is None:
        return None
    found = _found([text], command, sizes_path)
    if found.sizes.vocab_size is None:
        raise WorkbenchError(f"{found.title} comes without a vocab_size: give its pattern, and --sizes that have one")
    return Target(found.title, Architecture(found.pattern, found.sizes), found.notes)


def pattern_of(texts: Sequence[str], command: str) -> Pattern:
    """The pattern alone: of a preset even where Megatron Core has no words for the rest of it."""
    if file := _from_file(texts):
        return file.pattern
    if len(texts) == 1 and (named := _named(texts[0])):
        if named.pattern is None:
            raise WorkbenchError(f"{named.name} cannot be written as a pattern: {named.reason}")
        return named.pattern
    _check_given(texts, command)
    return Pattern(only(texts, command))


# ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    title: str
    pattern: Pattern
    sizes: ModelSizes
    notes: tuple[str, ...] = ()


def _found(texts: Sequence[str], command: str, sizes_path: str | None) -> _Found:
    if file := _from_file(texts):
        return _alone(file, sizes_path)
    if len(texts) == 1 and (named := _preset(texts[0])):
        return _alone(named, sizes_path)
    _check_given(texts, command)
    text = only(texts, command)
    pattern = Pattern(text)
    if not pattern.sublayers:
        raise WorkbenchError("an empty pattern has no layers: there is nothing to count")
    if sizes_path is None:
        note = "the sizes are the tiny defaults; --sizes FILE.json takes a model's own"
        return _Found(text, pattern, ModelSizes(), (note,))
    return _Found(text, pattern, ModelSizes.from_json(sizes_path))


def _check_given(texts: Sequence[str], command: str) -> None:
    if not texts:
        example = f"nemotron-h-8b{_MORE.get(command, '')}"
        wanted = "a pattern, a preset's name, a config.json or a Megatron script"
        raise WorkbenchError(f"workbench {command} needs {wanted}, such as: workbench {command} {example}")


def _alone(found: _Found, sizes_path: str | None) -> _Found:
    if sizes_path is not None:
        raise WorkbenchError(f"{found.title} has its own sizes; --sizes goes with a pattern")
    return found


def _named(text: str) -> Preset | None:
    """The preset of this name; None where the text is a pattern or a file."""
    from workbench.arch.presets import preset

    try:
        return preset(text)
    except WorkbenchError:
        # A pattern with a typing error is answered with carets, a name with the names that come close.
        if not _NAME.search(text) or _BRACKETS.search(text) or os.path.lexists(text):
            return None
        raise


def _preset(text: str) -> _Found | None:
    found = _named(text)
    if found is None:
        return None
    if found.pattern is None or found.sizes is None or not found.expressible:
        raise WorkbenchError(f"{found.name} cannot be written as a pattern: {found.reason}")
    notes = (*found.caveats, *(f"source: {source}" for source in found.sources))
    return _Found(found.name, found.pattern, found.sizes, notes)


def _from_file(texts: Sequence[str]) -> _Found | None:
    """What the one file says that was named; None where it is a pattern or a name."""
    if len(texts) != 1:
        return None
    if _is_config(texts[0]):
        return _hugging_face(Path(texts[0]))
    return _script(Path(texts[0])) if texts[0].endswith(".sh") else None


def _is_config(text: str) -> bool:
    return "\0" not in text and (text.endswith(".json") or os.path.isfile(os.path.join(text, "config.json")))


def _hugging_face(path: Path) -> _Found:
    from workbench.arch.hugging_face import from_hugging_face_file

    found = from_hugging_face_file(path)
    return _Found(printable(str(path)), found.pattern, found.sizes, found.caveats)


def _script(path: Path) -> _Found:
    """The flags of a shell script, which is read and not run."""
    from workbench.arch.megatron.arguments import from_arguments

    with naming(path):
        text = read_text(path)
    try:
        found = from_arguments(text)
    except PatternError:
        raise  # it shows the pattern itself
    except WorkbenchError as error:
        raise WorkbenchError(f"{path}: {error}") from error
    return _Found(printable(str(path)), found.pattern, found.sizes, found.caveats)
