"""Walk over a pickle's opcodes before Python's unpickler sees them, and take the traps out. Pure.

Python's unpickler believes what a stream says: it allocates whatever length an opcode claims before it reads, makes a memo as
long as the largest index in it, takes objects of the extension registry past `find_class`, and hashes dictionary keys that may
be tuples nested a million deep (the process dies) or shared in a way that takes longer than the universe. `harmless` refuses
the first three. For the last it rewrites the stream so that every dictionary is asked for by a persistent id: the unpickler's
owner then makes one that looks at its keys. Sets become lists for the same reason.

The opcodes are those of `pickletools` (protocols 0 to 5). Runs of opcodes without text are matched by one regular expression:
20 million opcodes a second, a fifth of the time that unpickling takes.
"""

from __future__ import annotations

import re

from workbench.errors import WorkbenchError

# No argument, and nothing to be told about.
_BARE = b"(012NRQabelosut])\x81\x85\x86\x87\x88\x89\x92\x93\x94"
# A run: those, and the ones with an argument of fixed size. LONG_BINPUT may go on to a memo of four million here; the memo
# costs the unpickler 16 bytes an entry.
_RUN = re.compile(rb"(?:[" + re.escape(_BARE) + rb"]++|[Khq\x80].|M..|[Jj]....|r..[\x00-\x3f]\x00|G.{8})++", re.DOTALL)
# Opcodes whose data has its length in front: bytes that the length takes.
_LENGTHS = {
    **dict.fromkeys(b"U\x8cC\x8a", 1),
    **dict.fromkeys(b"TXB\x8b", 4),
    **dict.fromkeys(b"\x8d\x8e\x96", 8),
}
# Opcodes with lines of text: how many lines.
_LINES = {**dict.fromkeys(b"ILFSVgpP", 1), **dict.fromkeys(b"ci", 2)}
_REPLACED = {
    ord("}"): b"NQ",  # EMPTY_DICT: the persistent id None
    ord("d"): b"lQ",  # DICT: the persistent id [key, value, key, value, …]
    0x8F: b"]",  # EMPTY_SET: a list
    0x90: b"e",  # ADDITEMS: extends it
    0x91: b"l",  # FROZENSET
}
_MOST_LINE = 1 << 20  # bytes of one line of text


class CutShort(WorkbenchError):
    """A pickle that ends before its end."""


def harmless(data: bytes, start: int = 0) -> tuple[bytes, int]:
    """The pickle that begins at `start`, rewritten as the module says, and the byte after its end.

    Raises `WorkbenchError` for a stream that is cut short, is no pickle, or asks for what no checkpoint needs.

    >>> harmless(bytes.fromhex("8003 7d 71 00 2e"))
    (b'\\x80\\x03NQq\\x00.', 6)
    """
    parts: list[bytes] = []
    at = copied = start
    size = len(data)
    while True:
        if run := _RUN.match(data, at):
            at = run.end()
        if at >= size:
            raise CutShort("it is cut short")
        opcode = data[at]
        if opcode in _REPLACED:
            parts += (data[copied:at], _REPLACED[opcode])
            at = copied = at + 1
        elif opcode in _LENGTHS:
            at = _after_data(data, at, _LENGTHS[opcode])
        elif opcode == 0x95:  # FRAME: only says how much may be read at once; lengths change here, so it goes
            parts.append(data[copied:at])
            _check_inside(data, at + 9 + int.from_bytes(data[at + 1 : at + 9], "little"))
            at = copied = at + 9
        elif opcode in _LINES:
            at = _after_lines(data, at, _LINES[opcode], start)
        elif opcode == ord("."):
            parts.append(data[copied : at + 1])
            return b"".join(parts), at + 1
        elif opcode == ord("r"):
            at += 5
            _check_memo(int.from_bytes(data[at - 4 : at], "little"), at - start)
        elif opcode in b"Khq\x80MJjG":
            raise CutShort("it is cut short")
        elif opcode in b"\x82\x83\x84":
            raise WorkbenchError("it asks for an object of the extension registry, which no checkpoint needs")
        else:
            raise WorkbenchError(f"it is no pickle: {opcode:#04x} at byte {at - start} is no opcode of one")


def _after_data(data: bytes, at: int, width: int) -> int:
    length = int.from_bytes(data[at + 1 : at + 1 + width], "little")
    end = at + 1 + width + length
    _check_inside(data, end)
    return end


def _after_lines(data: bytes, at: int, lines: int, start: int) -> int:
    opcode, begin = data[at], at + 1
    for _ in range(lines):
        end = data.find(b"\n", at + 1, at + 1 + _MOST_LINE)
        if end < 0:
            raise CutShort("it is cut short, or has a line of text that never ends")
        at = end
    if opcode == ord("p"):
        text = data[begin:at]
        if not text.isdigit() or len(text) > 12:
            raise WorkbenchError(f"it stores something under {text[:20]!r}, which is no number")
        _check_memo(int(text), at - start)
    return at + 1


def _check_memo(index: int, walked: int) -> None:
    """A pickler counts from 0 up, and each entry is an opcode of its own."""
    if index > walked:
        raise WorkbenchError(f"it stores something under number {index} before it has made as many: a memory bomb")


def _check_inside(data: bytes, end: int) -> None:
    if end > len(data):
        raise CutShort(f"it is cut short: {end - len(data)} bytes of it are missing")
