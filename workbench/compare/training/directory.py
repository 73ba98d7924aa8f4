"""A run on disk: `run.json` (what it is), `log.jsonl` (its points), `checkpoints/` (the last two), `lock`. No torch here.

A process that dies leaves at most a half-written last line of the log and a half-written checkpoint under another name;
both are dropped when the run is resumed. Everything else is written whole, or beside its place and renamed into it.
One process at a time holds the directory; the lock goes with the process, however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from workbench.arch.reading import naming, read_json
from workbench.compare.training.identity import SCHEMA
from workbench.compare.training.record import Step, point_from_json, point_to_json
from workbench.compare.training.watching import Point
from workbench.errors import WorkbenchError
from workbench.render.files import write_text_atomically

KEPT = 2  # checkpoints: the older one is there for a newer one that turns out to be damaged

_PREFIX = "iter_"
_UNUSABLE = "unusable-"


@dataclass
class RunDirectory:
    """An open and locked run. `log` is the file that points are appended to, once `begin` or `resume` has opened it."""

    path: Path
    log: TextIO | None = None

    # ------------------------------------------------------------------------------------- beginning

    def begin(self, described: Mapping[str, Any]) -> None:
        """Start a new run here; `WorkbenchError` where one is."""
        check_place(self.path, resume=False)
        write_text_atomically(self.path / "run.json", json.dumps(described, indent=2) + "\n")
        self._open_log()

    def stored(self) -> dict[str, Any]:
        """What `run.json` says; `WorkbenchError` where it is not there or is no run."""
        check_place(self.path, resume=True)
        path = self.path / "run.json"
        with naming(path):
            found = read_json(path)
            if not isinstance(found, dict) or found.get("schema") != SCHEMA:
                raise WorkbenchError(f"not a run: expected schema {SCHEMA!r}")
            parts = {"symbols": str} | dict.fromkeys(("sizes", "settings", "data", "environment"), dict)
            for part, kind in parts.items():
                if not isinstance(found.get(part), kind):
                    raise WorkbenchError(f"not a run: {part} is missing")
        return found

    # --------------------------------------------------------------------------------------- the log

    def points(self) -> list[Point]:
        """The whole points of the log, in order, up to the first line that is damaged or out of order."""
        found: list[Point] = []
        steps = 0
        try:
            lines = (self.path / "log.jsonl").read_bytes().split(b"\n")
        except FileNotFoundError:
            return found
        for line in lines[:-1]:  # what follows the last line end is a line that was not finished
            try:
                point = point_from_json(json.loads(line))
            except (ValueError, RecursionError):
                break
            if point.step != steps + isinstance(point, Step):
                break
            steps = point.step
            found.append(point)
        return found

    def go_on(self, points: list[Point]) -> None:
        """Cut the log to these points and append what follows."""
        text = "".join(_line(point) for point in points)
        write_text_atomically(self.path / "log.jsonl", text, force=True)
        self._open_log()

    def append(self, point: Point) -> None:
        """Write a point; it is with the operating system when this returns, so a killed process does not lose it."""
        assert self.log is not None, "begin or go_on opens the log"
        self.log.write(_line(point))
        self.log.flush()

    def _open_log(self) -> None:
        self.log = (self.path / "log.jsonl").open("a", encoding="utf-8")

    # --------------------------------------------------------------------------------- the checkpoints

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint after `step` steps is."""
        return self.path / "checkpoints" / f"{_PREFIX}{step:07d}"

    def checkpoints(self) -> list[int]:
        """The steps of the checkpoints that are here, latest first."""
        folder = self.path / "checkpoints"
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        steps = [name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)]
        return sorted((int(step) for step in steps if step.isdecimal()), reverse=True)

    def set_aside(self, step: int) -> Path:
        """Rename a checkpoint that cannot be used, so that a new one can be written in its place."""
        path = self.checkpoint(step)
        aside = path.with_name(_UNUSABLE + path.name)
        shutil.rmtree(aside, ignore_errors=True)
        return path.rename(aside)

    def prune(self) -> None:
        """Delete all but the last `KEPT` checkpoints."""
        for step in self.checkpoints()[KEPT:]:
            shutil.rmtree(self.checkpoint(step))

    def tidy(self) -> None:
        """Delete what a killed process left half-written."""
        for leftover in (self.path / "checkpoints").glob(f".{_PREFIX}*"):
            shutil.rmtree(leftover)
        for leftover in self.path.glob(".*.part"):
            leftover.unlink()


def check_place(path: str | Path, resume: bool) -> None:
    """Raise `WorkbenchError` when there is no run to resume, or when there is one and another is to begin."""
    path = Path(path)
    if resume:
        if not path.is_dir():
            raise WorkbenchError(f"{path} holds no run to resume: there is no such directory")
        if not (path / "run.json").is_file():
            raise WorkbenchError(f"{path} holds no run to resume: there is no run.json in it")
        return
    for name in ("run.json", "log.jsonl", "checkpoints"):
        if os.path.lexists(path / name):
            raise WorkbenchError(
                f"{path} holds a run already ({name}): resume it (resume=True, --resume), or choose another directory"
            )


def stored_threads(path: str | Path) -> int | None:
    """Torch's thread count when the run was begun: with another, its last bits would change. None where it is not said."""
    count = RunDirectory(Path(path)).stored()["environment"].get("threads")
    return count if isinstance(count, int) and count > 0 else None


@contextmanager
def open_directory(path: str | Path, *, resume: bool) -> Iterator[RunDirectory]:
    """The run directory, locked until the end of the block; made when it is missing, unless a run in it is to be resumed.

    Raises `WorkbenchError` as `check_place` does, and when it cannot be written or is in another process's hands.
    """
    path = Path(path)
    check_place(path, resume)
    try:
        if not resume:
            path.mkdir(parents=True, exist_ok=True)
        lock = (path / "lock").open("a")
    except OSError as error:
        raise WorkbenchError(f"{path} cannot hold a run: {error.strerror or error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WorkbenchError(f"{path} is in use: another process trains there; wait for it, or stop it") from error
        folder = RunDirectory(path)
        try:
            yield folder
        finally:
            if folder.log is not None:
                folder.log.close()


# ------------------------------------------------------------------------------------------------------


def _line(point: Point) -> str:
    # Floats are written so that reading gives the same bits.
    return json.dumps(point_to_json(point), allow_nan=False) + "\n"
