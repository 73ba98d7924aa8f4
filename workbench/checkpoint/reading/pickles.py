"""Read a stranger's pickle: what it says, never what it wants done. Pure.

A pickle is a program, and `pickle.load` runs it. Here every global that it names must be on a list, none is imported and
none is called: each becomes an `Inert` class that keeps what it was given. `opcodes.harmless` first takes out what the
unpickler itself would fall for. So the worst that a file can do is to be refused.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from workbench.checkpoint.reading.opcodes import harmless
from workbench.checkpoint.reading.uncollected import uncollected
from workbench.errors import WorkbenchError

type Origin = tuple[str, str]  # module and name of a global
type Where = str | Path

MOST_BYTES = 2**30  # of a pickle; one of a million shards takes a quarter of that

_CALL = "loading it could run code of whoever wrote it; nothing was loaded"
_ATOMS = frozenset({str, float, bool, type(None), bytes})


class UnsafeCheckpoint(WorkbenchError):
    """A file that asks for a global which no checkpoint needs; `file` and `name` say which."""

    def __init__(self, file: Where, name: str) -> None:
        self.file, self.name = file, name
        super().__init__(f"{file} asks for {name}, which no checkpoint needs: {_CALL}")


class Inert:
    """Stands for an allowed global: takes whatever a pickle gives it and does nothing with it.

    `origin` is the global; `arguments` and `keywords` what it was called with, `state` what it was given afterwards.
    """

    __slots__ = ("arguments", "keywords", "state")
    origin: ClassVar[Origin]
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    state: Any

    def __new__(cls, *arguments: Any, **keywords: Any) -> Any:
        """Keep the arguments."""
        self = object.__new__(cls)
        self.arguments, self.keywords, self.state = arguments, keywords, None
        return self

    # A pickle may ask for this on a class too, to change the class; it then lacks its argument, and reading ends.
    def __setstate__(self, state: Any) -> None:
        if self.state is not None:
            raise WorkbenchError(f"it gives one {'.'.join(self.origin)} two states")
        self.state = state

    @property
    def fields(self) -> Mapping[str, Any]:
        """The state by name; empty where it is something else."""
        return self.state if isinstance(self.state, dict) else {}

    def __repr__(self) -> str:
        return f"<{'.'.join(self.origin)}>"


class Made(dict[Any, Any]):
    """A dictionary of a pickle. Its keys are texts, numbers, inert objects, or tuples of those: hashing them is quick."""

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> None:
        kind = type(key)
        if kind is not str and not _quick(key) and not (kind is tuple and all(map(_quick, key))):
            raise WorkbenchError(f"it uses a {kind.__name__} that is no plain one as a key")
        super().__setitem__(key, value)

    # torch hangs the versions of its modules on a state dict; they are not needed.
    def __setstate__(self, state: Any) -> None:
        pass


class Dictionary(Inert):
    """Meaning of `OrderedDict` and its like: a `Made`, empty or of the items that it was called with."""

    __slots__ = ()

    def __new__(cls, items: Any = (), *_rest: Any) -> Any:
        """The dictionary."""
        made = Made()
        for key, value in items.items() if isinstance(items, dict) else items:
            made[key] = value
        return made


class DefaultDictionary(Inert):
    """Meaning of `defaultdict`: a dictionary; what it makes by default is not kept."""

    __slots__ = ()

    def __new__(cls, *_factory: Any) -> Any:
        """The dictionary."""
        return Made()


class Listed(Inert):
    """Meaning of `set`, `frozenset`, `list`, `tuple`: the list of what it was called with."""

    __slots__ = ()

    def __new__(cls, items: Any = ()) -> Any:
        """The list."""
        if not isinstance(items, list | tuple):
            raise WorkbenchError(f"it makes a {cls.origin[1]} of a {type(items).__name__}")
        return list(items)


class Bytes(Inert):
    """Meaning of `_codecs.encode`, `bytes`, `bytearray`: how old protocols write bytes."""

    __slots__ = ()

    def __new__(cls, text: Any = b"", encoding: Any = "latin1", *_errors: Any) -> Any:
        """The bytes."""
        if isinstance(text, bytes | bytearray):
            return bytes(text)
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise WorkbenchError(f"it makes bytes of a {type(text).__name__}")
        return text.encode("latin1")


# Both spellings of the module: Python 2's is what protocols 0 to 2 write.
_BUILTINS = ("builtins", "__builtin__")
# Globals whose stand-in makes the plain value right away.
PLAIN: Mapping[Origin, type[Inert]] = {
    ("collections", "OrderedDict"): Dictionary,
    ("collections", "defaultdict"): DefaultDictionary,
    ("_codecs", "encode"): Bytes,
    **{
        (module, name): kind
        for module in _BUILTINS
        for name, kind in {
            "dict": Dictionary,
            **dict.fromkeys(("set", "frozenset", "list", "tuple"), Listed),
            **dict.fromkeys(("bytes", "bytearray"), Bytes),
        }.items()
    },
}


def load(
    stream: BinaryIO | bytes,
    where: Where,
    allowed: Collection[Origin] = (),
    meanings: Mapping[Origin, type[Inert]] = PLAIN,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """What a pickle holds. `allowed` globals become `Inert` classes, those in `meanings` the class that is given there.

    `persistent` is asked for what the pickle says lies elsewhere. Raises `UnsafeCheckpoint` for any other global, and
    `WorkbenchError` that begins with `where` for whatever else is wrong.
    """
    data = stream if isinstance(stream, bytes) else _read(stream, where)
    return load_from(data, 0, where, allowed, meanings, persistent)[0]


def load_from(
    data: bytes,
    start: int,
    where: Where,
    allowed: Collection[Origin] = (),
    meanings: Mapping[Origin, type[Inert]] = PLAIN,
    persistent: Callable[[Any], Any] | None = None,
) -> tuple[Any, int]:
    """The same of the pickle that begins at byte `start`, and the byte after its end."""
    if len(data) - start > MOST_BYTES:
        raise WorkbenchError(
            f"{where} cannot be read: a pickle of more than {MOST_BYTES // 2**20} MiB is no checkpoint's"
        )
    try:
        rewritten, end = harmless(data, start)
        with uncollected():
            return _Unpickler(io.BytesIO(rewritten), where, frozenset(allowed), meanings, persistent).load(), end
    except UnsafeCheckpoint:
        raise
    except WorkbenchError as error:
        raise WorkbenchError(f"{where} cannot be read: {error}") from error
    except Exception as error:
        # A damaged pickle raises anything: UnpicklingError, EOFError, IndexError, MemoryError, UnicodeDecodeError, …
        raise WorkbenchError(f"{where} cannot be read: {type(error).__name__}: {error}") from error


def name_of(value: Any) -> str | None:
    """ "torch.bfloat16" where a value is a global that was named and not called; None for everything else."""
    return ".".join(value.origin) if isinstance(value, type) and issubclass(value, Inert) else None


def shown(value: Any) -> str:
    """A short text for a message. Never the `repr` of a container: one that refers to itself in layers has no end."""
    if name := name_of(value):
        return name
    if type(value) in (str, bytes, float, bool, type(None)) or (type(value) is int and abs(value) < 2**64):
        return repr(value if not isinstance(value, str | bytes) else value[:60])
    return f"a {type(value).__name__}"


# ------------------------------------------------------------------------------------------------------


class _Unpickler(pickle.Unpickler):
    def __init__(
        self,
        stream: BinaryIO,
        where: Where,
        allowed: frozenset[Origin],
        meanings: Mapping[Origin, type[Inert]],
        persistent: Callable[[Any], Any] | None,
    ) -> None:
        super().__init__(stream, encoding="utf-8")  # which only old texts of Python 2 need
        self.where, self.allowed, self.meanings, self.persistent = where, allowed, meanings, persistent
        self.known: dict[Origin, type[Inert]] = {}

    def find_class(self, module: str, name: str) -> Any:
        origin = (module, name)
        if origin not in self.known:
            if origin not in self.allowed and origin not in self.meanings:
                raise UnsafeCheckpoint(self.where, f"{module}.{name}")
            base = self.meanings.get(origin, Inert)
            # A class of this pickle's own: whatever is done to it, no other reading sees it.
            self.known[origin] = type(base.__name__, (base,), {"__slots__": (), "origin": origin})
        return self.known[origin]

    def persistent_load(self, given: Any) -> Any:
        if given is None:  # `opcodes` asks for a dictionary
            return Made()
        if isinstance(given, list):  # for one with content
            made = Made()
            for key, value in zip(given[::2], given[1::2], strict=True):
                made[key] = value
            return made
        if self.persistent is None:
            raise WorkbenchError("it refers to something outside of itself")
        return self.persistent(given)


def _quick(key: Any) -> bool:
    kind = type(key)
    if kind is int:
        return bool(-(2**63) <= key < 2**64)
    return kind in _ATOMS or isinstance(key, Inert)


def _read(stream: BinaryIO, where: Where) -> bytes:
    try:
        return stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise WorkbenchError(f"{where} cannot be read: {error.strerror or error}") from error
