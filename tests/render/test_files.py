import os

import pytest

from workbench.errors import WorkbenchError
from workbench.render.files import check_target, write_bytes_atomically, write_text_atomically


def test_writes_utf8_and_makes_the_folder(tmp_path):
    path = write_text_atomically(tmp_path / "a" / "b" / "report.html", "×\n")
    assert path.read_bytes() == "×\n".encode()
    assert os.listdir(path.parent) == ["report.html"]


def test_refuses_what_is_there_unless_forced(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(WorkbenchError, match="exists already; choose another name, or --force"):
        write_text_atomically(path, "new")
    assert path.read_text() == "old"
    write_text_atomically(path, "new", force=True)
    assert path.read_text() == "new"


def test_refuses_folders_and_devices_even_when_forced(tmp_path):
    for path, reason in ((tmp_path, "it is a folder"), (os.devnull, "it is not a regular file")):
        with pytest.raises(WorkbenchError, match=reason):
            check_target(path, force=True)


@pytest.mark.parametrize("name", ["file/report.html", "x" * 300, "a\0b"])
def test_says_why_it_cannot_write(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkbenchError, match="cannot write"):
        write_text_atomically(tmp_path / name, "text")


def test_check_leaves_nothing_behind(tmp_path):
    check_target(tmp_path / "new" / "report.html")
    assert os.listdir(tmp_path) == []


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(WorkbenchError, match="surrogates not allowed"):
        write_text_atomically(path, "\udcff", force=True)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]


def test_bytes_are_written_as_they_are(tmp_path):
    data = b"\x89PNG\r\n\0"
    assert write_bytes_atomically(tmp_path / "new" / "a.png", data).read_bytes() == data
    with pytest.raises(WorkbenchError, match="exists already"):
        write_bytes_atomically(tmp_path / "new" / "a.png", b"")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"], "nothing is left beside it"


def test_text_that_has_no_bytes_is_refused(tmp_path):
    with pytest.raises(WorkbenchError, match="cannot write"):
        write_text_atomically(tmp_path / "a.txt", "\ud800")
    assert list(tmp_path.iterdir()) == []
