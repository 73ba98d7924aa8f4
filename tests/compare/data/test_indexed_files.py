import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.compare.data.indexed_pairs import numbered_documents, write_pair
from workbench.compare.data.indexed_files import bin_path, idx_path, open_pair, prefix_of
from workbench.errors import WorkbenchError

# magic 9, version 8, dtype 1, two counts 8 each; then lengths of 4 bytes, pointers of 8, documents of 8
_LENGTHS = 34
_POINTERS = _LENGTHS + 4 * 3


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    return write_pair(tmp_path / "a.corpus", numbered_documents(3, 10))


def test_a_pair_is_opened_by_its_prefix_or_either_file(pair: Path) -> None:
    assert prefix_of(bin_path(pair)) == prefix_of(idx_path(pair)) == prefix_of(pair) == pair
    assert bin_path(pair).name == "a.corpus.bin"
    documents = open_pair(pair)
    assert [documents[number].tolist() for number in range(3)] == numbered_documents(3, 10)


def patched(at: int, content: bytes) -> Callable[[bytes], bytes]:
    return lambda whole: whole[:at] + content + whole[at + len(content) :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda whole: b"", "the file is empty"),
        (lambda whole: whole[:20], "an index of 3 sequences and 0 document ends takes 70 bytes, and this file has 20"),
        (lambda whole: whole[:60], "an index of 3 sequences and 4 document ends takes 102 bytes, and this file has 60"),
        (lambda whole: b"\x7fELF" + whole[4:], "this is no Megatron index"),
        (patched(9, struct.pack("<Q", 2)), "this is no Megatron index"),
        (patched(17, b"\x63"), "the tokens are of kind 99, which is none of whole numbers"),
        (patched(17, b"\x07"), "the tokens are of kind 7"),
        (patched(18, struct.pack("<Q", 0)), "an index of 0 sequences"),
        (patched(18, struct.pack("<Q", 2**63)), "an index of 9223372036854775808 sequences and 4 document ends takes"),
        (patched(26, struct.pack("<Q", 3)), "megatron-core cannot read this index"),
        (
            patched(_LENGTHS, struct.pack("<i", -1)),
            "document 0 is -1 tokens from byte 0, and a.corpus.bin has 60 bytes",
        ),
        (
            patched(_LENGTHS + 8, struct.pack("<i", 11)),
            "document 2 is 11 tokens from byte 40, and a.corpus.bin has 60 bytes",
        ),
        (patched(_POINTERS, struct.pack("<q", -2)), "document 0 is 10 tokens from byte -2"),
        (patched(_POINTERS + 8, struct.pack("<q", 2**62)), "document 1 is 10 tokens from byte 4611686018427387904"),
    ],
)
def test_a_damaged_index_is_refused(pair: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = idx_path(pair)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WorkbenchError, match=message):
        open_pair(pair)


def test_tokens_that_are_cut_short(pair: Path) -> None:
    bin_path(pair).write_bytes(bin_path(pair).read_bytes()[:-2])
    with pytest.raises(WorkbenchError, match=r"document 2 is 10 tokens from byte 40, and a\.corpus\.bin has 58 bytes"):
        open_pair(pair)


@pytest.mark.parametrize("path", [bin_path, idx_path])
def test_half_a_pair(pair: Path, path: Callable[[Path], Path]) -> None:
    path(pair).unlink()
    with pytest.raises(
        WorkbenchError, match=rf"{path(pair).name}: there is no such file; a Megatron data set is a .bin and"
    ):
        open_pair(pair)


def test_an_index_of_other_tokens(pair: Path, tmp_path: Path) -> None:
    other = write_pair(tmp_path / "other", numbered_documents(3, 12), np.int32)
    idx_path(pair).write_bytes(idx_path(other).read_bytes())
    with pytest.raises(WorkbenchError, match="do not belong together"):
        open_pair(pair)
