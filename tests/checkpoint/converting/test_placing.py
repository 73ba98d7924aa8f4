"""Whatever happens while a result is written, its target is the old one or the new one, whole."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from workbench.checkpoint.converting import placing
from workbench.checkpoint.converting.placing import beside, move_into_place, put_back
from workbench.errors import WorkbenchError


def fill(place: Path, kind: str, text: str = "new") -> None:
    if kind == "folder":
        place.mkdir()
        (place / "metadata.json").write_text(text)
    else:
        place.write_text(text)


def content(path: Path) -> str:
    return (path / "metadata.json" if path.is_dir() else path).read_text()


def broken(target: Path, kind: str, error: BaseException) -> None:
    with beside(target, force=True) as place:
        fill(place, kind)
        raise error


def overtaken(target: Path) -> None:
    with beside(target) as place:
        fill(place, "file")
        fill(target, "file", "another's")


KINDS = ["file", "folder"]


@pytest.fixture(params=["exchange", "two renames"])
def system(request, monkeypatch):
    if request.param == "two renames":
        monkeypatch.setattr(placing, "_exchange", lambda one, other: False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_target(tmp_path, kind):
    with beside(tmp_path / "a" / "b") as place:
        assert place.name == "b"
        fill(place, kind)
        assert not (tmp_path / "a" / "b").exists()
    assert content(tmp_path / "a" / "b") == "new"
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["b"]


@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", KINDS)
def test_an_old_target_is_whole_until_the_new_one_is_there(tmp_path, system, old, new):
    target = tmp_path / "b"
    fill(target, old, "old")
    with pytest.raises(WorkbenchError, match=r"exists; give another path, or --force \(force=True\)"), beside(target):
        pytest.fail("nothing is begun")
    with beside(target, force=True) as place:
        fill(place, new)
        assert content(target) == "old"
    assert content(target) == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "error", [WorkbenchError("no"), OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_an_error_leaves_the_old_target_and_nothing_beside(tmp_path, kind, error):
    fill(tmp_path / "b", kind, "old")
    with pytest.raises((WorkbenchError, KeyboardInterrupt)) as caught:
        broken(tmp_path / "b", kind, error)
    assert content(tmp_path / "b") == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["b"]
    if isinstance(error, OSError):
        assert str(caught.value) == (
            f"{tmp_path / 'b'} cannot be written: No space left on device: free some space, or write to another disk; "
            "nothing was changed"
        )


def test_a_target_that_appeared_meanwhile_is_not_replaced(tmp_path):
    with pytest.raises(WorkbenchError, match="exists"):
        overtaken(tmp_path / "b")
    assert content(tmp_path / "b") == "another's"


@pytest.mark.parametrize("kind", KINDS)
def test_a_rename_that_fails_puts_the_old_one_back(tmp_path, monkeypatch, kind):
    fill(tmp_path / "b", "folder", "old")
    fill(tmp_path / "new", kind)
    rename = Path.rename
    monkeypatch.setattr(placing, "_exchange", lambda one, other: False)

    def failing(self, target):
        if self.name == "new":
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(PermissionError):
        move_into_place(tmp_path / "new", tmp_path / "b")
    assert content(tmp_path / "b") == "old"


def test_killed_between_two_renames(tmp_path):
    fill(tmp_path / ".b.replaced", "folder", "old")
    put_back(tmp_path / "b")
    assert content(tmp_path / "b") == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["b"]


def test_killed_after_two_renames(tmp_path):
    fill(tmp_path / ".b.replaced", "folder", "old")
    fill(tmp_path / "b", "folder", "new")
    put_back(tmp_path / "b")
    assert content(tmp_path / "b") == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["b"]


def test_what_was_put_back_is_not_replaced_without_force(tmp_path):
    fill(tmp_path / ".b.replaced", "folder", "old")
    with pytest.raises(WorkbenchError, match="exists"), beside(tmp_path / "b"):
        pytest.fail("nothing is begun")
    assert content(tmp_path / "b") == "old"


def test_leftovers_of_killed_runs_are_removed(tmp_path):
    left = tmp_path / ".b.partial-abc"
    left.mkdir()
    fill(left / "b", "folder", "half")
    (tmp_path / ".other.partial-abc").mkdir()
    with beside(tmp_path / "b") as place:
        fill(place, "folder")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".other.partial-abc", "b"]


def test_another_run_that_lives_is_not_disturbed(tmp_path):
    busy = tmp_path / ".b.partial-abc"
    busy.mkdir()
    lock = os.open(busy, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(WorkbenchError, match="is being written by another run"), beside(tmp_path / "b"):
        pytest.fail("nothing is begun")
    os.close(lock)
    assert busy.is_dir()
    with beside(tmp_path / "b") as place:
        fill(place, "file")
    assert not busy.exists()


def test_only_checkpoints_are_replaced(tmp_path):
    home = tmp_path / "home"
    fill(home, "folder")
    (home / "thesis.tex").touch()
    with (
        pytest.raises(WorkbenchError, match=r"home holds thesis\.tex, which is no part of a checkpoint"),
        beside(home, True),
    ):
        pytest.fail("nothing is begun")
    assert (home / "thesis.tex").exists()


def test_a_symbolic_link_is_not_replaced(tmp_path):
    fill(tmp_path / "real", "file")
    (tmp_path / "b").symlink_to(tmp_path / "real")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    for name in ("b", "nowhere"):
        with pytest.raises(WorkbenchError, match="is a symbolic link"), beside(tmp_path / name, True):
            pytest.fail("nothing is begun")


@pytest.mark.parametrize("path", ["/", "a\0b"])
def test_no_place_for_a_checkpoint(path):
    with pytest.raises(WorkbenchError, match="is no place for a checkpoint"), beside(Path(path)):
        pytest.fail("nothing is begun")


def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "b")
    with pytest.raises(WorkbenchError, match="neither a file nor a folder"), beside(tmp_path / "b", True):
        pytest.fail("nothing is begun")


def test_a_place_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WorkbenchError, match=r"file/b cannot be written: "), beside(tmp_path / "file" / "b"):
        pytest.fail("nothing is begun")
