import platform
import sysconfig
from pathlib import Path

import pytest

from tests.compare.data.checks import check_data
from workbench.compare.data.stdlib_source import is_test_file, source_files, stdlib_text
from workbench.errors import WorkbenchError


def library(root: Path, newline: bytes = b"\n") -> Path:
    """A small library: two test files, two train files, and much that is none of the library's source."""
    for name in (
        *("json/scanner.py", "enum.py", "heapq.py", "json/decoder.py"),
        *("encodings/cp037.py", "test/test_enum.py", "unittest/test/a.py", "turtle.py", "idlelib/run.py"),
        *("site-packages/torch/a.py", "_sysconfigdata_linux.py", "mymodule.py", "enum.txt"),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((b"# source of %s" % name.encode() + newline) * 20)
    return root


def test_the_library_of_this_python_keeps_the_protocol() -> None:
    data = stdlib_text(sequence=32, seed=1)
    check_data(data)
    facts = data.facts()
    assert facts["python"] == platform.python_version()
    assert facts["train_bytes"] > 10 * facts["test_bytes"] / 2 > 500_000
    uniform, unigram, bigram = (one.loss for one in data.baselines())
    assert bigram < unigram - 0.3 < uniform - 0.6


def test_splits_are_disjoint_files(tmp_path: Path) -> None:
    data = stdlib_text(sequence=8, seed=1, folder=library(tmp_path))
    assert source_files(tmp_path) == ["enum.py", "heapq.py", "json/decoder.py", "json/scanner.py"]
    assert [set(split.tobytes().split(b"\0")) for split in (data.train, data.test)] == [
        {b"# source of %s\n" % name * 20 for name in (b"heapq.py", b"json/decoder.py")},
        {b"# source of %s\n" % name * 20 for name in (b"enum.py", b"json/scanner.py")},
    ]


def test_no_source_of_this_python_is_in_both_splits() -> None:
    root = Path(sysconfig.get_path("stdlib"))
    data = stdlib_text(sequence=32, seed=1)
    train, test = (set(split.tobytes().split(b"\0")) for split in (data.train, data.test))
    assert not train & test
    held_out = (root / "json/scanner.py").read_bytes()
    assert is_test_file("json/scanner.py")
    assert held_out in test
    # What tells two files apart is longer than a licence's first lines.
    assert not any(held_out[at : at + 200] in data.train.tobytes() for at in range(0, len(held_out) - 200, 200))


def test_the_text_depends_on_no_place_of_the_machine(tmp_path: Path) -> None:
    here = stdlib_text(sequence=8, seed=1, folder=library(tmp_path / "here"))
    there = stdlib_text(sequence=8, seed=1, folder=library(tmp_path / "some" / "where else", newline=b"\r\n"))
    assert here.facts() == there.facts()
    assert str(tmp_path) not in str(here.facts())


def test_a_python_without_source_files(tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match="keeps no source files of its standard library there"):
        stdlib_text(sequence=8, seed=1, folder=tmp_path)
