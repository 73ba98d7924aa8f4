"""The walk over a pickle's opcodes changes what it must, finds the end, and agrees with `pickletools`."""

from __future__ import annotations

import pickle
import pickletools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.checkpoint.reading.opcodes import CutShort, harmless
from workbench.errors import WorkbenchError

ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(VALUES, st.integers(0, pickle.HIGHEST_PROTOCOL), st.binary(max_size=9), st.binary(max_size=9))
def test_the_end_is_found_and_only_dictionaries_are_changed(value: Any, protocol: int, before: bytes, after: bytes):
    data = pickle.dumps(value, protocol)
    rewritten, end = harmless(before + data + after, len(before))
    assert end == len(before) + len(data)
    replaced = {"EMPTY_DICT": ["NONE", "BINPERSID"], "DICT": ["LIST", "BINPERSID"], "FRAME": []}
    expected = [new for op, _, _ in pickletools.genops(data) for new in replaced.get(op.name, [op.name])]
    assert [op.name for op, _, _ in pickletools.genops(rewritten)] == expected


# An argument of each sort that opcodes take, by the name that `pickletools` gives it; fixed sizes are as many zeros.
ARGUMENTS = {
    "decimalnl_long": b"1L\n",
    "decimalnl_short": b"1\n",
    "floatnl": b"1.0\n",
    "stringnl": b"'a'\n",
    "stringnl_noescape": b"a\n",
    "stringnl_noescape_pair": b"a\nb\n",
    "unicodestringnl": b"a\n",
    **dict.fromkeys(("string1", "bytes1", "unicodestring1", "long1"), b"\1a"),
    **dict.fromkeys(("string4", "bytes4", "unicodestring4", "long4"), b"\1\0\0\0a"),
    **dict.fromkeys(("bytes8", "unicodestring8", "bytearray8"), b"\1\0\0\0\0\0\0\0a"),
}


@pytest.mark.parametrize("opcode", pickletools.opcodes, ids=lambda opcode: opcode.name)
def test_every_opcode_of_python_is_walked_over_or_refused(opcode):
    argument = b"" if opcode.arg is None else ARGUMENTS.get(opcode.arg.name) or bytes(opcode.arg.n)
    data = opcode.code.encode("latin1") + argument
    if opcode.name in {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}:
        with pytest.raises(WorkbenchError):
            harmless(data + b".")
    else:
        assert harmless(data + b".")[1] == len(data) + (opcode.name != "STOP")


def test_sets_become_lists():
    names = [op.name for op, _, _ in pickletools.genops(harmless(pickle.dumps(({1}, frozenset({2})), 4))[0])]
    assert not {"EMPTY_SET", "ADDITEMS", "FROZENSET"} & set(names)
    assert {"EMPTY_LIST", "APPENDS", "LIST"} <= set(names)


def test_what_is_cut_short_is_told_from_what_is_wrong():
    with pytest.raises(CutShort):
        harmless(b"\x80\x02X\x05\0\0\0ab")
    with pytest.raises(WorkbenchError, match="0xff at byte 2 is no opcode") as caught:
        harmless(b"..NN\xff", 2)
    assert not isinstance(caught.value, CutShort)


def test_a_memo_of_millions():
    """Beyond what the expression lets pass, each is looked at: it may be as large as what was walked over, no larger."""
    filler = b"N0" * 2_100_000
    harmless(filler + b"Nr" + (4_200_001).to_bytes(4, "little") + b".")
    with pytest.raises(WorkbenchError, match="a memory bomb"):
        harmless(filler + b"Nr" + (4_200_100).to_bytes(4, "little") + b".")


def test_a_line_without_end():
    with pytest.raises(CutShort, match="a line of text that never ends"):
        harmless(b"S" + b"a" * 2**21 + b"\n.")
