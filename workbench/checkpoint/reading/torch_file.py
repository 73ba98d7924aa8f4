"""What `torch.save` wrote, read without torch and without running anything: tensors are places in the file. numpy only.

Two forms: a zip archive (since torch 1.6; also as a part of a larger file, in `.distcp`), with a pickle `data.pkl` and one
entry a storage; and the older stream of five pickles with the storages behind them. `torch/serialization.py`:
`_save`, `_load`, `_legacy_save`, `_legacy_load`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.checkpoint.buffers import Buffer, FileBuffer
from workbench.checkpoint.dtypes import dtype_of
from workbench.checkpoint.reading.opcodes import CutShort, harmless
from workbench.checkpoint.reading.pickles import PLAIN, Inert, load_from, shown
from workbench.checkpoint.reading.structure import flattened, settled
from workbench.checkpoint.reading.torch_globals import ALLOWED, MEANINGS, Storage, storage, storage_dtype, whole_numbers
from workbench.checkpoint.reading.uncollected import uncollected
from workbench.checkpoint.reading.zip_entries import MAGIC, Entry, entries_of
from workbench.checkpoint.source import Checkpoint
from workbench.errors import WorkbenchError

# What the older form begins with, a few bytes of its protocol before: the number 0x1950a86a20f9469cfc6c.
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_MAGIC_NUMBER, _PROTOCOL_VERSION = 0x1950A86A20F9469CFC6C, 1001
_MOST_PICKLE = 2**28  # bytes of a data.pkl; one of a million tensors takes 200 MB
_TOO_LARGE = f"what it says of its tensors takes more than {_MOST_PICKLE // 2**20} MiB"


def is_legacy(head: bytes) -> bool:
    """Whether these are the first bytes of the older form."""
    return _LEGACY_MAGIC in head[:32]


def open_torch(path: str | Path) -> Checkpoint:
    """A `.pt`, `.pth` or `.bin` file. Names inside one another are joined with dots; what holds no tensor is a value.

    Raises `UnsafeCheckpoint` where it asks for anything but data, `WorkbenchError` where it cannot be read.
    """
    path = Path(path)
    data = FileBuffer(path)
    with uncollected():
        found = read_torch(data, 0, data.size, str(path))
        try:
            parts = flattened(found)
        except WorkbenchError as error:
            raise WorkbenchError(f"{path} cannot be read: {error}") from error
    return Checkpoint(str(path), "torch", parts.tensors, parts.objects, parts.values)


def read_torch(data: Buffer, start: int, length: int, where: str) -> Any:
    """What the `length` bytes of `data` from `start` on hold: plain values, with a `StoredTensor` for every tensor.

    A Namespace is a dictionary, bytes and BytesIO are bytes. `where` begins every message.
    """
    head = data.view(start, min(length, 64)).tobytes() if start + length <= data.size else b""
    if head.startswith(MAGIC):
        found = _read_zip(data, start, length, where)
    elif is_legacy(head):
        found = _read_legacy(data, start, length, where)
    else:
        raise WorkbenchError(f"{where} cannot be read: it is not what torch.save writes")
    try:
        return settled(found)
    except WorkbenchError as error:
        raise WorkbenchError(f"{where} cannot be read: {error}") from error


# ------------------------------------------------------------------------------------------------------


def _read_zip(data: Buffer, start: int, length: int, where: str) -> Any:
    entries = entries_of(data, start, length, where)
    pickled = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickled) != 1:
        raise WorkbenchError(f"{where} cannot be read: it is a zip archive, and not one that torch.save wrote")
    prefix = pickled[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in entries:
        raise WorkbenchError(f"{where} cannot be read: it is a TorchScript program; save its state_dict()")
    if packed := [name for name, entry in entries.items() if entry.compressed]:
        raise WorkbenchError(
            f"{where} cannot be read: {packed[0]!r} in it is compressed, which torch.save never does: it may grow without bound"
        )
    order = entries.get(f"{prefix}byteorder", Entry(0, 0))
    if (said := data.view(order.start, min(order.length, 16)).tobytes()) not in (b"", b"little"):
        raise WorkbenchError(
            f"{where} cannot be read: its byte order is {said.decode('latin1')!r}, and only little is read"
        )

    def persistent(given: Any) -> Storage:
        kind, key, count, view = _reference(given)
        entry = entries.get(f"{prefix}data/{key}")
        if entry is None:
            raise WorkbenchError(f"the bytes of storage {key!r} are missing")
        dtype = storage_dtype(kind)
        if count * dtype_of(dtype).bytes > entry.length:
            raise WorkbenchError(
                f"storage {key!r} has {entry.length} bytes, and {count * dtype_of(dtype).bytes} are needed of it"
            )
        return _viewed(storage(data, entry.start, entry.length, dtype), view)

    return load_from(_pickle(data, entries[pickled[0]], where), 0, where, ALLOWED, MEANINGS, persistent)[0]


def _read_legacy(data: Buffer, start: int, length: int, where: str) -> Any:
    """magic, version, machine, content, keys of the storages: five pickles; then each storage: its size, its bytes."""
    text, places = _five_pickles(data, start, length, where)
    magic, version, machine = (load_from(text, at, where)[0] for at in places[:3])
    if magic != _MAGIC_NUMBER or version != _PROTOCOL_VERSION:
        raise WorkbenchError(
            f"{where} cannot be read: it is of version {shown(version)}, and only {_PROTOCOL_VERSION} is known"
        )
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise WorkbenchError(f"{where} cannot be read: it is not little-endian")
    kinds: dict[str, str] = {}

    def seen(given: Any) -> Storage:
        kind, key, _, _ = _reference(given)
        kinds.setdefault(key, storage_dtype(kind))
        return storage(data, 0, 0, kinds[key])

    # Where the storages lie depends on their types, which only the content says: it is read twice.
    load_from(text, places[3], where, ALLOWED, {**dict.fromkeys(MEANINGS, Inert), **PLAIN}, seen)
    keys, end = load_from(text, places[4], where)
    found: dict[str, Storage] = {}
    at = start + end
    for key in keys if isinstance(keys, list) else ():
        if not isinstance(key, str) or key not in kinds or key in found or at + 8 > start + length:
            raise WorkbenchError(
                f"{where} cannot be read: its list of storages does not fit its content, or it is cut short"
            )
        size = int.from_bytes(data.view(at, 8).tobytes(), "little") * dtype_of(kinds[key]).bytes
        if at + 8 + size > start + length:
            raise WorkbenchError(
                f"{where} cannot be read: it is cut short: storage {key!r} ends {size} bytes after {at + 8}"
            )
        found[key] = storage(data, at + 8, size, kinds[key])
        at += 8 + size

    def persistent(given: Any) -> Storage:
        _, key, _, view = _reference(given)
        if key not in found:
            raise WorkbenchError(f"the bytes of storage {key!r} are missing")
        return _viewed(found[key], view)

    return load_from(text, places[3], where, ALLOWED, MEANINGS, persistent)[0]


def _five_pickles(data: Buffer, start: int, length: int, where: str) -> tuple[bytes, list[int]]:
    """As much of the file as the pickles take, and where each begins and the last ends."""
    size = 2**20
    while True:
        text = data.view(start, min(size, length)).tobytes()
        places = [0]
        try:
            for _ in range(5):
                places.append(harmless(text, places[-1])[1])
            return text, places
        except CutShort as error:
            if size >= length:
                raise WorkbenchError(f"{where} cannot be read: {error}") from error
            if size >= _MOST_PICKLE:
                raise WorkbenchError(f"{where} cannot be read: {_TOO_LARGE}") from error
        except WorkbenchError as error:
            raise WorkbenchError(f"{where} cannot be read: {error}") from error
        size *= 16


def _pickle(data: Buffer, entry: Entry, where: str) -> bytes:
    if entry.length > _MOST_PICKLE:
        raise WorkbenchError(f"{where} cannot be read: {_TOO_LARGE}")
    return data.view(entry.start, entry.length).tobytes()


def _reference(given: Any) -> tuple[Any, str, int, Any]:
    """Class, key, elements and view of the storage that a persistent id names."""
    match given:
        case ("storage", kind, str() as key, _, int() as count, *view) if len(view) <= 1:
            if type(count) is not int or not 0 <= count < 2**63:
                raise WorkbenchError(f"storage {shown(key)} has no size")
            return kind, key, count, view[0] if view else None
    raise WorkbenchError("it refers to something that is no storage; a whole module was saved: save its state_dict()")


def _viewed(whole: Storage, view: Any) -> Storage:
    """A part of a storage: (key, first element, elements), which torch wrote before version 1.0."""
    if view is None:
        return whole
    data, start, length, dtype = whole.arguments
    item = dtype_of(dtype).bytes
    first, count = whole_numbers("storage", list(view[1:]) if isinstance(view, tuple) and len(view) == 3 else view)
    if (first + count) * item > length:
        raise WorkbenchError("a part of a storage lies outside of it")
    return storage(data, start + first * item, count * item, dtype)
