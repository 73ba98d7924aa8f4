import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.compare.data.checks import check_data, whole_test_set
from workbench.compare.data import text
from workbench.compare.data.text import TextData, file_text
from workbench.errors import WorkbenchError


@pytest.fixture
def novel(tmp_path: Path) -> Path:
    path = tmp_path / "novel.txt"
    path.write_bytes(b"".join(b"line %d of it\n" % number for number in range(300)))
    return path


def test_a_file_keeps_the_protocol(novel: Path) -> None:
    check_data(file_text(novel, sequence=16, seed=1))


def test_the_last_tenth_of_a_file_is_the_test_split(novel: Path) -> None:
    whole = novel.read_bytes()
    data = file_text(novel, sequence=16, seed=1)
    assert data.train.tobytes() + data.test.tobytes() == whole
    assert len(data.test) == len(whole) // 10


def test_windows_are_cut_from_their_own_split(novel: Path) -> None:
    data = file_text(novel, sequence=16, seed=1)
    for row in data.train_batch(3, 50).tokens:
        assert bytes(row.tolist()) in data.train.tobytes()
    tokens, _ = whole_test_set(data, 5)
    for row in tokens:
        assert bytes(row.tolist()) in data.test.tobytes()


def test_a_row_depends_on_its_number_not_on_how_many_rows_there_are(novel: Path) -> None:
    data = file_text(novel, sequence=16, seed=1)
    assert torch.equal(data.train_batch(2, 3).tokens, data.train_batch(2, 9).tokens[:3])
    other = file_text(novel, sequence=16, seed=2)
    assert not torch.equal(data.train_batch(2, 9).tokens, other.train_batch(2, 9).tokens)
    assert torch.equal(whole_test_set(data, 9)[0], whole_test_set(other, 9)[0]), "the test set depends on the seed"


def test_every_window_of_the_train_split_can_be_drawn() -> None:
    data = TextData("letters", np.arange(6, dtype=np.uint8), np.arange(5, dtype=np.uint8), 4, 1, {})
    assert {int(row[0]) for row in data.train_batch(0, 40).tokens} == {0, 1}


@pytest.mark.parametrize("size", [5, 8, 9, 100, 1000])
def test_test_windows_never_share_a_target(size: int) -> None:
    stream = np.arange(size, dtype=np.uint16)
    data = TextData("numbers", stream, stream, 4, 1, {}, test_windows=7)
    tokens, _ = whole_test_set(data, 2)
    targets = tokens[:, 1:].ravel().tolist()
    assert len(targets) == len(set(targets)) == 4 * min(7, (size - 1) // 4)


def test_a_folder_is_every_text_file_of_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    for name, content in {
        "b.txt": b"b" * 100,
        "sub/a.txt": b"a" * 100,
        ".git/config": b"hidden" * 50,
        "picture.png": b"\x89PNG\0\0" * 20,
        "empty.txt": b"",
        "short.txt": b"tiny",
    }.items():
        (tmp_path / name).write_bytes(content)
    data = file_text(tmp_path, sequence=8, seed=1)
    assert data.train.tobytes() == b"b" * 90 + b"\0" + b"tiny" + b"\0" + b"a" * 90
    assert data.test.tobytes() == b"b" * 10 + b"\0" + b"a" * 10
    assert (data.facts()["files"], data.facts()["binary_files_left_out"]) == (3, 1)
    check_data(file_text(tmp_path, sequence=3, seed=1))


def test_facts_change_with_the_text(novel: Path) -> None:
    before = file_text(novel, sequence=16, seed=1).facts()
    assert file_text(novel, sequence=16, seed=1).facts() == before
    novel.write_bytes(novel.read_bytes().replace(b"line 7 ", b"line 8 "))
    changed = {key for key, value in file_text(novel, sequence=16, seed=1).facts().items() if value != before[key]}
    assert changed == {"train_sha256"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"no text in it \(1 files, 0 of them binary"),
        (b"x" * 9, r"the train split holds 9 bytes, and one window of 16 tokens needs 17"),
        (b"x" * 169, r"the test split holds 16 bytes"),
        ("text".encode("utf-16") * 100, "holds zero bytes, so it is not plain text"),
    ],
)
def test_files_that_are_no_training_text(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(content)
    with pytest.raises(WorkbenchError, match=message):
        file_text(path, sequence=16, seed=1)


def test_the_shortest_file_that_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "enough"
    path.write_bytes(b"x" * 170)
    assert len(whole_test_set(file_text(path, sequence=16, seed=1), 4)[0]) == 1


def test_paths_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match="there is no such file or folder"):
        file_text(tmp_path / "missing", sequence=16, seed=1)
    with pytest.raises(WorkbenchError, match="no text in it"):
        file_text(tmp_path, sequence=16, seed=1)


def test_more_text_than_memory_should_hold_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "big").write_bytes(b"x" * 1001)
    monkeypatch.setattr(text, "_LARGEST_BYTES", 1000)
    monkeypatch.setattr(text, "read", lambda file: pytest.fail("it was read"))
    with pytest.raises(WorkbenchError, match=r"1,001 bytes in 1 files; .* at most 1,000 bytes"):
        file_text(tmp_path, sequence=16, seed=1)


@pytest.mark.parametrize(("field", "value"), [("sequence", 0), ("sequence", 1.5), ("seed", -1), ("test_windows", 0)])
def test_impossible_settings(field: str, value: object) -> None:
    stream = np.ones(100, np.uint8)
    settings = {"sequence": 4, "seed": 1, "source": {}, field: value}
    with pytest.raises(WorkbenchError, match=f"{field} must be a whole number"):
        TextData("ones", stream, stream, **settings)  # type: ignore[arg-type]


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "open.txt").write_text("text " * 20)
    closed = tmp_path / "closed"
    closed.mkdir()
    scan = os.scandir

    def scandir(path: str | Path) -> object:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(closed))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(WorkbenchError, match=r"closed: cannot be read: Permission denied$"):
        file_text(tmp_path, sequence=4, seed=1)
