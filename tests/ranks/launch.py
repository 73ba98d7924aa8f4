"""Starts the ranks of a test, as torchrun would, and leaves none behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("worker.py")


class RankFailure(RuntimeError):
    """A rank ended badly, or the time ran out; the text holds what it wrote to stderr."""


def run_ranks(
    plan: Any, folder: Path, *, world_size: int = 2, timeout_s: float = 80, worker: Path = WORKER
) -> list[int]:
    """Run `worker.py` (or another program) on every rank and wait; the ids of the processes that were started, all of which have ended.

    When one rank fails, or the time runs out, every rank is killed and `RankFailure` shows their stderr.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan_path = folder / "plan.json"
    plan_path.write_text(json.dumps(plan))
    port = str(_free_port())
    processes, logs = [], []
    for rank in range(world_size):
        where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "MASTER_PORT": port}
        environment = os.environ | {name: str(value) for name, value in where.items()}
        environment |= {"MASTER_ADDR": "127.0.0.1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        logs.append(folder / f"stderr{rank}.txt")
        with logs[-1].open("w") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, str(worker), str(plan_path), str(folder)],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
    try:
        problem = _wait(processes, time.monotonic() + timeout_s)
    finally:
        for process in processes:
            _end(process)
    if problem:
        told = "\n".join(f"--- rank {rank}\n{log.read_text()[-3000:]}" for rank, log in enumerate(logs))
        raise RankFailure(f"{problem}\n{told}")
    return [process.pid for process in processes]


def _wait(processes: list[subprocess.Popen[bytes]], deadline: float) -> str:
    """Wait until all have ended well (the empty text), one has not, or the deadline has passed."""
    while True:
        codes = [process.poll() for process in processes]
        for rank, code in enumerate(codes):
            if code:
                return f"rank {rank} ended with status {code}"
        if all(code == 0 for code in codes):
            return ""
        if time.monotonic() > deadline:
            return "the ranks did not end in time"
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a rank: it leads a session of its own, so its children go with it."""
    if group_is_alive(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def group_is_alive(leader: int) -> bool:
    """True while any process of the group that `leader` started is there."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
